"""Does a series of memory readings, one per cycle, go on growing? Pure.

Growth alone is no leak: caches fill, lists are enlarged by jumps, collectors let memory rise and
fall. A leak goes on. The judgement has three parts:

1. *Warm-up.* The cycles to leave out are found by the Marginal Standard Error Rule: cut where the
   standard error of the mean of what remains is smallest (White 1997, Simulation 69(6); compared
   with its rivals by Hoad, Robinson and Davies 2010, J. Oper. Res. Soc. 61). It is applied to the
   gains from cycle to cycle, which are steady under a leak as well as without one. If the best cut
   would leave too few, the series has not settled, and more cycles are needed.
2. *Trend.* Mann (1945) and Kendall's test with its correction for ties, at 0.1 % (one-sided); the
   slope is Theil's and Sen's, with Sen's interval (`lines.robust_fit`).
3. *Persistence.* Mann-Kendall alone gives false alarms: it takes a single step for a trend, as
   all readings after it depend on it (Hamed and Rao 1998, J. Hydrology 204). A leak gains in each
   third of the window, and in the last no less than 0.6 of what a third gains on average: what
   slows down may be about to saturate. It gains no less than a leak of its kind has to
   (`CycleSeries.least`), and its slope, which a jump at the end hardly moves, makes up some of what
   it gains: else one has to look longer.

The floor is found by trial: the smallest steady gain that, added to the very readings, the same
judgement takes for a leak.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations, pairwise

from memprof.stats.lines import mean_interval, robust_fit
from memprof.values.report import Interval, LeakVerdict

FEWEST_CYCLES = 7
"""With fewer, not even readings that always rise are significant."""

GRAIN_BYTES = 16
"""By which allocators hand out memory."""

# Standard deviations of Kendall's score: one-sided 0.1 % for a verdict, 5 % to look longer.
_SIGNIFICANT, _SUSPICIOUS = 3.09, 1.64
_SLOWING, _TREND = 0.6, 0.3
_SHORTEST, _FAR_QUIETER, _ALIKE = 5, 8, 0.2
_FLOOR_STEPS = 40
# The lesser of two gains has to be this much of the greater for the two to be one steady growth.
_STEADY = 0.5
_MOST = 0.6


@dataclass(frozen=True, slots=True)
class CycleSeries:
    """One reading before the first cycle and one after each.

    Attributes:
        grain: the smallest amount by which a reading can change; no floor is below it.
        least: what a leak that only this series shows gains per cycle at the least.
    """

    readings: Sequence[float]
    grain: float = 1.0
    least: float = 0.0

    def window(self, cut: int) -> CycleSeries:
        """The series without its first `cut` readings."""
        return replace(self, readings=self.readings[cut:])


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one series says.

    Attributes:
        slope, half_width: gain per cycle in the window, and half of its 95 % interval.
        floor: smallest gain per cycle that would have been found; None if none would have been.
        cycles_needed: cycles that are likely to decide; None where it is decided.
    """

    verdict: LeakVerdict
    slope: float
    half_width: float
    floor: float | None
    cycles_needed: int | None


def decided(all_series: Collection[CycleSeries], cycles: int) -> bool:
    """Whether a run may end: something leaks, or everything has settled and is clean.

    What seems to rise is watched for twice the cycles, since a cache may take longer to fill than
    one is patient.
    """
    cuts = [settled(series.readings, cycles) for series in all_series]
    rising = False
    for series, cut in zip(all_series, cuts, strict=True):
        if cut is None or _rise(series.readings[cut:]) <= _SUSPICIOUS:
            continue
        window = series.window(cut)
        verdict = _verdict(window)
        enough = len(window.readings) > max(2 * cycles, cut)
        if enough and verdict == "leak":
            return True
        rising = rising or not enough or verdict == "inconclusive"
    return None not in cuts and not rising


def most_cycles(cycles: int) -> int:
    """Cycles after which a run ends in any case."""
    return 4 * cycles + 10


def settled(series: Sequence[float], cycles: int) -> int | None:
    """Readings to leave out at the start, so that `series` is no longer warming up and at least
    `cycles` gains remain; None if there have not been enough cycles for that."""
    gains = [after - before for before, after in pairwise(series)]
    last = len(gains) - cycles
    if last < 0:
        return None
    errors = [_standard_error(gains[cut:]) for cut in range(len(gains) - _SHORTEST + 1)]
    best = min(range(len(errors)), key=errors.__getitem__)
    allowed = min(range(last + 1), key=errors.__getitem__)
    # A short tail may be quieter than the rest by chance, but not by far. And where the rest gains
    # as much it is only rougher: lists are enlarged by jumps.
    quieter = best > last and errors[best] < errors[allowed] / _FAR_QUIETER
    if quieter and not _alike(gains[best:], gains[allowed:]):
        return None
    if allowed < last or last == 0:
        return allowed
    # The best cut leaves no more than was asked for: there may be none, or the rest is rougher.
    before = (cut for cut in range(last) if _alike(gains[last:], gains[cut:last]))
    return next(before, None)


def _alike(gains: Sequence[float], others: Sequence[float]) -> bool:
    """Whether both are the same growth on average."""
    mean, other = statistics.fmean(gains), statistics.fmean(others)
    return abs(other - mean) <= _ALIKE * abs(other)


