"""What an agent gains by living one step longer, judged as a leak check does."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.analysis import leaks
from memprof.measurements import TrendSeries
from memprof.results import Trend

_GRAIN_BYTES = 16


def trend(repeats: Sequence[TrendSeries]) -> Trend:
    """Whether the live heap goes on growing, step after step (see `leaks`), and by how much for
    each agent. Where a repeat has too few readings to tell, there is no figure."""
    first = min(series.first_step for series in repeats)
    last = max(s.first_step + (len(s.heap_bytes) - 1) * s.stride for s in repeats)
    if any(len(series.heap_bytes) <= leaks.FEWEST_CYCLES for series in repeats):
        return Trend(None, None, None, None, first, last)
    cuts = [leaks.settled(series.heap_bytes, leaks.FEWEST_CYCLES) for series in repeats]
    found = [
        leaks.judge(series.heap_bytes, cut or 0, _GRAIN_BYTES)
        for series, cut in zip(repeats, cuts, strict=True)
    ]
    heap = leaks.agreed(found, settled=None not in cuts)
    each = repeats[0].agents * repeats[0].stride
    low, high = heap.ci95
    floor = None if heap.floor is None else heap.floor / each
    return Trend(heap.verdict, heap.per_cycle / each, (low / each, high / each), floor, first, last)
