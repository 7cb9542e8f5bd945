"""Marginal and fixed cost: the straight line through memory against the number of agents."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from memprof.pages import PAGE_BYTES
from memprof.results import Interval, PerAgent

# A process grows and shrinks by whole arenas of Python (1 MiB) and by huge pages (2 MiB), whatever
# the agents do: two workers of one plan may differ by that.
PROCESS_GRAIN_BYTES = 2 * 2**20
_LARGE, _FEWEST_LARGE = 0.1, 4
_SUREST = 0.004
"""Nobody knows an agent better than this: the same array of a megabyte takes a page more or less,
as it lies in the heap or in a mapping of its own, and that changes with what was freed before."""
FITS = 0.05
"""A line fits well whose slope is known this well: half its interval, relative to it."""


@dataclass(frozen=True, slots=True)
class Line:
    """`y = intercept + slope · x`; `half_width` is half the slope's 95 % interval."""

    slope: float
    intercept: float
    half_width: float


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
    reach = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    outside = max(0, math.floor((len(slopes) - reach) / 2))
    low, high = slopes[outside], slopes[-1 - outside]
    return Line(slope, intercept, max(high - slope, slope - low))


def memory_line(points: Sequence[tuple[float, float]]) -> Line:
    """`robust_fit` of readings that come in pages: no surer than a page at either end allows."""
    line = robust_fit(points)
    span = max(x for x, _ in points) - min(x for x, _ in points)
    return Line(line.slope, line.intercept, max(line.half_width, 2 * PAGE_BYTES / span))


def largest(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """The points of sizes from a tenth of the largest on, where these are four or more; else all.

    For sizes that are far apart: the first agents fill caches, and over a few agents a reading's
    scatter makes any slope.
    """
    most = max(agents for agents, _ in points)
    chosen = [(agents, size) for agents, size in points if agents >= _LARGE * most]
    return chosen if len(chosen) >= _FEWEST_LARGE else points


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Ordinary least squares; the interval is Student's, from the residuals (n - 2 freedom).

    With fewer than three points the interval is infinite: nothing is known of the scatter.
    """
    xs, ys = [x for x, _ in points], [y for _, y in points]
    line = statistics.linear_regression(xs, ys)
    freedom = len(points) - 2
    if freedom < 1:
        return Line(line.slope, line.intercept, math.inf)
    squares = sum((y - line.intercept - line.slope * x) ** 2 for x, y in points)
    mean = statistics.fmean(xs)
    spread = sum((x - mean) ** 2 for x in xs)
    error = math.sqrt(squares / freedom / spread)
    return Line(line.slope, line.intercept, student_t(freedom) * error)


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
    repeats: Sequence[Sequence[tuple[int, float]]], at_n_bytes: float, held_bytes: float | None
) -> PerAgent:
    """Marginal and fixed cost from the (agents, bytes) points of each repeat.

    `held_bytes` is what an agent holds alone, resident, by the ledger; the mean over the agents.
    When the process grew by less, they moved into memory that was freed before, and more of them
    would not find any: so the interval reaches up to it. A line that fits well stays the cost, and
    one that does not gives way: there the cost is no less than what agents are known to hold.
    """
    lines = [memory_line(points) for points in repeats]
    within = statistics.fmean(line.half_width for line in lines)
    slope, (low, high) = mean_interval([line.slope for line in lines], within)
    low, high = min(low, slope * (1 - _SUREST)), max(high, slope * (1 + _SUREST))
    least = slope if held_bytes is None else held_bytes
    interval = (low, high if least <= slope else max(high, least * (1 + _SUREST)))
    fits = (high - low) / 2 <= FITS * slope
    return PerAgent(
        marginal_bytes=slope if fits else max(slope, least),
        ci95_bytes=interval,
        fixed_bytes=statistics.fmean(line.intercept for line in lines),
        at_n_bytes=at_n_bytes,
        resolved=not low <= 0 <= high,
    )


def student_t(freedom: int) -> float:
    """97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))
