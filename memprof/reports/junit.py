"""A gate's report as JUnit XML, which CI servers read and keep a history of.

Written to the schema of Jenkins' xUnit plugin (junit-10.xsd), which GitLab and others accept too.
A suite is a scenario and a case one of its metrics; the case `measured` says whether there are any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree import ElementTree

from memprof.gate import AlarmRate, Comparison, GateReport, MetricChange
from memprof.reports.changes import amount, causes, clause, component, figures, optimisation
from memprof.text import harmless

_Element = ElementTree.Element


def render(report: GateReport) -> str:
    """The report as JUnit XML: `failure` is what got worse, `error` what could not be measured."""
    seconds = sum(each.seconds for each in report.scenarios)
    root = _element("testsuites", name="memprof", time=_seconds(seconds))
    for each in report.scenarios:
        root.append(_suite(each, report.baseline))
    for scenario in dict.fromkeys(each.scenario for each in report.alarms):
        root.append(_alarm_suite(scenario, report.alarms))
    for counted in (*root, root):
        _count(counted)
    ElementTree.indent(root, " ")
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{head}\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _suite(found: Comparison, baseline: str) -> _Element:
    suite = _element("testsuite", name=found.name, time=_seconds(found.seconds), file=found.file)
    then, now = found.repeats
    properties = {"baseline": baseline, "workers then": str(then), "workers now": str(now)}
    suite.append(_properties(properties))
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
        lines = (*figures(metric), *_behind(metric, found))
        case.append(_problem("failure", metric.verdict, said, lines))
    elif metric.verdict == "could_not_measure":
        case.append(_problem("error", metric.verdict, said, figures(metric)))
    else:
        case.append(_text("system-out", (said, *figures(metric))))
    return case


def _behind(metric: MetricChange, found: Comparison) -> Iterator[str]:
    """What made a metric worse."""
    yield from map(component, causes(metric, found))
    if metric.metric == "marginal_bytes":
        yield from map(optimisation, found.passes)


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
    yield f"{found.false_alarms} of {found.comparisons} comparisons came out worse"
    yield f"rate: below {found.most_ci95:.1%} (95 %)"
    yield f"could not be measured: {found.undecided}"
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


def _properties(values: dict[str, str]) -> _Element:
    properties = _element("properties")
    properties.extend(_element("property", name=name, value=values[name]) for name in values)
    return properties


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
