"""Agents of several sizes: what a growing population would take had they come in an even mixture.

The marginal cost of a mixture is the mean over its agents. A population grows in steps, and which
agents are built in which step is the factory's choice: with all large agents first, no line through
memory against the number of agents is their mean. The ledger knows what each agent holds alone. So
what the agents of a step hold beyond as many of the mean size is taken off the reading. All that
the ledger does not know stays in the readings, and in their line; where all agents hold the same,
nothing is taken off.

In the terms of surveys that is a difference estimator (Cochran, Sampling Techniques, 1977, section
7.2).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import accumulate

from memprof.analysis.marginal import PROCESS_GRAIN_BYTES

# A template's own record is smaller than those of all others, which are differences from it.
_TEMPLATES = 0.9
_NEAR = 0.01
_LIKE = 0.1


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


def fewest_like_all(held_bytes: Sequence[float]) -> int:
    """How many agents after the first hold in the mean what all do: the fewest that come within a
    hundredth, or those that come nearest. One where agents are alike, or nothing is known."""
    if not held_bytes:
        return 1
    mean = statistics.fmean(held_bytes)
    sums = accumulate(held_bytes[1:])
    apart = [abs(total / count - mean) for count, total in enumerate(sums, 1)]
    near = (count for count, each in enumerate(apart, 1) if each <= _NEAR * mean)
    return next(near, 1 + apart.index(min(apart)) if apart else 1)
