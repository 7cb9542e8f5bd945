"""What pydantic finds wrong with a scenario, in memprof's words: the field, what was expected, what
was found, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from memprof.catalogue.backends import BACKENDS
from memprof.catalogue.models import MODELS
from memprof.errors import FieldError, nearest
from memprof.scenario.schema import Episodes, Kind, Scenario, World
from memprof.text import cut, shown

_NUMERAL = re.compile(r"[+-]?\d+(\.\d*)?")
_FIELDS = "fields such as `name: value`"
_NESTED: dict[str, type[BaseModel]] = {"world": World, "episodes": Episodes}
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": _FIELDS,
    "model_type": _FIELDS,
    "model_attributes_type": _FIELDS,
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def problem_of(found: Sequence[ErrorDetails]) -> tuple[str, str]:
    """The field, and what is wrong with it. Where one is missing and another unknown, it is the
    unknown one: most likely its name has a typing error."""
    first = found[0]
    if first["type"] == "missing":
        first = next((each for each in found if each["type"] == "extra_forbidden"), first)
    location, siblings = _place(first)
    field = _dotted(location)
    match first["type"]:
        case "value_error" if isinstance(first["ctx"]["error"], FieldError):
            return first["ctx"]["error"].field, str(first["ctx"]["error"])
        case "value_error":
            return field, f"{first['ctx']['error']}, found {_written(first['input'])}"
        case "missing":
            return field, "is missing; add it"
        case "union_tag_not_found":
            return f"{field}.kind", f"is missing; {nearest('', MODELS)}"
        case "union_tag_invalid":
            return f"{field}.kind", MODELS.unknown(str(first["ctx"]["tag"]))
        case "literal_error" if field == "backend" and isinstance(first["input"], str):
            return field, BACKENDS.unknown(first["input"])
        case "extra_forbidden" if siblings is Kind and location[-1] in Scenario.model_fields:
            return field, "is the same for all kinds; move it out of kinds"
        case "extra_forbidden":
            return field, f"unknown field; {nearest(location[-1], siblings.model_fields)}"
        case "string_pattern_mismatch":
            expected = siblings.model_fields[location[-1]].description or _expected(first)
        case _:
            forms = [each for each in found if _dotted(_place(each)[0]) == field]
            kinds = [each for each in forms if each["type"].endswith("_type")]
            expected = " or ".join(
                dict.fromkeys(map(_expected, kinds if first in kinds else [first]))
            )
    return field, f"expected {expected}, found {_written(first['input'])}{_remedy(first)}"


def _place(found: ErrorDetails) -> tuple[list[str], type[BaseModel]]:
    """Where it is in the file, and the fields that may stand there."""
    location = [str(part) for part in found["loc"]]
    kind = location[:2] if location[:1] == ["kinds"] else []
    field = location[len(kind) :]
    if field[:1] == ["model"] and len(field) > 1 and field[1] in MODELS:
        return [*kind, field[0], *field[2:]], MODELS[field[1]]  # the union's tag is no field
    if len(location) > 1 and location[0] in _NESTED:
        return location, _NESTED[location[0]]
    return location, Kind if kind else Scenario


def _dotted(location: Sequence[str]) -> str:
    return ".".join(cut(part) for part in location if part.isidentifier() or part.isdigit())


def _expected(found: ErrorDetails) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = context[name]
        return f"{words} {bound:{',' if isinstance(bound, int) else 'g'}}"
    if kind == "list_type":
        value = found["input"]
        return (
            f"a list such as [{value}]" if isinstance(value, str) and len(value) < 40 else "a list"
        )
    if kind in ("too_short", "too_long"):
        few = kind == "too_short"
        number = context["min_length" if few else "max_length"]
        return f"at {'least' if few else 'most'} {number} {'entry' if number == 1 else 'entries'}"
    if kind == "string_too_long":
        return f"at most {context['max_length']:,} characters"
    return _KINDS.get(kind) or found["msg"].removeprefix("Input should be ")


def _remedy(found: ErrorDetails) -> str:
    value = found["input"]
    if found["type"] in ("int_type", "float_type") and isinstance(value, str):
        return "; remove the quotes" if _NUMERAL.fullmatch(value) else ""
    if found["type"] == "string_type" and isinstance(value, bool | int | float):
        return "; quote it"
    if value is None:
        return "; give it a value, or remove the field"
    return ""


def _written(value: Any) -> str:
    """As YAML has it."""
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else shown(value)
