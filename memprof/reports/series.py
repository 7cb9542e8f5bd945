"""The figures of a report that are more than one: a row for each, whatever kind of report it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from memprof.density import DensityReport, DensityVariant
from memprof.gate import GateReport, MetricChange
from memprof.leak import LeakReport, Signal
from memprof.reports.common import named_variants
from memprof.reports.json_text import AnyReport
from memprof.results import Interval, PerAgent, Report, Sample, Timeline, Variant

_READING = ("uss_bytes", "private_bytes", "rss_bytes", "pss_bytes", "heap_bytes")
_POINT = ("data_bytes", "virtual_bytes", "peak_virtual_bytes", "peak_rss_bytes")
_POINT_SECONDS = ("build_seconds", "optimise_seconds", "step_seconds")
_SIZE = (
    "total_bytes", "marginal_bytes", "per_agent_bytes", "peak_bytes", "steps_per_second",
    "steps_per_second_per_agent", "efficiency", "build_seconds", "optimise_seconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A figure `y` at `x`.

    Attributes:
        variant: `before` or `after`; of a gate `then`, `now`, `change` or `allowed`.
        repeat: the first is 1; None for what is of all of them.
        series: what it is, by the name that the JSON has for it.
        note: what kind of a point it is; a gate's verdict.
        x: None for a figure that is of no series.
        low, high: the 95 % interval.
    """

    series: str
    y: float | None
    y_unit: str
    x: float | None = None
    x_unit: str = ""
    note: str = ""
    low: float | None = None
    high: float | None = None
    scenario: str = ""
    variant: str = ""
    repeat: int | None = None


def rows_of(report: AnyReport) -> Iterator[Row]:
    """Every figure, series by series; `y` is None where there is none."""
    match report:
        case Report():
            rows = _profile(report)
        case LeakReport():
            rows = _leak(report)
        case DensityReport():
            rows = _density(report)
        case GateReport():
            yield from _gate(report)
            return
    for row in rows:
        yield replace(row, scenario=str(report.scenario["name"]))


# ---------------------------------------------------------------- profile


def _profile(report: Report) -> Iterator[Row]:
    for name, variant in named_variants(report):
        yield from _of(name, _variant(variant))


def _variant(variant: Variant) -> Iterator[Row]:
    trend, step = variant.trend, variant.step_seconds
    yield from _costs(variant.per_agent)
    for each in variant.one_agent:
        yield Row("one_agent_bytes", each.bytes, "bytes", note=each.name)
    yield _with_interval("step_seconds", step.median, step.ci95, "seconds")
    yield _with_interval("bytes_per_step", trend.bytes_per_step, trend.ci95_bytes, "bytes")
    for repeat, sample in enumerate(variant.samples, 1):
        yield from (replace(row, repeat=repeat) for row in _sample(sample))
    if variant.timeline is not None:
        yield from _timeline(variant.timeline)


