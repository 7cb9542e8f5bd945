"""A gate's report as CI servers and services that keep a history of figures read it.

JUnit XML to the schema of Jenkins' xUnit plugin (junit-10.xsd), which GitLab and others take too. A
suite is a scenario and a case one of its metrics; the case `measured` says whether there are any.

GitHub's annotations and summary. Annotations are workflow commands, escaped as actions/toolkit does
(packages/core/src/command.ts) and as the runner undoes it (actions/runner,
src/Runner.Common/ActionCommand.cs).

The Bencher Metric Format, which `bencher run --adapter json` takes: a benchmark is a scenario, a
measure one of its metrics, named by its slug (https://bencher.dev/bmf.json, described at
https://bencher.dev/docs/reference/bencher-metric-format).

benchmark-action/github-action-benchmark, in the form of its tool `customSmallerIsBetter`: an array
of `BenchmarkResult` (src/extract.ts there), each with a name, a unit, a value and, as text, a range
and something extra. The action fails on an empty array.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Literal
from xml.etree import ElementTree

from memprof.gate.words import (
    WORDS,
    amount,
    causes,
    clause,
    component,
    figures,
    merged,
    optimisation,
)
from memprof.render import markdown
from memprof.text import counted, harmless
from memprof.values.gate import METRICS, AlarmRate, Change, Comparison, GateReport, MetricChange

_Element = ElementTree.Element


def junit(report: GateReport) -> str:
    """The report as JUnit XML: `failure` is what got worse, `error` what is inconclusive."""
    seconds = sum(each.seconds for each in report.scenarios)
    root = _element("testsuites", name="memprof", time=_seconds(seconds))
    for each in report.scenarios:
        root.append(_suite(each, report.baseline))
    for scenario in dict.fromkeys(each.scenario for each in report.alarms):
        root.append(_alarm_suite(scenario, report.alarms))
    for each in (*root, root):
        _count(each)
    ElementTree.indent(root, " ")
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{head}\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _suite(found: Comparison, baseline: str) -> _Element:
    suite = _element("testsuite", name=found.name, time=_seconds(found.seconds), file=found.file)
    then, now = found.repeats
    properties = {"baseline": baseline, "workers then": str(then), "workers now": str(now)}
    suite.append(_element("properties"))
    suite[0].extend(_element("property", name=n, value=v) for n, v in properties.items())
    measured = _case(found.name, "measured", time=_seconds(found.seconds))
    if found.failure:
        measured.append(_problem("error", "could_not_measure", found.failure, ()))
    suite.append(measured)
    suite.extend(_metric(each, found) for each in found.metrics)
    if found.warnings:
        lines = (f"{each.kind}: {each.evidence}; {each.remedy}" for each in found.warnings)
        suite.append(_text("system-out", lines))
    return suite


def _metric(metric: MetricChange, found: Comparison) -> _Element:
    case = _case(found.name, metric.metric, time=_seconds(0))
    said = f"{found.name}: {clause(metric, found)}"
    if metric.verdict == "worse":
        passes = found.passes if metric.metric == "marginal_bytes" else ()
        behind = (
            *map(component, causes(metric, found)),
            *(f"before passes {component(each)}" for each in merged(metric, found)),
            *map(optimisation, passes),
        )
        lines = (*figures(metric), *behind)
        case.append(_problem("failure", metric.verdict, said, lines))
    elif metric.verdict == "could_not_measure":
        case.append(_problem("error", metric.verdict, said, figures(metric)))
    else:
        case.append(_text("system-out", (said, *figures(metric))))
    return case


def _alarm_suite(scenario: str, alarms: tuple[AlarmRate, ...]) -> _Element:
    """A rate is no failure: nobody has said which one is too high."""
    suite = _element("testsuite", name=scenario, time=_seconds(0))
    for each in alarms:
        if each.scenario == scenario:
            case = _case(scenario, each.metric, time=_seconds(0))
            case.append(_text("system-out", _rate(each)))
            suite.append(case)
    return suite


def _rate(found: AlarmRate) -> Iterator[str]:
    yield f"{found.false_alarms} of {counted(found.comparisons, 'comparison')} came out worse"
    yield f"rate: below {found.most_ci95:.1%} (95 %)"
    yield f"inconclusive: {found.undecided}"
    yield f"largest change: {amount(found.unit, found.largest_change)}"
    yield f"tolerance: {amount(found.unit, found.allowed)}"


# ---------------------------------------------------------------- elements


def _case(scenario: str, name: str, time: str) -> _Element:
    """The class is the scenario, so that a metric keeps its history whatever file it is in."""
    return _element("testcase", name=name, classname=f"memprof.{scenario}", time=time)


def _problem(tag: str, kind: str, message: str, lines: Iterable[str]) -> _Element:
    problem = _element(tag, type=kind, message=message)
    problem.text = harmless("\n".join((message, *lines)))
    return problem


def _text(tag: str, lines: Iterable[str]) -> _Element:
    element = _element(tag)
    element.text = harmless("\n".join(lines))
    return element


def _element(tag: str, **attributes: str) -> _Element:
    return ElementTree.Element(tag, {name: harmless(text) for name, text in attributes.items()})


def _seconds(seconds: float) -> str:
    """The schema has three decimals at most."""
    return f"{seconds:.3f}"


def _count(element: _Element) -> None:
    """The numbers of cases that a suite, or all of them, must have as attributes."""
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(name, str(sum(1 for _ in element.iter(tag))))


_LEVELS: dict[Change, Literal["error", "notice"]] = {
    "worse": "error",
    "could_not_measure": "error",
    "better": "notice",
}
# GitHub refuses a summary of more than 1 MiB for a step; other commands of the step may add to it.
_MOST_BYTES = 1_000_000
_CUT = "\n**The summary is truncated: GitHub accepts at most 1 MiB. The JSON has all of it.**\n"


def github_annotations(report: GateReport) -> str:
    """A command in a line for each metric that is not the same, errors first: GitHub shows ten of a
    level for each step."""
    found = [each for scenario in report.scenarios for each in _annotations(scenario)]
    order = ("error", "warning", "notice")
    found.sort(key=lambda each: order.index(each[0]))
    lines = [_command(level, file, title, message) for level, file, title, message in found]
    return "".join(f"{line}\n" for line in lines)


def summary(report: GateReport) -> str:
    """Markdown to append to the file that $GITHUB_STEP_SUMMARY names."""
    text = markdown.render(report)
    whole = text.encode()
    if len(whole) <= _MOST_BYTES:
        return text
    kept = whole[: _MOST_BYTES - len(_CUT)].decode(errors="ignore")
    return kept[: kept.rfind("\n") + 1] + _CUT


def _annotations(found: Comparison) -> Iterator[tuple[str, str, str, str]]:
    """Level, file, title and message."""
    if found.failure:
        title = f"memprof: {found.name} could not be measured"
        yield "error", found.file, title, found.failure
    for each in found.metrics:
        if each.verdict in _LEVELS:
            title = f"memprof: {found.name}: {each.metric} {WORDS[each.verdict]}"
            message = "\n".join((clause(each, found), *figures(each)))
            yield _LEVELS[each.verdict], found.file, title, message
    for caution in found.warnings:
        title = f"memprof: {found.name}: {caution.kind}"
        yield "warning", found.file, title, f"{caution.evidence}; {caution.remedy}"


def _command(level: str, file: str, title: str, message: str) -> str:
    """`::error file=FILE,title=TITLE::MESSAGE`; GitHub leaves out a property without a value."""
    properties = {"file": file, "title": title}
    given = ",".join(f"{name}={_property(text)}" for name, text in properties.items() if text)
    return f"::{level} {given}::{_data(message)}"


def _data(text: str) -> str:
    return harmless(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def bencher(report: GateReport) -> str:
    """What was measured now, with the ends of its intervals; scenarios without figures are left
    out."""
    measured = {scenario.name: _measures(scenario) for scenario in report.scenarios}
    benchmarks = {name: measures for name, measures in measured.items() if measures}
    return json.dumps(benchmarks, indent=1, allow_nan=False) + "\n"


def _measures(scenario: Comparison) -> dict[str, dict[str, float]]:
    """The metrics by slug, in which letters, digits and dashes stand."""
    return {
        each.metric.replace("_", "-"): _values(each.now, each)
        for each in scenario.metrics
        if each.now is not None
    }


def _values(now: float, metric: MetricChange) -> dict[str, float]:
    if metric.now_ci95 is None:
        return {"value": now}
    low, high = metric.now_ci95
    return {"value": now, "lower_value": low, "upper_value": high}


def benchmark_action(report: GateReport) -> str:
    """What was measured now, one entry for each metric with a figure."""
    entries = [
        _entry(scenario, metric)
        for scenario in report.scenarios
        for metric in scenario.metrics
        if metric.now is not None
    ]
    return json.dumps(entries, indent=1, allow_nan=False) + "\n"


def _entry(scenario: Comparison, metric: MetricChange) -> dict[str, str | float | None]:
    entry: dict[str, str | float | None] = {
        "name": f"{scenario.name}: {metric.metric}",
        "unit": METRICS[metric.metric].counts or metric.unit,
        "value": metric.now,
        "extra": f"{scenario.repeats[1]} fresh workers\n{scenario.file}",
    }
    if metric.now is not None and metric.now_ci95 is not None:
        low, high = metric.now_ci95
        # To the further side of the interval: a range of the action has two equal sides.
        entry["range"] = f"± {max(metric.now - low, high - metric.now):.6g}"
    return entry
