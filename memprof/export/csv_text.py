"""Every series of a report as one long table, for pandas and spreadsheets.

A row is one figure: `y` in `y_unit` at `x` in `x_unit`, of the `series` of a `variant`; of one
`repeat`, or of all together where that is empty. `low` and `high` are its 95 % interval. Bytes and
seconds, never scaled units, at full precision.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from memprof.export.json_text import AnyReport
from memprof.text import counted, one_line
from memprof.values.density import DensityReport, DensityVariant
from memprof.values.distributed import Distributed
from memprof.values.figures import FIXED, MARGINAL, PROFILE, Figure
from memprof.values.gate import GateReport, MetricChange
from memprof.values.leak import LeakReport, Signal
from memprof.values.measurements import Sample
from memprof.values.prediction import Forecasted, PredictionReport
from memprof.values.profile import Report, Variant
from memprof.values.report import Interval
from memprof.values.run import RunReport
from memprof.values.watch import Kind

# What a spreadsheet takes for the beginning of a formula; East Asian ones in full width, too.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_READING = ("uss_bytes", "private_bytes", "rss_bytes", "pss_bytes", "heap_bytes")
_POINT = (
    "data_bytes", "virtual_bytes", "peak_virtual_bytes", "peak_rss_bytes", "build_seconds",
    "optimise_seconds", "step_seconds",
)  # fmt: skip
_SIZE = (
    "total_bytes", "marginal_bytes", "per_agent_bytes", "peak_bytes", "steps_per_second",
    "steps_per_second_per_agent", "efficiency", "build_seconds", "optimise_seconds",
)  # fmt: skip
_NODE = (
    "shards", "shards_bytes", "private_bytes", "store_bytes", "ray_bytes", "ray_processes",
    "driver_bytes", "left_bytes", "limit_bytes", "more",
)  # fmt: skip
_ALARMS = ("comparisons", "false_alarms", "undecided", "most_ci95", "largest_change")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A figure `y` at `x`, the fields in the order of the table's columns.

    Attributes:
        variant: `before`, `after` or `shards`; of a gate `then`, `now`, `change` or `allowed`.
        repeat: counted from 1; None for a figure of all repeats.
        series: the figure's name in the JSON.
        note: the kind of point, or a gate's verdict.
        x: None for a figure that belongs to no series.
    """

    kind: str = ""
    scenario: str = ""
    variant: str = ""
    repeat: int | None = None
    series: str
    note: str = ""
    x: float | None = None
    x_unit: str = ""
    y: float | str | None
    y_unit: str
    low: float | None = None
    high: float | None = None


COLUMNS = tuple(each.name for each in fields(_Row))


def render(report: AnyReport) -> str:
    """The table with its head; rows without a figure are left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _all(_rows(report), kind=report.kind):
        if row.y is not None:
            writer.writerow(_cell(getattr(row, name)) for name in COLUMNS)
    return text.getvalue()


def _cell(value: object) -> object:
    """Numbers as they are; text from outside neither ends a line nor is a formula."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _rows(report: AnyReport) -> Iterator[_Row]:
    """Every figure, series by series."""
    match report:
        case GateReport():
            return _gate(report)
        case RunReport():
            return _run(report)
        case Report():
            return _profile(report)
        case LeakReport():
            rows = _leak(report)
        case DensityReport():
            rows = _density(report)
        case PredictionReport():
            rows = _prediction(report)
    return _all(rows, scenario=report.scenario.name)


def _profile(report: Report) -> Iterator[_Row]:
    """All agents, and then each kind, under the name of its own scenario."""
    for name, variant in report.variants.named():
        yield from _all(_variant(variant), scenario=report.scenario.name, variant=name)
    for kind in report.of_kinds():
        yield from _profile(kind)
    shards = _all(_distributed(report.distributed), variant="shards")
    yield from _all(shards, scenario=report.scenario.name)


def _distributed(found: Distributed | None) -> Iterator[_Row]:
    """The population over shards; the note is the node's name."""
    if found is None:
        return
    cost = found.per_agent
    yield _row("marginal_bytes", cost.marginal_bytes, "bytes", cost.ci95_bytes)
    yield _row("fixed_bytes", cost.fixed_bytes, "bytes")
    yield _row("shard_bytes", found.shard_bytes, "bytes")
    yield _row("capacity", found.capacity, "agents")
    yield _row("messages_per_step", found.messages_per_step, "messages")
    yield _row("bytes_per_step", found.bytes_per_step, "bytes")
    if (pace := found.pace) is not None:
        each = "steps per second"
        for name in ("one_process_per_second", "shards_per_second"):
            yield _at(name, pace.agents, "agents", getattr(pace, name), each)
        yield _row("shards_over_one_process", pace.ratio, "ratio", pace.ratio_ci95)
    for node in found.nodes:
        for name in _NODE:
            size, unit = getattr(node, name), "bytes" if name.endswith("bytes") else name
            yield _at(name, node.agents, "agents", size, unit, node.name)


