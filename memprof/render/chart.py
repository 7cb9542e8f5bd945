"""A chart as plain text, the same on a terminal and in Markdown.

The figures of a report that are more than one: a row for each, whatever kind of report it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from memprof.export.json_text import AnyReport
from memprof.render.page import Chart, named_variants, shown
from memprof.values.density import DensityReport, DensityVariant
from memprof.values.gate import GateReport, MetricChange
from memprof.values.leak import LeakReport, Signal
from memprof.values.profile import Interval, PerAgent, Report, Sample, Timeline, Variant

_HEIGHT = 9  # rows between the lowest and the highest tick, about
_MOST_WIDTH = 80
_LEAST_COLUMNS = 10
_MOST_Y_TICKS = 5
_MARKS, _ABOVE, _BELOW = "●○", "↑", "↓"
_LEAST_SHARE = 1e-9  # of the largest value: nearer to each other, ticks would be the same


def draw(chart: Chart, width: int) -> list[str]:
    """The chart in lines of at most `width` characters."""
    ticks = _ticks(*_y_range(chart), _MOST_Y_TICKS)
    labels = [shown(tick, chart.unit) for tick in ticks]
    margin = max(map(len, (*labels, chart.x_label)))
    x_low, x_high = _x_range(chart)
    room = min(width, _MOST_WIDTH) - margin - 1 - len(f"{x_high:g}")
    columns = _columns(x_high - x_low, room)

    rows_per_tick = max(1, round(_HEIGHT / (len(ticks) - 1)))
    rows = [[" "] * columns for _ in range(rows_per_tick * (len(ticks) - 1) + 1)]  # lowest first
    legend: dict[str, str] = {}
    for series, mark in reversed(list(zip(chart.series, _MARKS, strict=False))):
        for x, y in series.points:
            column = round((x - x_low) / (x_high - x_low) * (columns - 1))
            row = round((y - ticks[0]) / (ticks[-1] - ticks[0]) * (len(rows) - 1))
            drawn, where = (
                (_BELOW, ", below the chart")
                if row < 0
                else (_ABOVE, ", above the chart")
                if row >= len(rows)
                else (mark, "")
            )
            rows[min(max(row, 0), len(rows) - 1)][column] = drawn
            legend[drawn] = f"{drawn} {series.name}{where}"

    lines = []
    for number, row_marks in reversed(list(enumerate(rows))):
        tick, between = divmod(number, rows_per_tick)
        label, axis = ("", "│") if between else (labels[tick], "┤")
        lines.append(f"{label:>{margin}} {axis}{''.join(row_marks)}".rstrip())
    lines += _x_axis(chart.x_label, margin, columns, x_low, x_high)
    if len([each for each in chart.series if each.points]) > 1:
        words = [legend[mark] for mark in (*_MARKS, _BELOW, _ABOVE) if mark in legend]
        lines.append(f"{'':>{margin}}  {', '.join(words)}")
    return lines


def _y_range(chart: Chart) -> tuple[float, float]:
    values = [y for series in chart.series if series.fits for _, y in series.points]
    low, high = min(values), max(values)
    return low, max(high, low + max(chart.least_span, _LEAST_SHARE * max(-low, high)))


def _x_range(chart: Chart) -> tuple[float, float]:
    values = [x for series in chart.series for x, _ in series.points]
    return min(values), max(values)


def _columns(span: float, room: int) -> int:
    """As many columns as there is room for, the same number for each unit of x if that fits."""
    room = max(room, _LEAST_COLUMNS)
    each = int((room - 1) // span)
    return round(span * each) + 1 if each else room


def _ticks(low: float, high: float, most: int) -> list[float]:
    """1, 2 or 5 times a power of ten apart, from at or below `low` to at or above `high`, with at
    most `most` (two or more) distances in between."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    while True:
        for step in (power, 2 * power, 5 * power):
            first, last = math.floor(low / step), math.ceil(high / step)
            if last - first <= most:
                return [step * number for number in range(first, last + 1)]
        power *= 10


def _x_axis(label: str, margin: int, columns: int, low: float, high: float) -> list[str]:
    widest = max(len(f"{low:g}"), len(f"{high:g}")) + 3
    most = max(2, min(columns // widest, int(high - low)))
    line, names = ["─"] * columns, [" "] * (columns + widest)
    for tick in _ticks(low, high, most):
        if low <= tick <= high:
            column = round((tick - low) / (high - low) * (columns - 1))
            line[column] = "┬"
            name = f"{tick:g}"
            names[column : column + len(name)] = name
    return [
        f"{'':>{margin}} └{''.join(line)}",
        f"{label:>{margin}}  {''.join(names).rstrip()}",
    ]


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
