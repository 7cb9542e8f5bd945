"""What an agent gains by living one step longer."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.analysis.marginal import fit, mean_interval
from memprof.measurements import TrendSeries
from memprof.results import Trend

_FEWEST_READINGS = 4


def trend(repeats: Sequence[TrendSeries]) -> Trend:
    """Slope of the live heap over steps, per agent, with its 95 % interval over the repeats.

    Each repeat is fitted by least squares (see `marginal.fit`); the interval is the wider of the
    scatter between repeats and that around the lines. With fewer than four readings in any repeat
    there is no figure.
    """
    first = min(series.first_step for series in repeats)
    last = max(s.first_step + (len(s.heap_bytes) - 1) * s.stride for s in repeats)
    if any(len(series.heap_bytes) < _FEWEST_READINGS for series in repeats):
        return Trend(None, None, first, last)
    lines = [
        fit([(n * series.stride, size / series.agents) for n, size in enumerate(series.heap_bytes)])
        for series in repeats
    ]
    within = sum(line.half_width for line in lines) / len(lines)
    slope, interval = mean_interval([line.slope for line in lines], within)
    return Trend(slope, interval, first, last)
