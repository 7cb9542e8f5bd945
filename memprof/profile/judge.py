"""What workers' results say together: time and bytes by operation, what an agent gains by living
one step longer, judged as a leak check does, what one agent costs by each part of a report, and by
each instrument.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memprof.catalogue.instruments import INSTRUMENTS
from memprof.launch.spawn import Finished
from memprof.stats import growth
from memprof.stats.lines import Line, mean_interval, process_points, robust_fit
from memprof.text import format_size
from memprof.values.instruments import InstrumentRun
from memprof.values.measurements import Ledger, Mark, Measurement, TrendSeries
from memprof.values.profile import (
    AgentFigure,
    InstrumentReading,
    OperationHotspot,
    Timeline,
    TimelineSample,
    Trend,
)
from memprof.values.report import PerAgent


def operations(
    clean: Sequence[Measurement], traced: InstrumentRun | None
) -> tuple[OperationHotspot, ...]:
    """One row per operation, in the order in which an agent does them."""
    memory = {each.operation: each for each in traced.details.operations} if traced else {}
    rows = []
    for operation in dict.fromkeys(o.operation for run in clean for o in run.operations):
        times = [o for run in clean for o in run.operations if o.operation == operation]
        calls = sum(each.calls for each in times)
        traced_calls = memory.get(operation)
        rows.append(
            OperationHotspot(
                operation=operation,
                calls=calls,
                seconds_per_call=sum(each.seconds for each in times) / calls,
                retained_bytes_per_call=(
                    traced_calls.retained_bytes / traced_calls.calls if traced_calls else None
                ),
                peak_bytes=traced_calls.peak_bytes if traced_calls else None,
            )
        )
    return tuple(rows)


def trend(repeats: Sequence[TrendSeries]) -> Trend:
    """Whether the live heap goes on growing, step after step (see `stats.growth`), and by how much
    for each agent. Where a repeat has too few readings to tell, there is no figure; where it has
    none that could have seen growth, nothing is decided either. Others were not asked."""
    repeats = [series for series in repeats if series.tells] or repeats
    first = min(series.first_step for series in repeats)
    last = max(s.first_step + (len(s.heap_bytes) - 1) * s.stride for s in repeats)
    if any(series.blind for series in repeats):
        return Trend("inconclusive", None, None, None, first, last)
    if any(len(series.heap_bytes) <= growth.FEWEST_CYCLES for series in repeats):
        return Trend(None, None, None, None, first, last)
    each = growth.agreed([_judged(series) for series in repeats])
    return Trend(each.verdict, each.per_cycle, each.ci95, each.floor, first, last)


def _judged(series: TrendSeries) -> growth.Judgement:
    """One repeat, in bytes per agent and step; repeats differ in the number of agents. What gains
    less than one grain for all of them is their records, which may become larger."""
    grain, lives = growth.GRAIN_BYTES, series.agents * series.stride
    readings = growth.CycleSeries(series.heap_bytes, grain, least=grain)
    found = growth.judge(readings, growth.FEWEST_CYCLES)
    return replace(
        found,
        slope=found.slope / lives,
        half_width=found.half_width / lives,
        floor=None if found.floor is None else found.floor / lives,
    )


# ---------------------------------------------------------------- one agent

_ALIKE = 0.05
"""Figures that are this near to each other say the same."""
_NOMINAL = 0.15
"""The traced heap knows no allocator's rounding, and a life of two steps no later ones."""
_MOVED = "reused freed memory, which further agents would not find"