def _variant(variant: Variant) -> Iterator[_Row]:
    yield from _figures(PROFILE, variant)
    trend = variant.trend
    yield _row("bytes_per_step", trend.bytes_per_step, "bytes", trend.ci95_bytes)
    for each in variant.one_agent:
        yield _Row(series="one_agent_bytes", y=each.bytes, y_unit="bytes", note=each.name)
    for repeat, sample in enumerate(variant.samples, 1):
        yield from _all(_sample(sample), repeat=repeat)
    if variant.timeline is not None:
        for at in variant.timeline.samples:
            yield _at("timeline_rss_bytes", at.seconds, "seconds", at.rss_bytes, "bytes")
        for mark in variant.timeline.marks:
            yield _at("timeline_mark", mark.seconds, "seconds", mark.agents, "agents", mark.label)


def _sample(sample: Sample) -> Iterator[_Row]:
    """Memory against agents, processor time of steps, and the live heap against steps."""
    for point in sample.points:
        yield from _fields(point.reading, _READING, point.agents)
    each = max(1, len(sample.step_cpu_seconds) // max(1, sample.batches))
    for number, seconds in enumerate(sample.step_cpu_seconds):
        batch, step = divmod(number, each)
        note = f"batch {batch + 1}"
        yield _at("step_cpu_seconds", step + 1, "steps", seconds, "seconds", note)
    for number, seconds in enumerate(sample.reference_cpu_seconds, 1):
        yield _at("reference_cpu_seconds", number, "readings", seconds, "seconds")
    trend = sample.trend
    for number, size in enumerate(trend.heap_bytes):
        step = trend.first_step + number * trend.stride
        yield _at("trend_heap_bytes", step, "steps", size, "bytes", counted(trend.agents, "agent"))


def _leak(report: LeakReport) -> Iterator[_Row]:
    for leak in (report.leak, *report.also):
        mode = f"{leak.mode}_" if report.also else ""
        rows = [_row(f"{mode}bytes_per_cycle", leak.bytes_per_cycle, "bytes", leak.ci95_bytes)]
        for signal in leak.signals:
            rows += _signal(mode, signal, leak.warm_up_cycles)
        yield from _all(rows, variant="after" if leak.passes else "before")


def _signal(mode: str, signal: Signal, left_out: tuple[int, ...]) -> Iterator[_Row]:
    unit = "bytes" if signal.in_bytes else signal.name
    yield _row(f"{mode}{signal.name}_per_cycle", signal.per_cycle, unit, signal.ci95)
    for repeat, (values, first) in enumerate(zip(signal.series, left_out, strict=True), 1):
        for cycle, value in enumerate(values):
            note = "warm-up" if cycle < first else "counted"
            row = _at(f"{mode}{signal.name}", cycle, "cycles", value, unit, note)
            yield replace(row, repeat=repeat)


def _density(report: DensityReport) -> Iterator[_Row]:
    for name, variant in report.variants.named():
        yield from _all(_figures((MARGINAL, FIXED), variant), variant=name)
    for size in report.density.points:
        yield from _all(_fields(size, _SIZE, size.agents), variant=size.variant)
    for name, variant in report.variants.named():
        yield from _all(_points(variant), variant=name)
    yield from _all(_distributed(report.distributed), variant="shards")


def _prediction(report: PredictionReport) -> Iterator[_Row]:
    for each in report.predictions:
        own = [_row("own_bytes", each.own_bytes, "bytes")] if not each.refused else []
        yield from _all(own, variant=each.variant)
        for found in (each.scenario, *each.fitting):
            if found is not None:
                yield from _all(_forecasted(found), variant=each.variant)


def _forecasted(found: Forecasted) -> Iterator[_Row]:
    """A population that was not built; the note is the size of its chunks."""
    account, note = found.account, f"chunk {found.account.program.agents}"
    program = account.program
    for name, size in (
        ("predicted_peak_bytes", found.peak_bytes),
        ("held_bytes", account.held_bytes),
        ("output_bytes", program.output_bytes),
        ("temporary_bytes", program.temporary_bytes),
        ("copied_bytes", account.copied_bytes),
    ):
        yield _at(name, account.agents, "agents", size, "bytes", note)


def _run(report: RunReport) -> Iterator[_Row]:
    """What a kind costs and holds at each look; operations; the timeline."""
    watched = report.watched
    for look in watched.looks:
        for kind in look.kinds:
            yield from _all(_kind(kind), variant=kind.name, note=look.name)
        for held in look.arrays:
            yield _Row(
                series="live_arrays_bytes",
                y=held.bytes,
                y_unit="bytes",
                variant=held.name,
                note=look.name,
            )
    for place, process in enumerate(report.processes, 1):
        for kind in process.kinds:
            yield from _all(_kind(kind), variant=kind.name, note=f"process {place}: {process.name}")
    for number, call in enumerate(watched.rollouts, 1):
        for part in call.parts:
            yield _Row(
                series="returned_bytes",
                y=part.bytes,
                y_unit="bytes",
                variant=part.name,
                note=f"rollout {number}",
            )
    for use in watched.operations:
        yield _Row(series="calls", y=use.calls, y_unit="calls", note=use.operation)
        yield _Row(series="seconds", y=use.seconds, y_unit="seconds", note=use.operation)
        yield _Row(series="kept_bytes", y=use.kept_bytes, y_unit="bytes", note=use.operation)
        yield _Row(series="peak_bytes", y=use.peak_bytes, y_unit="bytes", note=use.operation)
    for line in watched.sites.lines if watched.sites else ():
        yield _Row(
            series="kept_bytes_per_step", y=line.bytes_per_step, y_unit="bytes", note=line.place
        )
    for at in watched.timeline:
        yield _at("private_bytes", at.seconds, "seconds", at.private_bytes, "bytes")
        yield _at("agents", at.seconds, "seconds", at.agents, "agents")


def _kind(kind: Kind) -> Iterator[_Row]:
    yield _Row(series="agents", y=kind.agents, y_unit="agents")
    yield _row("per_agent_bytes", kind.per_agent.bytes, "bytes", kind.per_agent.ci95_bytes)
    yield _row("equal_bytes", kind.equal_bytes, "bytes")
    for row in kind.ledger.rows:
        yield _Row(series=row.component, y=row.private_bytes, y_unit="bytes")


def _points(variant: DensityVariant) -> Iterator[_Row]:
    for repeat, points in enumerate(variant.samples, 1):
        for point in points:
            yield from _all(_fields(point.reading, _READING, point.agents), repeat=repeat)
            yield from _all(_fields(point, _POINT, point.agents), repeat=repeat)


def _gate(report: GateReport) -> Iterator[_Row]:
    for comparison in report.scenarios:
        for metric in comparison.metrics:
            yield from _all(_metric(metric), scenario=comparison.name, note=metric.verdict)
    for rate in report.alarms:
        units = dict.fromkeys(_ALARMS, "comparisons")
        units |= {"most_ci95": "ratio", "largest_change": rate.unit}
        for name, unit in units.items():
            row = _row(rate.metric, getattr(rate, name), unit)
            yield replace(row, note=name, scenario=rate.scenario)


def _metric(metric: MetricChange) -> Iterator[_Row]:
    """Then, now, the change, and how much of one is allowed."""
    for variant, found, interval in (
        ("then", metric.was, metric.was_ci95),
        ("now", metric.now, metric.now_ci95),
        ("change", metric.change, metric.change_ci95),
        ("allowed", metric.allowed, None),
    ):
        yield replace(_row(metric.metric, found, metric.unit, interval), variant=variant)


# ---------------------------------------------------------------- rows


def _all(rows: Iterable[_Row], **values: Any) -> Iterator[_Row]:
    """The rows, with what they have in common."""
    yield from (replace(row, **values) for row in rows)


def _row(series: str, y: float | str | None, unit: str, ci95: Interval | None = None) -> _Row:
    low, high = ci95 or (None, None)
    return _Row(series=series, y=y, y_unit=unit, low=low, high=high)


def _at(series: str, x: float, x_unit: str, y: float | None, y_unit: str, note: str = "") -> _Row:
    return _Row(series=series, note=note, x=x, x_unit=x_unit, y=y, y_unit=y_unit)


def _figures(figures: Iterable[Figure[_T]], variant: _T) -> Iterator[_Row]:
    for each in figures:
        if each.name:
            interval = each.ci95(variant) if each.ci95 else None
            yield _row(each.name, each.read(variant), each.unit, interval)


def _fields(value: Any, names: Iterable[str], agents: int) -> Iterator[_Row]:
    """A row for each of the fields of one size of a population."""
    for name in names:
        yield _at(name, agents, "agents", getattr(value, name), _unit(name))


def _unit(name: str) -> str:
    """The unit that a field has in its name."""
    ends = {"bytes": "bytes", "seconds": "seconds", "efficiency": "ratio"}
    return ends.get(name.rpartition("_")[2], "steps per second")
