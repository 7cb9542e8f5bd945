"""How many agents fit: the memory line, extended to what bounds the process.

How cost and speed grow with the number of agents.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from memprof.stats.lines import (
    Line,
    largest,
    mean_interval,
    median_half_width,
    memory_line,
    process_bytes,
    robust_fit,
    since_baseline,
)
from memprof.values.density import (
    Bound,
    DensityPoint,
    DensityRun,
    Gauge,
    Room,
    SizeRow,
    ThreadsRow,
)
from memprof.values.measurements import ThreadsRun
from memprof.values.report import VariantName

_GRAIN = 2 * 2**20
"""Bytes in which allocators map memory: it may be untouched whatever the agents do."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a population of N agents takes of one gauge: `anchor_bytes + (N - anchor) · marginal`,
    give or take `scatter_bytes`, and `transient_bytes` more while agents are built and step.

    Attributes:
        half_width: half the 95 % interval of the marginal cost.
        anchor: the largest population that was measured. Beyond it the line's uncertainty grows
            with the distance.
    """

    marginal: float
    half_width: float
    anchor: int
    anchor_bytes: float
    scatter_bytes: float
    transient_bytes: float | None

    def room(self, bound: Bound) -> Room:
        """How many agents fit in the bound."""
        free = bound.limit_bytes - (self.transient_bytes or 0.0) - self.anchor_bytes
        low, high = self.marginal - self.half_width, self.marginal + self.half_width
        most = self._fit(free + self.scatter_bytes, high, low)
        return Room(
            bound=bound.name,
            gauge=bound.gauge,
            limit_bytes=bound.limit_bytes,
            agents=self._fit(free - self.scatter_bytes, low, high) or 0,
            expected=self._fit(free, self.marginal, self.marginal) or 0,
            most=most,
            transient_bytes=self.transient_bytes,
            empty_bytes=max(0.0, self.anchor_bytes - self.marginal * self.anchor),
        )

    def _fit(self, free: float, below: float, beyond: float) -> int | None:
        """Agents, where one costs `below` up to the anchor and `beyond` after it."""
        each = beyond if free >= 0 else below
        return max(0, math.floor(self.anchor + free / each)) if each > 0 else None


def usage(runs: Sequence[DensityRun], gauge: Gauge) -> Usage | None:
    """The memory line of all repeats, as `gauge` reads it; None where the platform cannot tell, or
    there are not two sizes.

    An agent costs what it adds to the private memory of the process, which is known to the page. To
    that comes what agents map and never touch (pages of zeros), where it is more than the grain of
    the allocators.
    """
    runs = [run for run in runs if len(run.points) > 1]
    if not runs:
        return None
    lines = [
        memory_line(largest([(p.agents, p.reading.private_bytes) for p in run.points]))
        for run in runs
    ]
    within = statistics.fmean(line.half_width for line in lines)
    slope, (low, _) = mean_interval([line.slope for line in lines], within)
    half_width = slope - low
    grain = 0.0
    if gauge != "resident":
        excess = _untouched(runs, gauge)
        if excess is None:
            return None
        slope, half_width, grain = slope + excess.slope, half_width + excess.half_width, _GRAIN
    last = [run.points[-1] for run in runs]
    anchor = max(point.agents for point in last)
    levels = [
        _bytes(run, point, gauge) + slope * (anchor - point.agents)
        for run, point in zip(runs, last, strict=True)
    ]
    middle = statistics.fmean(levels)
    return Usage(
        marginal=slope,
        half_width=half_width,
        anchor=anchor,
        anchor_bytes=middle,
        scatter_bytes=grain + max(abs(level - middle) for level in levels),
        transient_bytes=max(_known(_transient(run.points, gauge) for run in runs), default=None),
    )


def lowest(rooms: Sequence[Room]) -> Room:
    """The bound that is met first."""
    return min(rooms, key=lambda room: room.agents)


def _untouched(runs: Sequence[DensityRun], gauge: Gauge) -> Line | None:
    """What each agent maps and does not touch; nothing where that is within the grain of the
    allocators, which does not grow with the agents."""
    lines = []
    for run in runs:
        excess = []
        for point in run.points:
            mapped = _mapped(point, gauge)
            if mapped is None:
                return None
            excess.append((point.agents, mapped - point.reading.private_bytes))
        grown = excess[-1][1] - excess[0][1]
        lines.append(robust_fit(largest(excess)) if grown > _GRAIN else Line(0.0, 0.0, 0.0))
    return max(lines, key=lambda line: line.slope)


def _mapped(point: DensityPoint, gauge: Gauge) -> int | None:
    return point.data_bytes if gauge == "data" else point.virtual_bytes


def _bytes(run: DensityRun, point: DensityPoint, gauge: Gauge) -> float:
    """What the process takes at rest, as `gauge` reads it; pages of files as at the baseline."""
    mapped = None if gauge == "resident" else _mapped(point, gauge)
    if mapped is not None:
        return mapped
    return since_baseline(run.baseline, point.reading)


def _transient(points: Sequence[DensityPoint], gauge: Gauge) -> float | None:
    """What building and stepping needs above the population at rest; None where no peak is known.

    The peak of the mappings is that of the whole process: it tells what a population needed once
    it has risen above what came before, and otherwise only that it was not more.
    """
    if gauge == "resident":
        peaks = [
            p.peak_rss_bytes - p.reading.rss_bytes for p in points if p.peak_rss_bytes is not None
        ]
        return max(0, *peaks) if peaks else None
    rose, bounds, before = [], [], 0
    for point in points:
        if point.peak_virtual_bytes is None or point.virtual_bytes is None:
            continue
        above = point.peak_virtual_bytes - point.virtual_bytes
        bounds.append(above)
        if before and point.peak_virtual_bytes > before:
            rose.append(above)
        before = point.peak_virtual_bytes
    return max(rose) if rose else min(bounds, default=None)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def sweep_sizes(most: int) -> tuple[int, ...]:
    """One agent, and a tenth, a quarter, a half, three quarters and all of `most`."""
    return tuple(sorted({1, *(max(1, round(share * most)) for share in _SHARES)}))


def step_seconds(runs: Sequence[DensityRun]) -> float | None:
    """One agent's step in the largest population that was stepped, averaged over the repeats."""
    timed = [
        [point.step_seconds for point in run.points if point.step_seconds is not None]
        for run in runs
    ]
    return statistics.fmean(each[-1] for each in timed) if all(timed) else None


