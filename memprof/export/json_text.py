"""The report as JSON: the contract with scripts and CI. Bytes and seconds, never scaled units.

What is written here is read back here too: reports, and the baseline that a gate holds runs
against.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from memprof.export.consistent import problems
from memprof.text import cut
from memprof.values.density import DensityReport
from memprof.values.gate import BASELINE_SCHEMA, Baseline, BaselineEntry, GateReport
from memprof.values.leak import LeakReport
from memprof.values.prediction import PredictionReport
from memprof.values.profile import Report
from memprof.values.report import SCHEMA, ScenarioFields, ScenarioReport
from memprof.values.run import RunReport

AnyReport = Report | LeakReport | DensityReport | PredictionReport | RunReport | GateReport

_KINDS: Mapping[str, type[AnyReport]] = {
    "profile": Report,
    "leak": LeakReport,
    "density": DensityReport,
    "prediction": PredictionReport,
    "run": RunReport,
    "gate": GateReport,
    "compare": GateReport,
    "self_check": GateReport,
}
_OLDER = ("memprof.report/1",)
MOST_BYTES = 32 * 2**20
"""Of a file that a report or a baseline is read from."""
_MOST_VALUES = 2 * 10**6
_MOST_NUMBER = 1e100
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "fields",
    "null": "null",
}
_T = TypeVar("_T")


class _Entries(msgspec.Struct):
    """A baseline whose entries are read one by one, to tell which of them is wrong."""

    scenarios: dict[str, Any]


def render(report: AnyReport) -> str:
    """`memprof.report/2` as indented JSON."""
    return _dump(_written(report))


def parse(text: str) -> AnyReport:
    """The report that `render` wrote, of whatever kind.

    Raises:
        ValueError: it is no report, one of another schema or kind, or damaged; in one sentence.
    """
    values = _now(_load(text, SCHEMA, _OLDER))
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"kind: expected one of {', '.join(_KINDS)}, found {_shown(kind)}")
    report = _as(_KINDS[kind], values)
    _check(report, "")
    return report


def render_baseline(baseline: Baseline) -> str:
    """`memprof.baseline/1` as indented JSON, scenarios by name, so that versions of it compare
    line by line: a scenario that stays is written as it was read."""
    whole = _as(Baseline, msgspec.to_builtins(baseline))  # 5 in a field for 5.0 becomes 5.0
    scenarios = {
        name: {**msgspec.to_builtins(entry), "report": _written(entry.report)}
        for name, entry in sorted(whole.scenarios.items())
    }
    return _dump({"schema": whole.schema, "scenarios": scenarios})


def parse_baseline(text: str) -> Baseline:
    """The baseline that `render_baseline` wrote.

    Raises:
        ValueError: it is no baseline, one of another schema, or damaged; in one sentence.
    """
    scenarios = {}
    for name, entry in _as(_Entries, _load(text, BASELINE_SCHEMA)).scenarios.items():
        where = f"scenarios.{_shown(name)[1:-1]}."
        if isinstance(entry, dict):
            entry["report"] = _now(entry.get("report"))
        scenarios[name] = _as(BaselineEntry, entry, where)
        _check(scenarios[name].report, f"{where}report.")
    return Baseline(scenarios)


def _check(report: AnyReport, where: str) -> None:
    """See that no field contradicts another."""
    for path, problem in problems(report):
        raise ValueError(f"{where}{path}: {problem}")


def _written(report: AnyReport) -> dict[str, Any]:
    """All fields of the scenario stand together."""
    values: dict[str, Any] = msgspec.to_builtins(report)
    if isinstance(report, ScenarioReport):
        values["scenario"] = report.scenario.flat()
    return values


def _now(values: Any) -> Any:
    """The values of a report, which an older memprof may have written, as its type has them."""
    if not isinstance(values, dict):
        return values
    if isinstance(flat := values.get("scenario"), dict):
        values = {**values, "scenario": ScenarioFields.nested(flat)}
    return {**values, "schema": SCHEMA} if values.get("schema") in _OLDER else values


def _dump(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _load(text: str, schema: str, older: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON object that says that it is of `schema`, or an older one."""
    if sum(map(text.count, ",[{")) > _MOST_VALUES:  # each value follows one of those, or a colon
        raise ValueError(f"expected {_MOST_VALUES:,} values at most")
    try:
        values = json.loads(text, parse_int=finite, parse_float=finite, parse_constant=finite)
        if "\\u" in text:  # half characters are no Unicode; a path may have them
            whole = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
            values = json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON as memprof writes it, but {_reason(error)}") from None
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object with a schema, found {_shown(values)}")
    if "schema" not in values:
        raise ValueError(f"schema: expected {schema}, but there is none")
    if values["schema"] not in (schema, *older):
        raise ValueError(f"schema: expected {schema}, found {_shown(values['schema'])}")
    return values


def finite(text: str) -> int | float:
    """A number of the JSON that memprof writes: none is so large that it cannot be reckoned with,
    and there is no NaN and no infinity, though Python reads them."""
    number = float(text)
    if not -_MOST_NUMBER < number < _MOST_NUMBER:
        raise ValueError(f"found {cut(text, 20)} as a number")
    return int(text) if text.lstrip("-").isdigit() else number


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        place = f"line {error.lineno}, column {error.colno}"
        return f"{error.msg[0].lower()}{error.msg[1:]} in {place}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _as(form: type[_T], values: Any, where: str = "") -> _T:
    """`values` as a `form`, without conversions but that of lists to tuples."""
    try:
        return msgspec.convert(values, form)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}{_problem(str(error), values, form)}") from None


def _problem(said: str, found: Any, form: Any) -> str:
    """The first thing that is wrong, from msgspec's words, as field, expected and found."""
    said, _, place = said.partition(" - at `")
    path, kind, more = [], msgspec.inspect.type_info(form), ""
    for name, number in re.findall(r"\.(\w+)|\[(\d+|\.{3})\]", place):
        if number == "...":
            more = " in each field"
            break
        path.append(name or number)
        found, kind = found[name or int(number)], _within(kind, name)
    missing = re.fullmatch("Object missing required field `(.*)`", said)
    if missing:
        path.append(missing[1])
    field = _shown(".".join(path))[1:-1]
    if missing:
        return f"{field}: is missing; if an older memprof wrote the file, measure again"
    if said.startswith("Invalid enum value"):
        *others, last = (repr(each) for each in getattr(_plain(kind), "values", ("another",)))
        expected = f"{', '.join(others)} or {last}" if others else last
    else:
        expected = re.sub(r"Expected `([^`]*)`|, got .*", _in_words, said)
    return f"{field}: expected {expected}{more}, found {_shown(found)}"


def _in_words(said: re.Match[str]) -> str:
    return " or ".join(_WORDS.get(each, each) for each in (said[1] or "").split(" | ") if each)


def _within(kind: Any, name: str) -> Any:
    """The type of a field of a type, or of what is in a list."""
    kind = _plain(kind)
    for each in getattr(kind, "fields", ()):
        if each.name == name:
            return each.type
    return getattr(kind, "item_type", None) or next(iter(getattr(kind, "item_types", ())), None)


def _plain(kind: Any) -> Any:
    """A type without the None that it may be."""
    others = (e for e in getattr(kind, "types", ()) if not isinstance(e, msgspec.inspect.NoneType))
    return next(others, kind)


def _shown(value: object) -> str:
    """`value` as JSON, cut off where it is long."""
    return cut(json.dumps(value))