def one_agent(
    cost: PerAgent, slope: float, agents: int, ledger: Ledger, traced: InstrumentRun | None
) -> tuple[AgentFigure, ...]:
    """What one of the scenario's `agents` costs or holds by each part of a report and, where that
    is not the marginal cost, why not; `slope` is that of the line through memory against their
    number."""
    uncertain = (
        f"the slope, {format_size(slope)}, is uncertain, and less than what agents hold: they "
        f"{_MOVED}"
    )
    marginal = "" if cost.marginal_bytes == slope else uncertain
    figures = [AgentFigure("marginal", cost.marginal_bytes, marginal)]
    mean, typical, ends = (
        ledger.mean_agent_bytes,
        ledger.typical_agent_bytes,
        ledger.agent_bytes_range,
    )
    if mean is not None and typical is not None and ends is not None:
        several = (
            f"agents have several sizes, {format_size(ends[0])} to {format_size(ends[1])}: this "
            "is the median agent, and the marginal cost is that of the mean"
        )
        differ = abs(typical - mean) > _ALIKE * mean
        figures.append(AgentFigure("held", mean, _why(cost, mean)))
        why = several if differ else _why(cost, typical)
        figures.append(AgentFigure("typical", typical, why))
    each = ledger.private_each()
    why = _why(cost, each, _of_components(each, agents, ledger))
    figures.append(AgentFigure("components", each, why))
    if traced is not None and traced.details.stacks:
        size = sum(each.bytes_per_agent for each in traced.details.stacks)
        of_calls = _of_calls(size, cost.marginal_bytes, traced)
        figures.append(AgentFigure("calls", size, _why(cost, size, of_calls)))
    return tuple(figures)


def _why(cost: PerAgent, size: float, reason: str = "") -> str:
    """Empty where `size` is the marginal cost within the line's own half interval, whose upper end
    may be what agents hold; else the reason, or which of the two is more."""
    marginal = cost.marginal_bytes
    if abs(size - marginal) <= max(_ALIKE * marginal, marginal - cost.ci95_bytes[0]):
        return ""
    if reason:
        return reason
    if size > marginal:
        return f"the process grew by less: agents {_MOVED}"
    return "the rest belongs to no object: free memory of allocators, fragmentation, native memory"


def _of_components(size: float, agents: int, ledger: Ledger) -> str:
    mean = ledger.mean_agent_bytes
    if mean is None:
        return "what arrays and objects request, resident or not"
    if ledger.agents > agents and abs(size - mean) > _ALIKE * mean:
        return (
            f"the ledger has {ledger.agents:,} agents, of which the scenario's {agents:,} are the "
            "first; the others have other sizes"
        )
    if size < mean * (1 - _ALIKE):
        return "what the common world holds of an agent counts as shared here"
    return ""


def _of_calls(size: float, marginal: float, traced: InstrumentRun) -> str:
    further, mean = traced.details.further_bytes, traced.mean_bytes
    if further is not None and mean is not None and abs(further - mean) > _ALIKE * mean:
        count = traced.details.further_agents
        which = (
            f"{count:,} further agents, which hold"
            if count > 1
            else "one further agent, which holds"
        )
        return (
            f"of {which}, by the ledger's walk, {format_size(further)}; the mean of all is "
            f"{format_size(mean)}"
        )
    if size < marginal:
        return "traced from Python, over two steps at most, without native allocations of libraries"
    if further is None:
        return ""
    if size <= (1 + _NOMINAL) * further:
        return "requested bytes: untouched pages take no memory yet"
    return (
        f"the agent itself holds {format_size(further)}, by the ledger's walk; the rest is in "
        "caches and registries that its calls filled"
    )


# ---------------------------------------------------------------- instruments

_MOST_SAMPLES = 400
_FEWEST_SAMPLES = 3


def side_by_side(
    clean: Sequence[Measurement],
    runs: Mapping[str, InstrumentRun],
    failures: Mapping[str, str],
    sampled: Finished[Measurement] | None,
) -> tuple[InstrumentReading, ...]:
    """One row per instrument that was asked for, the process reading first."""
    rows = [_clean_row("process", [process_points(run) for run in clean])]
    heap = [[(p.agents, p.heap_bytes) for p in run.sample.points if p.heap_bytes] for run in clean]
    if all(len(points) > 1 for points in heap):
        rows.append(_clean_row("heap", heap))
    if sampled is not None:
        rows.append(_sampled_row(sampled, clean))
    clean_step = statistics.median(s for run in clean for s in run.sample.step_cpu_seconds)
    rows += [_intrusive_row(name, run, clean_step) for name, run in runs.items()]
    rows += [_row(name, failure=why) for name, why in failures.items()]
    return tuple(rows)


