"""Marginal and fixed cost: the straight line through memory against the number of agents; how sure
it is, over several fresh workers, and how sure the difference of two.

The marginal cost of a mixture is the mean over its agents. A population grows in steps, and which
agents are built in which step is the factory's choice: with all large agents first, no line through
memory against the number of agents is their mean. The ledger knows what each agent holds alone. So
what the agents of a step hold beyond as many of the mean size is taken off the reading. All that
the ledger does not know stays in the readings, and in their line; where all agents hold the same,
nothing is taken off. In the terms of surveys that is a difference estimator (Cochran, Sampling
Techniques, 1977, section 7.2).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import TypeVar

from memprof.posix import PAGE_BYTES
from memprof.values.density import DensityRun
from memprof.values.instruments import Reading
from memprof.values.measurements import GrowthPoint, Measurement
from memprof.values.report import Interval, PerAgent

T = TypeVar("T")

# A process grows and shrinks by whole arenas of Python (1 MiB) and by huge pages (2 MiB), whatever
# the agents do: two workers of one plan may differ by that.
PROCESS_GRAIN_BYTES = 2 * 2**20
_LARGE, _FEWEST_LARGE = 0.1, 4
SUREST = 0.004
"""Nobody knows an agent better than this: the same array of a megabyte takes a page more or less,
as it lies in the heap or in a mapping of its own, and that changes with what was freed before."""
_BETWEEN = 0.02
"""Free memory between what agents hold may be so much of what they cost: how much, differs with
their number and with what was freed before."""
NORMAL = 1.96
"""97.5 % quantile of the normal distribution."""
FITS = 0.05
"""A line fits well whose slope is known this well: half its interval, relative to it."""
# A template's own record is smaller than those of all others, which are differences from it.
_TEMPLATES = 0.9
_NEAR = 0.01
_LIKE = 0.1


@dataclass(frozen=True, slots=True)
class Line:
    """`y = intercept + slope · x`; `half_width` is half the slope's 95 % interval."""

    slope: float
    intercept: float
    half_width: float

    def is_known_to(self, share: float) -> bool:
        """Whether half the slope's interval is no more than this share of it."""
        return self.half_width <= share * abs(self.slope)


def process_bytes(reading: Reading) -> int:
    """USS, or RSS on a platform that has no USS."""
    return reading.rss_bytes if reading.uss_bytes is None else reading.uss_bytes


def since_baseline(baseline: Reading, reading: Reading) -> float:
    """USS at a reading, pages of files as at the baseline: they come and go with other processes
    that map the same libraries."""
    return process_bytes(baseline) + reading.private_bytes - baseline.private_bytes


def process_at(run: Measurement, point: GrowthPoint) -> float:
    """USS of the worker at `point`, pages of files held at their baseline; had the agents come in
    an even mixture, and no others before them."""
    return since_baseline(run.baseline, point.reading) - point.uneven_bytes - point.vacant_bytes


def process_points(run: Measurement) -> list[tuple[int, float]]:
    """(agents, `process_at`) of one clean worker."""
    return [(point.agents, process_at(run, point)) for point in run.sample.points]