def _sample(sample: Sample) -> Iterator[Row]:
    """Memory against agents, processor time of steps, and the live heap against steps."""
    for point in sample.points:
        yield from _fields(point.reading, _READING, point.agents)
    each = max(1, len(sample.step_cpu_seconds) // max(1, sample.batches))
    for number, seconds in enumerate(sample.step_cpu_seconds):
        batch, step = divmod(number, each)
        yield Row("step_cpu_seconds", seconds, "seconds", step + 1, "steps", f"batch {batch + 1}")
    for number, seconds in enumerate(sample.reference_cpu_seconds, 1):
        yield Row("reference_cpu_seconds", seconds, "seconds", number, "readings")
    trend = sample.trend
    for number, size in enumerate(trend.heap_bytes):
        step = trend.first_step + number * trend.stride
        yield Row("trend_heap_bytes", size, "bytes", step, "steps", f"{trend.agents} agents")


def _timeline(timeline: Timeline) -> Iterator[Row]:
    for each in timeline.samples:
        yield Row("timeline_rss_bytes", each.rss_bytes, "bytes", each.seconds, "seconds")
    for mark in timeline.marks:
        yield Row("timeline_mark", mark.agents, "agents", mark.seconds, "seconds", mark.label)


# ---------------------------------------------------------------- leak, density, gate


def _leak(report: LeakReport) -> Iterator[Row]:
    for leak in (report.leak, *report.also):
        mode = f"{leak.mode}_" if report.also else ""
        rows = [
            _with_interval(f"{mode}bytes_per_cycle", leak.bytes_per_cycle, leak.ci95_bytes, "bytes")
        ]
        for signal in leak.signals:
            rows += _signal(mode, signal, leak.warm_up_cycles)
        yield from _of("after" if leak.passes else "before", rows)


def _signal(mode: str, signal: Signal, left_out: tuple[int, ...]) -> Iterator[Row]:
    unit = "objects" if signal.name == "objects" else "bytes"
    yield _with_interval(f"{mode}{signal.name}_per_cycle", signal.per_cycle, signal.ci95, unit)
    for repeat, (values, first) in enumerate(zip(signal.series, left_out, strict=True), 1):
        for cycle, value in enumerate(values):
            note = "warm-up" if cycle < first else "counted"
            yield Row(f"{mode}{signal.name}", value, unit, cycle, "cycles", note, repeat=repeat)


def _density(report: DensityReport) -> Iterator[Row]:
    after = report.variants.after
    variants = {"before": report.variants.before, **({"after": after} if after else {})}
    for name, variant in variants.items():
        yield from _of(name, _costs(variant.per_agent))
    for size in report.density.points:
        yield from _of(size.variant, _fields(size, _SIZE, size.agents))
    for name, variant in variants.items():
        yield from _of(name, _points(variant))


def _points(variant: DensityVariant) -> Iterator[Row]:
    for repeat, points in enumerate(variant.samples, 1):
        for point in points:
            rows = (
                *_fields(point.reading, _READING, point.agents),
                *_fields(point, (*_POINT, *_POINT_SECONDS), point.agents),
            )
            yield from (replace(row, repeat=repeat) for row in rows)


def _gate(report: GateReport) -> Iterator[Row]:
    for comparison in report.scenarios:
        for metric in comparison.metrics:
            for row in _metric(metric):
                yield replace(row, scenario=comparison.name)
    for rate in report.alarms:
        for name in ("comparisons", "false_alarms", "undecided", "most_ci95", "largest_change"):
            unit = {"most_ci95": "ratio", "largest_change": rate.unit}.get(name, "comparisons")
            found = getattr(rate, name)
            yield Row(rate.metric, found, unit, note=name, scenario=rate.scenario)


def _metric(metric: MetricChange) -> Iterator[Row]:
    """Then, now, the change, and how much of one is allowed."""
    name, unit = metric.metric, metric.unit
    for variant, found, interval in (
        ("then", metric.was, metric.was_ci95),
        ("now", metric.now, metric.now_ci95),
        ("change", metric.change, metric.change_ci95),
        ("allowed", metric.allowed, None),
    ):
        row = _with_interval(name, found, interval, unit)
        yield replace(row, variant=variant, note=metric.verdict)


# ---------------------------------------------------------------- rows


def _of(variant: str, rows: Iterable[Row]) -> Iterator[Row]:
    yield from (replace(row, variant=variant) for row in rows)


def _costs(cost: PerAgent) -> Iterator[Row]:
    yield _with_interval("marginal_bytes", cost.marginal_bytes, cost.ci95_bytes, "bytes")
    yield Row("fixed_bytes", cost.fixed_bytes, "bytes")


def _with_interval(series: str, found: float | None, interval: Interval | None, unit: str) -> Row:
    low, high = interval or (None, None)
    return Row(series, found, unit, low=low, high=high)


def _fields(value: Any, names: Iterable[str], agents: int) -> Iterator[Row]:
    """A row for each of the fields of one size of a population."""
    for name in names:
        yield Row(name, getattr(value, name), _unit(name), agents, "agents")


def _unit(name: str) -> str:
    """The unit that a field has in its name."""
    if name.endswith("_bytes"):
        return "bytes"
    if name.endswith("_seconds"):
        return "seconds"
    return "ratio" if name == "efficiency" else "steps per second"
