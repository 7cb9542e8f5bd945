"""The view of a gate, a comparison and a self-check that all formats for people share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from memprof.gate.baseline import TOO_WIDE
from memprof.gate.next_step import next_step
from memprof.gate.words import WORDS, amount, clause, difference, first_few, outcome, tolerance
from memprof.render import (
    Bars,
    BarSeries,
    Section,
    Table,
    View,
    brief_warnings,
    warnings_table,
)
from memprof.text import counted, format_seconds, format_size
from memprof.values.gate import (
    AlarmRate,
    Change,
    Comparison,
    GateReport,
    MetricChange,
)

_MOST_BARS = 24
_COLUMNS = (
    "Nothing changed between these runs, so every worse result is a false alarm; the rate of "
    "false alarms is below the one shown, with 95 % confidence. Largest is the largest change, "
    "allowed the smallest tolerance."
)


def gate_view(report: GateReport) -> View:
    """What a person reads, in the order in which it matters."""
    sections = [_scenario(each) for each in report.scenarios]
    sections += _alarms(report.alarms)
    if report.updated:
        names = ", ".join(report.updated)
        wide = any(w.kind == TOO_WIDE for each in report.scenarios for w in each.warnings)
        commit = "" if wide else " Commit the file."
        sections.append(Section("Baseline", (f"Written to {report.baseline}: {names}.{commit}",)))
    if report.not_gated:
        missing = f"In {report.baseline}, but not gated: {', '.join(report.not_gated)}."
        sections.append(Section("Not gated", (missing,)))
    said = headline(report)
    said = said if report.complete else f"Cut short: {said}"
    picture, brief = _picture(report), tuple(_brief(report, sections))
    return View(_title(report), said, tuple(sections), picture, next_step(report), brief)


def _brief(report: GateReport, sections: Sequence[Section]) -> Iterator[Section]:
    """A line for each scenario, with what is not as it was and why; and other warnings."""
    rows = [
        (each.name, WORDS[each.verdict], "; ".join(_changes(each)) or "within its tolerances")
        for each in report.scenarios
    ]
    if rows:
        yield Section(
            "", (), (Table("", ("scenario", "verdict", "what changed"), tuple(rows), "prose"),)
        )
    several = len(rows) > 1
    yield from brief_warnings(
        [
            replace(each, evidence=f"{found.name}: {each.evidence}") if several else each
            for found in report.scenarios
            for each in found.warnings
            if each.kind != TOO_WIDE
        ]
    )
    yield from sections[len(rows) :]


def _changes(found: Comparison) -> Iterator[str]:
    if found.failure:
        yield f"could not be measured: {found.failure.removesuffix('.')}"
    if _has(found, "new"):
        yield "measured for the first time"
    yield from (each.evidence for each in found.warnings if each.kind == TOO_WIDE)
    for each in found.metrics:
        if each.verdict not in ("same", "new"):
            yield clause(each, found)


def headline(report: GateReport) -> str:
    """What got worse, what is inconclusive, or that all is as before, in one sentence."""
    if report.kind == "self_check" and report.alarms:
        return _rate(report.alarms)
    worse = [_said(each, "worse") for each in report.scenarios if _has(each, "worse")]
    inconclusive = [
        _said(each, "could_not_measure")
        for each in report.scenarios
        if each.failure or _has(each, "could_not_measure")
    ]
    better = [_said(each, "better") for each in report.scenarios if _has(each, "better")]
    new = [each.name for each in report.scenarios if each.verdict == "new"]
    better += [f"new: {', '.join(new)}"] if new else []
    if worse or inconclusive:
        return f"{first_few(worse + inconclusive)}."
    if better:
        return f"Nothing is worse; {first_few(better)}."
    if report.scenarios:
        return "No metric changed by more than its tolerance."
    if report.updated:
        return f"Written to {report.baseline}: {', '.join(report.updated)}."
    return "Nothing was measured."


def _picture(report: GateReport) -> Bars | None:
    """By how many percent each metric changed, beside what its tolerance allows."""
    rows = [
        (
            f"{each.name}: {metric.metric}",
            metric.verdict == "worse",
            metric.change / metric.was,
            metric.allowed / metric.was,
        )
        for each in report.scenarios
        for metric in each.metrics
        if metric.was and metric.change is not None and metric.allowed is not None
    ] or [
        (
            f"{each.scenario}: {each.metric}",
            bool(each.false_alarms),
            each.largest_change / each.allowed,
            1.0,
        )
        for each in report.alarms
        if each.allowed and each.largest_change is not None
    ]
    rows = [row for row in rows if all(math.isfinite(100 * each) for each in row[2:])]
    if not rows:  # or all of them against next to nothing, of which there is no percentage
        return None
    nearest = max(rows, key=lambda row: row[2] / row[3] if row[3] else math.inf)
    alt = f"nearest to its tolerance is {nearest[0]}, {nearest[2]:+.1%} of {nearest[3]:.1%} allowed"
    names, worse, changes, allowed = zip(*rows[:_MOST_BARS], strict=True)
    bars = list(zip(worse, (100 * each for each in changes), strict=True))
    series = [
        BarSeries("change", tuple(None if worse else size for worse, size in bars), "after"),
        BarSeries("worse", tuple(size if worse else None for worse, size in bars), "worse"),
        BarSeries("allowed", tuple(100 * each for each in allowed), "quiet"),
    ]
    return Bars(
        title="largest change, in percent of the tolerance"
        if report.alarms
        else "change in percent",
        alt=alt,
        unit="percent",
        names=names,
        series=tuple(each for each in series if any(size is not None for size in each.values)),
    )


def _title(report: GateReport) -> str:
    match report.kind:
        case "compare":
            now = ", ".join(each.file for each in report.scenarios)
            return f"compare: {now} against {report.baseline}"
        case "self_check":
            return (
                f"self-check: {counted(len({each.scenario for each in report.alarms}), 'scenario')}"
            )
        case _:
            return f"gate: {counted(len(report.scenarios), 'scenario')} against {report.baseline}"


def _has(found: Comparison, verdict: Change) -> bool:
    return any(each.verdict == verdict for each in found.metrics)


def _said(found: Comparison, verdict: Change) -> str:
    """`grid-29: marginal_bytes worse by +28.3 MB per agent`; a scenario's table says what grew."""
    if verdict == "could_not_measure" and found.failure:
        return f"{found.name} could not be measured"
    those = (outcome(each) for each in found.metrics if each.verdict == verdict)
    return f"{found.name}: {', '.join(those)}"