def robust_fit(points: Sequence[tuple[float, float]]) -> Line:
    """The median of the slopes of all pairs of points, with its rank-based interval.

    A single jump, most likely a huge page, belongs to the fixed cost; least squares would spread it
    over the agents. Source: Theil (1950); Sen (1968), the
    interval by the normal approximation of Kendall's score, here made symmetric. With fewer than
    three points the interval is infinite.

    Raises:
        ValueError: fewer than two different x.
    """
    slopes = sorted(
        (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2
    )
    if not slopes:
        raise ValueError("a line needs two different population sizes")
    slope = statistics.median(slopes)
    intercept = statistics.median(y - slope * x for x, y in points)
    n = len(points)
    if n < 3:
        return Line(slope, intercept, math.inf)
    reach = NORMAL * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    outside = max(0, math.floor((len(slopes) - reach) / 2))
    low, high = slopes[outside], slopes[-1 - outside]
    return Line(slope, intercept, max(high - slope, slope - low))


def memory_line(points: Sequence[tuple[float, float]]) -> Line:
    """`robust_fit` of readings that come in pages: no surer than a page at either end allows."""
    line = robust_fit(points)
    return Line(line.slope, line.intercept, max(line.half_width, 2 * PAGE_BYTES / span(points)))


def span(points: Sequence[tuple[float, float]]) -> float:
    """How far apart the first and the last x are."""
    return max(x for x, _ in points) - min(x for x, _ in points)


def largest(points: Sequence[tuple[int, T]]) -> Sequence[tuple[int, T]]:
    """The points of sizes from a tenth of the largest on, where these are four or more; else all.

    For sizes that are far apart: the first agents fill caches, what libraries take once for many is
    no slope of theirs, and over a few agents a reading's scatter makes any slope.
    """
    most = max(agents for agents, _ in points)
    chosen = [(agents, each) for agents, each in points if agents >= _LARGE * most]
    return chosen if len(chosen) >= _FEWEST_LARGE else points


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def mean_interval(samples: Sequence[float], within: float = 0.0) -> tuple[float, Interval]:
    """Mean of independent repeats and its 95 % Student interval.

    `within` is the half width known from inside the repeats; the interval is never narrower than
    it divided by the root of their number, and equal to it for a single repeat.
    """
    mean = statistics.fmean(samples)
    half = within / math.sqrt(len(samples))
    if len(samples) > 1:
        between = statistics.stdev(samples) / math.sqrt(len(samples))
        half = max(half, student_t(len(samples) - 1) * between)
    return mean, (mean - half, mean + half)


def median_half_width(samples: Sequence[float]) -> float:
    """Half the 95 % interval of a median, by order statistics (binomial, normal approximation)."""
    ordered, reach = sorted(samples), 0.98 * math.sqrt(len(samples))
    low = max(0, round(len(ordered) / 2 - reach) - 1)
    high = min(len(ordered) - 1, round(len(ordered) / 2 + reach))
    return (ordered[high] - ordered[low]) / 2


def per_agent(
    repeats: Sequence[Sequence[tuple[int, float]]],
    at_n_bytes: float,
    held_bytes: float | None,
    *,
    in_common: bool = False,
) -> PerAgent:
    """Marginal and fixed cost from the (agents, bytes) points of each repeat.

    `held_bytes` is what an agent holds alone, resident, by the ledger; the mean over the agents.
    When the process grew by less, they moved into memory that was freed before, and more of them
    would not find any: so the interval reaches up to it; and down to it where the process grew by a
    little more, which is free memory between what they hold. A line that fits well stays the cost,
    and one that does not gives way: there the cost is no less than what agents are known to hold.

    Lines that have their scatter `in_common`, such as that of programs for a size each, are no
    surer for being several; where they do not fit, the cost is what agents are known to hold.
    """
    lines = [memory_line(points) for points in repeats]
    within = statistics.fmean(line.half_width for line in lines)
    if in_common:
        within *= math.sqrt(len(lines))
    slope, (low, high) = mean_interval([line.slope for line in lines], within)
    low, high = min(low, slope * (1 - SUREST)), max(high, slope * (1 + SUREST))
    least = slope if held_bytes is None else held_bytes
    interval = low, high
    if least > slope:
        interval = low, max(high, least * (1 + SUREST))
    elif least >= slope * (1 - _BETWEEN):
        interval = min(low, least * (1 - SUREST)), high
    fits = (high - low) / 2 <= FITS * slope
    known = min(high, max(low, least)) if in_common else max(slope, least)
    return PerAgent(
        marginal_bytes=slope if fits else known,
        ci95_bytes=interval,
        fixed_bytes=statistics.fmean(line.intercept for line in lines),
        at_n_bytes=at_n_bytes,
        resolved=not low <= 0 <= high,
    )


def cost_of_sweeps(runs: Sequence[DensityRun]) -> PerAgent:
    """Marginal and fixed cost of an agent over all sweeps; each has two sizes or more."""
    return per_agent(
        [
            largest([(p.agents, since_baseline(run.baseline, p.reading)) for p in run.points])
            for run in runs
        ],
        statistics.fmean(since_baseline(run.baseline, run.points[-1].reading) for run in runs),
        None,
    )


def resolving_agents(each_bytes: float, workers: int = 1) -> int:
    """How many agents of that size make a line fit, for so many workers together, whatever the
    process takes meanwhile."""
    return math.ceil(PROCESS_GRAIN_BYTES / (FITS * math.sqrt(workers) * each_bytes))


def student_t(freedom: int) -> float:
    """97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of one run.

    Attributes:
        values: one for each worker.
        within: half the 95 % interval of one of them, by the scatter of its own readings; None
            where that says nothing.
    """

    values: tuple[float, ...]
    within: float | None

    @property
    def value(self) -> float:
        return statistics.fmean(self.values)

    @property
    def ci95(self) -> Interval | None:
        if len(self.values) > 1:
            return mean_interval(self.values, 0.0)[1]
        return None if self.within is None else mean_interval(self.values, self.within)[1]


def slope(lines: Sequence[Line]) -> Estimate:
    """The slope of the lines of several workers."""
    return estimate([line.slope for line in lines], [line.half_width for line in lines])


def estimate(values: Sequence[float], within: Sequence[float]) -> Estimate:
    """One value for each worker, and half of each one's own interval."""
    return Estimate(tuple(values), statistics.fmean(within))


def half_width_of_change(was: Estimate, now: Estimate) -> float | None:
    """Half the 95 % interval of the difference of two means; None where nothing is known of it.

    How a worker's own readings scatter counts only where there is a single worker on either side.
    """
    spread = half_width_by_workers(was, now, (was, now))
    return scatter_of_change(was, now) if spread is None else spread


def half_width_by_workers(was: Estimate, now: Estimate, alike: Iterable[Estimate]) -> float | None:
    """The same by how workers differ: Student's for samples of a spread that all of `alike` share,
    which are measured in one way. None where each of them has a single worker."""
    found = pooled_variance(alike)
    if found is None:
        return None
    variance, freedom = found
    return student_t(freedom) * math.sqrt(variance * (1 / len(was.values) + 1 / len(now.values)))


def pooled_variance(alike: Iterable[Estimate]) -> tuple[float, int] | None:
    """The variance of workers that all of `alike` share, and its degrees of freedom; None where
    each of them has a single worker."""
    samples = [each.values for each in alike]
    freedom = sum(len(values) - 1 for values in samples)
    if freedom == 0:
        return None
    squares = sum((each - statistics.fmean(values)) ** 2 for values in samples for each in values)
    return squares / freedom, freedom


def scatter_of_change(was: Estimate, now: Estimate) -> float | None:
    """The same by the scatter of each worker's own readings alone."""
    if was.within is None or now.within is None:
        return None
    return math.hypot(
        was.within / math.sqrt(len(was.values)), now.within / math.sqrt(len(now.values))
    )


def as_others(held_bytes: Sequence[int]) -> Sequence[float]:
    """What each agent holds alone, where the first may be the template of all others: it rests as
    no difference from itself, but one more agent like it would not."""
    first, *others = held_bytes
    if not others or first >= _TEMPLATES * min(others):
        return held_bytes
    return [statistics.fmean(others), *others]


def uneven(held_bytes: Sequence[float], agents: int, sizes: Sequence[int]) -> tuple[float, ...]:
    """What the first agents hold beyond as many of the mean size, for each of the `sizes`; the mean
    is that of the scenario's `agents`. Nothing where it is not known what they hold."""
    if not held_bytes:
        return (0.0,) * len(sizes)
    mean = statistics.fmean(held_bytes[:agents])
    return tuple(sum(held_bytes[:size]) - size * mean for size in sizes)


def is_like_all(held_bytes: Sequence[float], agents: int, size: int) -> bool:
    """Whether those beyond the scenario's `agents`, up to `size`, hold in the mean what those do:
    a factory may have no plan for so many, and a line is drawn to where the mixture ends."""
    if size <= agents or not held_bytes:
        return True
    mean, beyond = statistics.fmean(held_bytes[:agents]), statistics.fmean(held_bytes[agents:size])
    return abs(beyond - mean) <= _LIKE * mean


def is_gained_alike(points: Sequence[tuple[int, float]], agents: int, size: int) -> bool:
    """Whether a process gained for those beyond the scenario's `agents`, up to `size`, what it did
    for as many of those: the ledger does not know what libraries take for an agent."""
    gained = dict(points)
    first = min(gained)
    if size <= agents or agents not in gained:
        return True
    for_those = gained[agents] - gained[first]
    beyond = (gained[size] - gained[agents]) / (size - agents) * (agents - first)
    return abs(beyond - for_those) <= max(PROCESS_GRAIN_BYTES, _LIKE * for_those)


def fewest_like_all(held_bytes: Sequence[float], first: int = 1) -> int:
    """How many agents after the `first` hold in the mean what all do: the fewest that come within a
    hundredth, or those that come nearest. One where agents are alike, or nothing is known."""
    if not held_bytes:
        return 1
    mean = statistics.fmean(held_bytes)
    sums = accumulate(held_bytes[first:])
    apart = [abs(total / count - mean) for count, total in enumerate(sums, 1)]
    near = (count for count, each in enumerate(apart, 1) if each <= _NEAR * mean)
    return next(near, 1 + apart.index(min(apart)) if apart else 1)
