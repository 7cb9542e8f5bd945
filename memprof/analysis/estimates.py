"""A figure of several fresh workers, and how sure a difference of two such figures is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from memprof.analysis.marginal import Line, mean_interval, student_t
from memprof.results import Interval


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

    Student's for two samples of a spread that both share: they are measured in one way. How a
    worker's own readings scatter counts only where there is a single worker on either side.
    """
    before, after = was.values, now.values
    freedom = len(before) + len(after) - 2
    if freedom == 0:
        return scatter_of_change(was, now)
    squares = sum(
        (each - statistics.fmean(values)) ** 2 for values in (before, after) for each in values
    )
    scale = 1 / len(before) + 1 / len(after)
    return student_t(freedom) * math.sqrt(squares / freedom * scale)


def scatter_of_change(was: Estimate, now: Estimate) -> float | None:
    """The same by the scatter of each worker's own readings alone."""
    if was.within is None or now.within is None:
        return None
    return math.hypot(
        was.within / math.sqrt(len(was.values)), now.within / math.sqrt(len(now.values))
    )
