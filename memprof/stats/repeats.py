"""How many fresh workers it takes to tell a change: by how much those known so far differ."""

from __future__ import annotations

import math
from collections.abc import Iterator

from memprof.stats.lines import Estimate, pooled_variance, student_t

MOST_REPEATS = 30
"""No more are recommended: from here on it takes four times as many for half the interval."""
TO_COMPARE = 3
"""The fewest that show how workers differ with some certainty, where a single one is known."""


def half_width_with(was: Estimate, now: Estimate, then: int, current: int) -> float | None:
    """Half the interval of their difference, had they so many workers that differ as theirs do;
    None where nothing shows how workers differ."""
    found = pooled_variance((was, now))
    if found is None:  # by the scatter of each one's own readings, if at all
        if was.within is None or now.within is None:
            return None
        return math.hypot(was.within / math.sqrt(then), now.within / math.sqrt(current))
    variance, _ = found
    return student_t(then + current - 2) * math.sqrt(variance * (1 / then + 1 / current))


def least_change(was: Estimate, most: int) -> float | None:
    """The smallest change from `was` that up to `most` workers like its own can tell."""
    return half_width_with(was, was, len(was.values), most)


def repeats_to_tell(was: Estimate, most: int, change: float) -> int | None:
    """How many workers `was` takes for that to be no more than `change`, of as many later where
    these are more than `most`; None where no sensible number does."""
    if len(was.values) == 1:
        return TO_COMPARE
    for then in range(len(was.values) + 1, MOST_REPEATS + 1):
        half = half_width_with(was, was, then, max(most, then))
        if half is not None and half <= change:
            return then
    return None


def repeats_to_decide(was: Estimate, now: Estimate, apart: float) -> tuple[int, int] | None:
    """The fewest workers then and now with which a change is known to within `apart`: where one
    side's suffice, only that one's are more; None where no sensible number does."""
    if len(was.values) == len(now.values) == 1:
        return 1, TO_COMPARE
    for then, current in sorted(_more(len(was.values), len(now.values)), key=sum):
        half = half_width_with(was, now, then, current)
        if half is not None and half <= apart:
            return then, current
    return None


def _more(then: int, current: int) -> Iterator[tuple[int, int]]:
    """More workers now, more of them then, and of both; where these are as many, in this order."""
    yield from ((then, more) for more in range(current + 1, MOST_REPEATS + 1))
    yield from ((more, current) for more in range(then + 1, MOST_REPEATS + 1))
    both = max(then, current)
    yield from ((more, more) for more in range(both + 1, MOST_REPEATS + 1))
