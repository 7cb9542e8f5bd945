"""The report as JSON: the contract with scripts and CI. Bytes and seconds, never scaled units.

What is written here is read back here too: reports, and the baseline that a gate holds runs
against.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from memprof.export.consistent import problems
from memprof.text import cut
from memprof.values.density import DensityReport
from memprof.values.gate import BASELINE_SCHEMA, Baseline, GateReport
from memprof.values.leak import LeakReport
from memprof.values.profile import SCHEMA, Report

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

AnyReport = Report | LeakReport | DensityReport | GateReport

_KINDS: Mapping[str, type[AnyReport]] = {
    "profile": Report,
    "leak": LeakReport,
    "density": DensityReport,
    "gate": GateReport,
    "compare": GateReport,
    "self_check": GateReport,
}
MOST_BYTES = 32 * 2**20
"""Of a file that a report or a baseline is read from."""
_MOST_VALUES = 2 * 10**6
_MOST_NUMBER = 1e100
_T = TypeVar("_T")


def render(report: AnyReport) -> str:
    """`memprof.report/1` as indented JSON."""
    return _dump(_headed(asdict(report)))


def parse(text: str) -> AnyReport:
    """The report that `render` wrote, of whatever kind.

    Raises:
        ValueError: it is no report, one of another schema or kind, or damaged; in one sentence.
    """
    values = _load(text, SCHEMA)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"kind: expected one of {', '.join(_KINDS)}, found {_shown(kind)}")
    report = _validate(_KINDS[kind], values)
    _check(report, "")
    return report


def render_baseline(baseline: Baseline) -> str:
    """`memprof.baseline/1` as indented JSON, scenarios by name, so that versions of it compare
    line by line: a scenario that stays is written as it was read."""
    values = asdict(_validate(Baseline, asdict(baseline)))  # 5 in a field for 5.0 becomes 5.0
    scenarios = {
        name: {**entry, "report": _headed(entry["report"])}
        for name, entry in sorted(values["scenarios"].items())
    }
    return _dump({"schema": values["schema"], "scenarios": scenarios})


def parse_baseline(text: str) -> Baseline:
    """The baseline that `render_baseline` wrote.

    Raises:
        ValueError: it is no baseline, one of another schema, or damaged; in one sentence.
    """
    baseline = _validate(Baseline, _load(text, BASELINE_SCHEMA))
    for name, entry in baseline.scenarios.items():
        _check(entry.report, f"scenarios.{_shown(name)[1:-1]}.report.")
    return baseline


def _check(report: AnyReport, where: str) -> None:
    """See that no field contradicts another."""
    for path, problem in problems(report):
        raise ValueError(f"{where}{path}: {problem}")


def _headed(values: dict[str, Any]) -> dict[str, Any]:
    """What says what a report is comes first."""
    return {"schema": values.pop("schema"), "kind": values.pop("kind"), **values}


def _dump(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _load(text: str, schema: str) -> dict[str, Any]:
    """A JSON object that says that it is of `schema`."""
    if sum(map(text.count, ",[{")) > _MOST_VALUES:  # each value follows one of those, or a colon
        raise ValueError(f"expected {_MOST_VALUES:,} values at most")
    try:
        values = json.loads(text, parse_int=finite, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON as memprof writes it, but {_reason(error)}") from None
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object with a schema, found {_shown(values)}")
    if "schema" not in values:
        raise ValueError(f"schema: expected {schema}, but there is none")
    if values["schema"] != schema:
        raise ValueError(f"schema: expected {schema}, found {_shown(values['schema'])}")
    return values


def finite(text: str) -> int | float:
    """A number of the JSON that memprof writes: none is so large that it cannot be reckoned with,
    and there is no NaN and no infinity, though Python reads them."""
    number = float(text)
    if not -_MOST_NUMBER < number < _MOST_NUMBER:
        raise ValueError(f"found {cut(text, 20)} for a number")
    return int(text) if text.lstrip("-").isdigit() else number


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        place = f"line {error.lineno}, column {error.colno}"
        return f"{error.msg[0].lower()}{error.msg[1:]} in {place}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(form)


def _validate(form: type[_T], values: dict[str, Any]) -> _T:
    """`values` as a `form`, without conversions but that of lists to tuples."""
    from pydantic import ValidationError

    # A path that is no Unicode was written with half characters, which are refused: they become ?.
    try:
        text = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
        return cast(_T, _adapter(cast(Hashable, form)).validate_json(text, strict=True))
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValidationError as error:
        raise ValueError(_problem(error.errors()[0])) from None


def _problem(found: ErrorDetails) -> str:
    """The first thing that is wrong, as field, expected and found."""
    field = _shown(".".join(map(str, found["loc"])))[1:-1]
    if found["type"] == "missing":
        return f"{field}: is missing; if an older memprof wrote the file, measure anew"
    message = found["msg"]
    if message.startswith("Input should be "):
        expected = message.removeprefix("Input should be ")
        return f"{field}: expected {expected}, found {_shown(found['input'])}"
    return f"{field}: {message[0].lower()}{message[1:]}, found {_shown(found['input'])}"


def _shown(value: object) -> str:
    """`value` as JSON, cut off where it is long."""
    return cut(json.dumps(value))
