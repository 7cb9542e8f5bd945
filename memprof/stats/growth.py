"""Does a series of memory readings, one per cycle, go on growing? Pure.

Growth alone is no leak: caches fill, lists are enlarged by jumps, collectors let memory rise and
fall. *A leak is a rise that goes on, undiminished, for as long as one looks.* Each word is a rule:

- *A rise*: after the warm-up, later readings are larger than earlier ones more often than by
  chance, by the test of Mann (1945) and Kendall with its correction for ties, at 0.1 % (one-sided).
- *Goes on*: that test takes a few steps for a rise, as all readings after one depend on it (Hamed
  and Rao 1998, J. Hydrology 204). So each third of the cycles gains: the last at least 0.6 of what
  a third gains on average, the others, as a leak may come in jumps, 0.2. And there are at least
  seven levels: with fewer readings that differ, not even a steady rise would be significant.
- *Undiminished*: the gains from cycle to cycle do not fall, by the same test, at 5 %, nor by a
  fifth from the first half of the cycles to the second.
- *As long as one looks*: what seems to rise (5 %) is looked at for twice the cycles that suffice
  for what does not, and for no less time than the warm-up took.

What does not rise, or gained nothing in the later half, is clean; what else is no leak is not
decided yet.

The warm-up is what the Marginal Standard Error Rule leaves out (White 1997, Simulation 69(6);
compared with its rivals by Hoad, Robinson and Davies 2010, J. Oper. Res. Soc. 61), applied to the
gains, which are steady under a leak as well as without one. Where it would leave too few, the
series has not settled: that is a leak only if it is one from the first reading on, and never clean.
A short rest may be quiet by chance, so that each counts only by what it has beyond four gains.

The slope is Theil's and Sen's, with Sen's interval (`lines.robust_fit`). The floor is found by
trial: the smallest steady gain that, added to the very readings, is a rise that goes on.
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
# What each third of the cycles has to gain, of what a third gains on average.
_SHARES = (0.2, 0.2, 0.6)
# A gain that falls to so much may fall further.
_SLOWER = 0.8
# Fewer gains than these may be quiet by chance.
_SHORTEST = 5
_FLOOR_STEPS = 40
# The lesser of two gains has to be this much of the greater for the two to be one steady growth.
_STEADY = 0.5
_MOST = 0.6


@dataclass(frozen=True, slots=True)
class CycleSeries:
    """One reading before the first cycle and one after each.

    Attributes:
        grain: the smallest amount by which a reading can change; no floor is below it.
        least: what a leak that only this series shows gains per cycle at the least; less is no
            rise.
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
        cut: readings left out as warm-up; None for a series that has not settled, of which nothing
            is left out.
        slope, half_width: gain per cycle in what remains, and half of its 95 % interval.
        floor: smallest gain per cycle that would have been found; None if none would have been.
        cycles_needed: cycles that are likely to decide; None where it is decided.
    """

    verdict: LeakVerdict
    cut: int | None
    slope: float
    half_width: float
    floor: float | None
    cycles_needed: int | None


def decided(all_series: Collection[CycleSeries], cycles: int) -> bool:
    """Whether a run may end: everything leaks or is clean, or something leaks, and all else had
    some more cycles to show whether it does."""
    verdicts = _verdicts(all_series, cycles)
    enough = rising_cycles(cycles) + cycles
    had_more = all(len(each.readings) > enough for each in all_series)
    return "inconclusive" not in verdicts or ("leak" in verdicts and had_more)


def one_leaks(all_series: Collection[CycleSeries], cycles: int) -> bool:
    """Whether what rises has done so for long enough, in one of them, to be a leak."""
    return "leak" in _verdicts(all_series, cycles)


def _verdicts(all_series: Collection[CycleSeries], cycles: int) -> set[LeakVerdict]:
    rising = rising_cycles(cycles)
    return {_verdict(each, warm_up(each.readings, cycles), rising) for each in all_series}


def rising_cycles(cycles: int) -> int:
    """For how many cycles what seems to rise is watched, where so many suffice for what does not: a
    cache may take longer to fill than one is patient."""
    return 2 * cycles


def most_cycles(cycles: int) -> int:
    """Cycles after which a run ends in any case."""
    return 4 * cycles + 10


def warm_up(readings: Sequence[float], cycles: int) -> int | None:
    """Readings to leave out at the start, so that the series is no longer warming up and at least
    `cycles` gains remain; None if there have not been enough cycles for that."""
    gains = _gains(readings)
    errors = [_standard_error(gains[cut:]) for cut in range(len(gains) - _SHORTEST + 1)]
    best = min(range(len(errors)), key=errors.__getitem__, default=0)
    return best if best <= len(gains) - cycles else None


def judge(series: CycleSeries, cycles: int, rising: int | None = None) -> Judgement:
    """The verdict on `series`. So many `cycles` after the warm-up suffice for what does not rise,
    and so many for what is `rising`: by default no more.

    Raises:
        ValueError: fewer than two readings.
    """
    rising = rising or cycles
    cut = warm_up(series.readings, cycles)
    window = series.window(cut or 0)
    line = robust_fit(list(enumerate(window.readings)))
    verdict = _verdict(series, cut, rising)
    floor, cycles_seen = _floor(window, line.slope), len(window.readings) - 1
    needed = None
    if verdict == "inconclusive":
        short = cycles_seen < rising
        needed = rising if short else _cycles_needed(cycles_seen, line.slope, floor)
    return Judgement(verdict, cut, line.slope, line.half_width, floor, needed)


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


def agreed(found: Sequence[Judgement]) -> Agreement:
    """The repeats of one series."""
    slope, interval = mean_interval(
        [judgement.slope for judgement in found],
        statistics.fmean(judgement.half_width for judgement in found),
    )
    alike = len({judgement.verdict for judgement in found}) == 1
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


def _verdict(series: CycleSeries, cut: int | None, rising: int) -> LeakVerdict:
    """That of a series of whose readings `cut` are warm-up; what rises has to do so for as many
    cycles as `rising`."""
    window = series.window(cut or 0)
    if len(window.readings) <= max(rising, cut or 0):
        seems_to_rise = _rise(window.readings) > _SUSPICIOUS
        return "inconclusive" if cut is None or seems_to_rise else "clean"
    rises, readings = _is_rise(window), window.readings
    if rises and _goes_on(readings) and not _slows_down(readings):
        return "leak" if len(set(readings)) >= FEWEST_CYCLES else "inconclusive"
    still_rises = rises and not _has_ended(window.readings)
    return "inconclusive" if cut is None or still_rises else "clean"


def _is_rise(window: CycleSeries) -> bool:
    readings = window.readings
    enough = readings[-1] - readings[0] >= window.least * (len(readings) - 1)
    return enough and _rise(readings) > _SIGNIFICANT


def _goes_on(readings: Sequence[float]) -> bool:
    """Whether each third of the readings has its share of the gain."""
    cycles = len(readings) - 1
    places = [round(cycles * third / 3) for third in range(4)]
    pace = (readings[-1] - readings[0]) / cycles
    return pace > 0 and all(
        readings[end] - readings[start] >= share * pace * (end - start)
        for (start, end), share in zip(pairwise(places), _SHARES, strict=True)
    )


def _slows_down(readings: Sequence[float]) -> bool:
    """Whether gains fall, and by enough to end: pages of a steady leak fall by some per cent."""
    middle = (len(readings) - 1) // 2
    early = (readings[middle] - readings[0]) / middle
    late = (readings[-1] - readings[middle]) / (len(readings) - 1 - middle)
    falls = _rise([-gain for gain in _gains(readings)]) > _SUSPICIOUS
    return falls and late <= _SLOWER * early


def _has_ended(readings: Sequence[float]) -> bool:
    """Whether the later half gains nothing."""
    return readings[-1] <= readings[(len(readings) - 1) // 2]


def _rise(window: Sequence[float]) -> float:
    """Mann-Kendall: by how many standard deviations later readings are larger than earlier ones,
    more often than by chance."""
    score = sum((b > a) - (b < a) for a, b in combinations(window, 2))
    n = len(window)
    ties = [window.count(value) for value in set(window)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    return (score - 1) / math.sqrt(variance) if variance > 0 else 0.0


def _floor(window: CycleSeries, slope: float) -> float | None:
    """The smallest gain per cycle that would be found on top of the window without its slope."""
    level = [reading - slope * cycle for cycle, reading in enumerate(window.readings)]

    def found(gain: float) -> bool:
        readings = [each + gain * cycle for cycle, each in enumerate(level)]
        return _is_rise(replace(window, readings=readings)) and _goes_on(readings)

    high = max(window.grain, 2 * window.least, 2 * (max(level) - min(level)))
    if not found(high):
        return None
    low = 0.0
    for _ in range(_FLOOR_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return max(high, window.grain)


def _gains(readings: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(readings)]


def _standard_error(gains: Sequence[float]) -> float:
    """MSER's statistic: the squared standard error of the mean, but for a constant, of gains
    counted from the shortest rest on."""
    mean = statistics.fmean(gains)
    return sum((gain - mean) ** 2 for gain in gains) / (len(gains) - _SHORTEST + 1) ** 2


def _cycles_needed(cycles: int, slope: float, floor: float | None) -> int:
    """The floor falls with the power 3/2 of the number of cycles; at least twice as many."""
    factor = 2.0
    if floor is not None and slope > 0:
        factor = max(factor, (floor / slope) ** (2 / 3))
    return 5 * math.ceil(min(factor, 20.0) * cycles / 5)
