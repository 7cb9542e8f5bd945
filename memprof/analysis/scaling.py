"""How cost and speed grow with the number of agents."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from memprof.analysis.marginal import largest, median_half_width, per_agent
from memprof.analysis.readings import process_bytes, since_baseline
from memprof.density import DensityPoint, DensityRun, SizeRow, ThreadsRow, VariantName
from memprof.measurements import ThreadsRun
from memprof.results import PerAgent

_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def sweep_sizes(most: int) -> tuple[int, ...]:
    """One agent, and a tenth, a quarter, a half, three quarters and all of `most`."""
    return tuple(sorted({1, *(max(1, round(share * most)) for share in _SHARES)}))


def cost(runs: Sequence[DensityRun]) -> PerAgent:
    """Marginal and fixed cost of an agent over all repeats; each has two sizes or more."""
    return per_agent(
        [
            largest([(p.agents, since_baseline(run.baseline, p.reading)) for p in run.points])
            for run in runs
        ],
        statistics.fmean(since_baseline(run.baseline, run.points[-1].reading) for run in runs),
        None,
    )


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
