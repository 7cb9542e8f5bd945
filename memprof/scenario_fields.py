"""What the fields of a scenario and of its model have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from memprof.units import parse_size

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0, json_schema_extra={"type": ["integer", "string"]}),
]
Count = Annotated[int, Field(ge=1)]
Counts = Count | Annotated[list[Count], Field(min_length=1)]


class Strict(BaseModel):
    """Fields that are known, and have the type that is asked for: nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