def judge(series: CycleSeries, cut: int) -> Judgement:
    """The verdict on `series` without its first `cut` readings, which are warm-up.

    Raises:
        ValueError: fewer than two readings remain.
    """
    window = series.window(cut)
    cycles = len(window.readings) - 1
    line = robust_fit(list(enumerate(window.readings)))
    verdict = _verdict(window)
    if verdict == "leak" and cut > cycles:
        verdict = "inconclusive"  # it slowed down for longer than it has been steady
    floor = _floor(window, line.slope)
    needed = _cycles_needed(cycles, line.slope, floor) if verdict == "inconclusive" else None
    return Judgement(verdict, line.slope, line.half_width, floor, needed)


def used_up(found: Judgement, window: CycleSeries) -> Judgement:
    """The same of what there was no more of in the end: a leak if each cycle took some, however few
    there were."""
    if not all(before < after for before, after in pairwise(window.readings)):
        return found
    return replace(found, verdict="leak", cycles_needed=None)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the repeats of one series say together.

    Attributes:
        verdict: theirs, if they agree; else inconclusive.
        per_cycle, ci95: mean gain per cycle.
        floor: the smallest gain that every repeat would have found; None if one finds none.
    """

    verdict: LeakVerdict
    per_cycle: float
    ci95: Interval
    floor: float | None


def agreed(found: Sequence[Judgement], *, settled: bool) -> Agreement:
    """The repeats of one series; undecided unless all of them have `settled`."""
    slope, interval = mean_interval(
        [judgement.slope for judgement in found],
        statistics.fmean(judgement.half_width for judgement in found),
    )
    alike = settled and len({judgement.verdict for judgement in found}) == 1
    verdict = found[0].verdict if alike else "inconclusive"
    return Agreement(verdict, slope, interval, highest([judgement.floor for judgement in found]))


def highest(floors: Sequence[float | None]) -> float | None:
    """The floor of several readings that all have to see a leak; None if one sees none at all."""
    known = [floor for floor in floors if floor is not None]
    return max(known) if known and len(known) == len(floors) else None


def gains_per_cycle(readings: Sequence[float]) -> float:
    """In how many of the cycles, as a share, a leak leaks: the largest gains that make up most of
    the growth are so many of it. All of them, 1, where nothing grows."""
    gains = sorted((after - before for before, after in pairwise(readings)), reverse=True)
    total = sum(gains)
    if total <= 0:
        return 1.0
    most = next(n for n, sum_ in enumerate(accumulate(gains), 1) if sum_ >= _MOST * total)
    return most / (_MOST * len(gains))


def is_steady(first: float, second: float) -> bool:
    """Whether two gains per cycle, one after the other, are one growth that goes on."""
    return first > 0 and second > 0 and min(first, second) >= _STEADY * max(first, second)


def _verdict(window: CycleSeries) -> LeakVerdict:
    readings = window.readings
    if _rise(readings) <= _SIGNIFICANT:
        return "clean"
    first, middle, last = _thirds(readings)
    if last <= 0:
        return "clean"  # it has ended
    total = readings[-1] - readings[0]
    if total < window.least * (len(readings) - 1):
        return "clean"
    steady = first > 0 and middle > 0 and last >= _SLOWING * total / 3
    slope = robust_fit(list(enumerate(readings))).slope
    by_trend = slope * (len(readings) - 1) >= _TREND * total
    return "leak" if steady and by_trend else "inconclusive"


def _rise(window: Sequence[float]) -> float:
    """Mann-Kendall: by how many standard deviations later readings are larger than earlier ones,
    more often than by chance."""
    score = sum((b > a) - (b < a) for a, b in combinations(window, 2))
    n = len(window)
    ties = [window.count(value) for value in set(window)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    return (score - 1) / math.sqrt(variance) if variance > 0 else 0.0


def _thirds(window: Sequence[float]) -> tuple[float, float, float]:
    """What the window gains in its first, second and last third."""
    cycles = len(window) - 1
    places = [round(cycles * third / 3) for third in range(4)]
    first, middle, last = (window[end] - window[start] for start, end in pairwise(places))
    return first, middle, last


def _floor(window: CycleSeries, slope: float) -> float | None:
    """The smallest gain per cycle that would be found on top of the window without its slope."""
    level = [reading - slope * cycle for cycle, reading in enumerate(window.readings)]

    def found(gain: float) -> bool:
        readings = [each + gain * cycle for cycle, each in enumerate(level)]
        return _verdict(replace(window, readings=readings)) == "leak"

    high = max(window.grain, 2 * window.least, 2 * (max(level) - min(level)))
    if not found(high):
        return None
    low = 0.0
    for _ in range(_FLOOR_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return max(high, window.grain)


def _standard_error(gains: Sequence[float]) -> float:
    """MSER's statistic: the squared standard error of the mean, but for a constant."""
    mean = statistics.fmean(gains)
    return sum((gain - mean) ** 2 for gain in gains) / len(gains) ** 2


def _cycles_needed(cycles: int, slope: float, floor: float | None) -> int:
    """The floor falls with the power 3/2 of the number of cycles; at least twice as many."""
    factor = 2.0
    if floor is not None and slope > 0:
        factor = max(factor, (floor / slope) ** (2 / 3))
    return 5 * math.ceil(min(factor, 20.0) * cycles / 5)
