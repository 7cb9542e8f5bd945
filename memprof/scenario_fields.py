"""What the fields of a scenario and of its model have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from memprof.errors import FieldError
from memprof.text import cut, shown
from memprof.units import MOST_BYTES, parse_size

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0, le=MOST_BYTES, json_schema_extra={"type": ["integer", "string"]}),
]
Count = Annotated[int, Field(ge=1, le=10**9)]
Counts = Count | Annotated[list[Count], Field(min_length=1, max_length=32)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
_MOST_NUMBER = 10**100
_MOST_DEPTH = 32


class Strict(BaseModel):
    """Fields that are known, and have the type that is asked for: nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def open_fields(field: str) -> AfterValidator:
    """For the fields of others in a scenario's `field`: they may be any that workers are sent and
    reports hold, which is what JSON has."""

    def check(values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            for path, problem in _foreign(value, f"{field}.{cut(name)}", _MOST_DEPTH):
                raise FieldError(path, problem)
        return values

    return AfterValidator(check)


def _foreign(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Where `value` holds what JSON cannot carry as it is, and why."""
    match value:
        case None | bool() | str():
            return
        case int() | float():
            if not -_MOST_NUMBER < value < _MOST_NUMBER:  # nor is NaN between the two
                yield path, f"expected a number below 1e100, found {shown(value)}"
        case _ if not depth:
            yield path, f"is nested more than {_MOST_DEPTH} deep"
        case list() | tuple():
            for position, each in enumerate(value):
                yield from _foreign(each, f"{path}.{position}", depth - 1)
        case dict():
            for name, each in value.items():
                if not isinstance(name, str):
                    yield path, f"expected text as the name of a field, found {shown(name)}"
                yield from _foreign(each, f"{path}.{cut(str(name))}", depth - 1)
        case _:
            yield path, f"expected numbers, text, lists and fields, found {shown(value)}"
