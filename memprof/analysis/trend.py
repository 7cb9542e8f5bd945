"""What an agent gains by living one step longer, judged as a leak check does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memprof.analysis import leaks
from memprof.measurements import TrendSeries
from memprof.results import Trend


def trend(repeats: Sequence[TrendSeries]) -> Trend:
    """Whether the live heap goes on growing, step after step (see `leaks`), and by how much for
    each agent. Where a repeat has too few readings to tell, there is no figure; where it has
    none that could have seen growth, nothing is decided either."""
    first = min(series.first_step for series in repeats)
    last = max(s.first_step + (len(s.heap_bytes) - 1) * s.stride for s in repeats)
    if any(series.blind for series in repeats):
        return Trend("inconclusive", None, None, None, first, last)
    if any(len(series.heap_bytes) <= leaks.FEWEST_CYCLES for series in repeats):
        return Trend(None, None, None, None, first, last)
    cuts = [leaks.settled(series.heap_bytes, leaks.FEWEST_CYCLES) for series in repeats]
    found = [_judged(series, cut or 0) for series, cut in zip(repeats, cuts, strict=True)]
    each = leaks.agreed(found, settled=None not in cuts)
    return Trend(each.verdict, each.per_cycle, each.ci95, each.floor, first, last)


def _judged(series: TrendSeries, cut: int) -> leaks.Judgement:
    """One repeat, in bytes per agent and step; repeats differ in the number of agents. What gains
    less than one grain for all of them is their records, which may become larger."""
    grain, lives = leaks.GRAIN_BYTES, series.agents * series.stride
    found = leaks.judge(leaks.CycleSeries(series.heap_bytes, grain, least=grain), cut)
    return replace(
        found,
        slope=found.slope / lives,
        half_width=found.half_width / lives,
        floor=None if found.floor is None else found.floor / lives,
    )