def timeline(sampled: Finished[Measurement] | None) -> Timeline | None:
    """The sampled worker's resident set from its first phase on, thinned to some hundred points."""
    if sampled is None or not sampled.samples:
        return None
    start = sampled.marks[0].seconds
    stride = -(-len(sampled.samples) // _MOST_SAMPLES)
    return Timeline(
        tuple(TimelineSample(seconds - start, size) for seconds, size in sampled.samples[::stride]),
        tuple(Mark(m.seconds - start, m.label, m.agents) for m in sampled.marks),
    )


def _row(
    name: str,
    line: Line | None = None,
    total_bytes: float | None = None,
    slowdown: float | None = None,
    reading_seconds: float | None = None,
    **rest: Any,
) -> InstrumentReading:
    about = INSTRUMENTS[name]
    return InstrumentReading(
        name=name,
        per_agent_bytes=line.slope if line else None,
        ci95_bytes=(line.slope - line.half_width, line.slope + line.half_width) if line else None,
        total_bytes=total_bytes,
        slowdown=slowdown,
        reading_seconds=reading_seconds,
        sees=about.sees,
        blind_to=about.blind_to,
        **rest,
    )


def _clean_row(name: str, repeats: Sequence[Sequence[tuple[int, float]]]) -> InstrumentReading:
    lines = [robust_fit(points) for points in repeats]
    within = statistics.fmean(line.half_width for line in lines)
    slope, (low, _) = mean_interval([line.slope for line in lines], within)
    total = statistics.fmean(points[-1][1] - points[0][1] for points in repeats)
    return _row(name, Line(slope, 0.0, slope - low), total, slowdown=1.0)


def _intrusive_row(name: str, run: InstrumentRun, clean_step: float) -> InstrumentReading:
    uneven = run.uneven_bytes or (0.0,) * len(run.readings)
    evened = [
        (agents, size - more) for (agents, size), more in zip(run.readings, uneven, strict=True)
    ]
    total = float(run.readings[-1][1] - run.readings[0][1])
    slowdown = statistics.median(run.step_cpu_seconds) / clean_step
    line = robust_fit(evened)
    return _row(name, line, total, slowdown, run.reading_seconds, types=run.details.types)


def _sampled_row(sampled: Finished[Measurement], clean: Sequence[Measurement]) -> InstrumentReading:
    """The slope through the samples that fell into the moments when a population was at rest."""
    # Of a population that is built anew, the first one is on no line with the others.
    points = list(_samples_at_rest(sampled))[-len(sampled.value.sample.points) :]
    others = [run for run in clean if run is not sampled.value]
    slowdown = None
    if others:
        slowdown = statistics.median(sampled.value.sample.step_cpu_seconds) / statistics.median(
            s for run in others for s in run.sample.step_cpu_seconds
        )
    if len(points) < _FEWEST_SAMPLES:
        why = "the population grew faster than the sampling interval"
        if not sampled.samples:
            why = "it could not read the memory of another process here"
        return _row("memory_profiler", slowdown=slowdown, failure=why)
    total = points[-1][1] - points[0][1]
    return _row("memory_profiler", robust_fit(points), total, slowdown)


def _samples_at_rest(sampled: Finished[Measurement]) -> Iterator[tuple[int, float]]:
    """(agents, bytes): the last sample between settling and the next phase, where there is one."""
    for before, mark, after in zip(
        sampled.marks, sampled.marks[1:], sampled.marks[2:], strict=False
    ):
        if mark.label == "read":
            sizes = [b for t, b in sampled.samples if before.seconds <= t <= after.seconds]
            if sizes:
                yield mark.agents, sizes[-1]