def size_rows(variant: VariantName, runs: Sequence[DensityRun]) -> tuple[SizeRow, ...]:
    """A row for every size that all repeats reached."""
    sizes = [{point.agents: point for point in run.points} for run in runs]
    common = sorted(set.intersection(*map(set, sizes)))
    rows: list[SizeRow] = []
    first_rate: float | None = None
    for agents in common:
        points = [each[agents] for each in sizes]
        total = statistics.fmean(
            since_baseline(run.baseline, point.reading)
            for run, point in zip(runs, points, strict=True)
        )
        empty = statistics.fmean(process_bytes(run.baseline) for run in runs)
        seconds = _mean(points, lambda point: point.step_seconds)
        rate = None if seconds is None else 1 / seconds
        first_rate = first_rate or rate
        before = rows[-1] if rows else None
        rows.append(
            SizeRow(
                variant=variant,
                agents=agents,
                total_bytes=total,
                marginal_bytes=(total - before.total_bytes) / (agents - before.agents)
                if before
                else None,
                per_agent_bytes=(total - empty) / agents,
                peak_bytes=_mean(points, lambda point: point.peak_rss_bytes),
                steps_per_second=rate,
                steps_per_second_per_agent=None if rate is None else rate / agents,
                efficiency=None if rate is None or first_rate is None else rate / first_rate,
                stepped=min(point.stepped for point in points),
                build_seconds=statistics.fmean(point.build_seconds for point in points),
                optimise_seconds=_mean(points, lambda point: point.optimise_seconds),
            )
        )
    return tuple(rows)


def threads_row(variant: VariantName, run: ThreadsRun) -> ThreadsRow:
    """Throughput with threads against that of one, by the medians over neighbouring blocks."""
    pairs = list(zip(run.one_thread_seconds, run.threads_seconds, strict=False))
    ratios = [alone / together for alone, together in pairs]
    ratio, half = statistics.median(ratios), median_half_width(ratios)
    return ThreadsRow(
        variant=variant,
        agents=run.agents,
        steps=run.steps,
        threads=run.threads,
        running=run.running,
        one_thread_per_second=1 / statistics.median(run.one_thread_seconds),
        threads_per_second=1 / statistics.median(run.threads_seconds),
        ratio=ratio,
        ratio_ci95=(ratio - half, ratio + half),
        growth_bytes=run.after_private_bytes - run.before_private_bytes,
    )


def _mean(
    points: Sequence[DensityPoint], figure: Callable[[DensityPoint], float | None]
) -> float | None:
    known = [value for value in map(figure, points) if value is not None]
    return statistics.fmean(known) if len(known) == len(points) else None