# ---------------------------------------------------------------- scenarios


def _scenario(found: Comparison) -> Section:
    title = f"{found.name}: {WORDS[found.verdict]}"
    return Section(title, tuple(_text(found)), tuple(_tables(found)))


def _text(found: Comparison) -> Iterator[str]:
    if found.failure:
        yield f"Could not be measured: {found.failure}"
    for each in found.metrics:
        if each.detail:
            yield f"{each.metric}: {each.detail}"
    if found.repeats[1]:
        yield _workers(found)
    if any(each.unit == "ratio" for each in found.metrics):
        yield "step_ratio is time per step over that of a reference loop in the same worker."


def _workers(found: Comparison) -> str:
    then, now = found.repeats
    took = f"; it took {format_seconds(found.seconds)}" if found.seconds else ""
    return f"Fresh workers: {f'{then} then, ' if then else ''}{now} now, of {found.file}{took}."


def _tables(found: Comparison) -> Iterator[Table]:
    if found.metrics:
        rows = tuple(row for each in found.metrics for row in _metric_rows(each))
        columns = ("metric", "then", "now", "change", "allowed", "verdict")
        yield Table("", columns, rows)
    for title, changes in (
        ("what changed", found.components),
        ("what changed before passes", found.before_passes),
    ):
        if changes and (_has(found, "worse") or _has(found, "better")):
            rows = tuple(
                (
                    each.component,
                    format_size(each.private_bytes, signed=True) if each.private_bytes else "",
                    format_size(each.shared_bytes, signed=True) if each.shared_bytes else "",
                )
                for each in changes
            )
            yield Table(title, ("component", "private per agent", "shared"), rows)
    if found.passes and (_has(found, "worse") or _has(found, "better")):
        rows = tuple(
            (each.name, format_size(each.was_bytes), format_size(each.now_bytes))
            for each in found.passes
        )
        yield Table("what passes save per agent", ("pass", "then", "now"), rows)
    if found.warnings:
        yield warnings_table("warnings", found.warnings)


def _metric_rows(metric: MetricChange) -> Iterator[tuple[str, ...]]:
    """The figures of a metric, and below each the ends of its interval."""
    yield (
        metric.metric,
        amount(metric.unit, metric.was),
        amount(metric.unit, metric.now),
        difference(metric, metric.change),
        tolerance(metric),
        WORDS[metric.verdict],
    )
    bounds = (metric.was_ci95, metric.now_ci95, metric.change_ci95)
    if any(bounds):
        for end, label in enumerate(("  at least", "  at most")):
            was, now, change = (each[end] if each else None for each in bounds)
            ends = (amount(metric.unit, was), amount(metric.unit, now), difference(metric, change))
            yield (label, *ends, "", "")


# ---------------------------------------------------------------- self-check


def _rate(alarms: tuple[AlarmRate, ...]) -> str:
    """How often the gate raised a false alarm, over all scenarios and metrics."""
    compared = sum(each.comparisons for each in alarms)
    false = sum(each.false_alarms for each in alarms)
    inconclusive = sum(each.undecided for each in alarms)
    most = max(alarms, key=lambda each: each.most_ci95)
    return (
        f"{false} of {counted(compared, 'comparison')} of a scenario with itself came out worse "
        f"({false / max(1, compared):.1%}), {inconclusive} inconclusive; the rate of a single "
        f"metric is below {most.most_ci95:.1%} (95 %), highest for {most.metric} of "
        f"{most.scenario}."
    )


def _alarms(alarms: tuple[AlarmRate, ...]) -> list[Section]:
    """A section for each scenario; what the columns mean stands below the last one."""
    scenarios = dict.fromkeys(each.scenario for each in alarms)
    columns = ("metric", "worse", "of", "below", "inconclusive", "largest", "allowed")
    sections = []
    for name in scenarios:
        rows = tuple(_alarm_row(each) for each in alarms if each.scenario == name)
        text = (_COLUMNS,) if name == next(reversed(scenarios)) else ()
        sections.append(Section(name, text, (Table("", columns, rows),)))
    return sections


def _alarm_row(found: AlarmRate) -> tuple[str, ...]:
    return (
        found.metric,
        str(found.false_alarms),
        str(found.comparisons),
        f"{found.most_ci95:.1%}",
        str(found.undecided),
        amount(found.unit, found.largest_change),
        amount(found.unit, found.allowed),
    )
