"""How far a clean worker's population grows beyond the scenario's, to know what an agent costs."""

from __future__ import annotations

import math
import statistics
from itertools import islice

from memprof.errors import ScenarioError
from memprof.instruments import process, walker
from memprof.launch.limits import left_bytes
from memprof.posix import own_seconds
from memprof.stats import lines
from memprof.values.measurements import GrowthPoint
from memprof.values.requests import Measure
from memprof.worker.growth import (
    FEWEST_POINTS,
    REBUILT_ONCE,
    Batches,
    Points,
    Records,
    further_sizes,
)
from memprof.worker.job import Channel

# A population grows on until half the interval of its marginal cost is so small, relative to it.
_RESOLUTION = 0.01
_EXTENSION_BYTES, _EXTENSION_SHARE = 64 * 10**6, 0.5
_MOST_POINTS = 64
# To resolve what an agent costs, a population is built anew at so many quarters of its final size,
# in an order that is the same from its end.
_LEAPS, _QUARTERS = (4, 2, 3, 2, 4), 4


class Readings:
    """The process at each size of its population, in memory that was reserved before. The first of
    those that are built anew are on no line with the others."""

    def __init__(self, channel: Channel, *, rebuilds: bool) -> None:
        self.channel = channel
        self._rebuilds = rebuilds
        self._records = Records(GrowthPoint, _MOST_POINTS)

    def __len__(self) -> int:
        return len(self._records)

    def take(self, agents: int) -> None:
        """Read the process that has so many agents."""
        self.channel.progress("settle", agents)
        process.settle()
        self._records.append(GrowthPoint(agents, process.read()))
        self.channel.progress("read", agents)

    @property
    def points(self) -> list[GrowthPoint]:
        """All readings, smallest population first, and in the order in which they were taken."""
        once = REBUILT_ONCE if self._rebuilds and len(self) > FEWEST_POINTS else 0
        return sorted(islice(self._records, once, None), key=lambda point: point.agents)

    def at(self, agents: int) -> GrowthPoint:
        """The first one of so many agents."""
        return next(point for point in self._records if point.agents == agents)

    @property
    def private(self) -> Points:
        """Agents and private memory of the same."""
        return [(each.agents, each.reading.private_bytes) for each in self.points]


def resolve(request: Measure, batches: Batches, readings: Readings) -> None:
    """Grow past the scenario's count as far as a line needs it and, if that is asked for, until so
    many workers know what an agent costs well together, within limits: the mean of their slopes is
    surer than each, as `lines.mean_interval` reckons."""
    start = own_seconds()
    while len(readings) < FEWEST_POINTS:
        _go_to(readings.private[-1][0] + 1, batches, readings)
    if not request.resolve:
        return
    try:
        if batches.growth.population.rebuilds:
            _leap(request, batches, readings)
        else:
            _go_on(request, batches, readings, start)
    except (MemoryError, ScenarioError):
        return  # the scenario did not ask for so many; what was measured stands


def _go_on(request: Measure, batches: Batches, readings: Readings, start: float) -> None:
    """Agent after agent."""
    effort, rate = request.spec.effort, batches.seconds_per_agent()
    for resolution, seconds in (
        (lines.FITS, effort.fit_seconds),
        (_RESOLUTION, effort.resolve_seconds),
    ):
        for agents in further_sizes(
            lambda: readings.private,
            lines.memory_line,
            resolution=resolution * math.sqrt(request.resolve),
            share=_EXTENSION_SHARE,
            seconds_left=lambda end=start + seconds: end - own_seconds(),  # type: ignore[misc]
            agent_seconds=lambda: rate,
            room_bytes=_room_bytes,
            first=readings.private[0],
        ):
            _go_to(agents, batches, readings)


def _leap(request: Measure, batches: Batches, readings: Readings) -> None:
    """A population that is built anew for every size, and compiles for it, takes about as long to
    become a hundred times as large as twice: so it does that at once, where it helps."""
    least = _RESOLUTION * math.sqrt(request.resolve)
    if lines.memory_line(readings.private).is_known_to(least):
        return
    most = request.most or _most(request, batches)
    if most < 2 * max(request.spec.agents, FEWEST_POINTS):
        return
    batches.growth.record_no_more()  # in a larger batch they may differ in the last bit
    for part in _LEAPS:
        _go_to(most * part // _QUARTERS, batches, readings)


def _most(request: Measure, batches: Batches) -> int:
    """As many agents as resolve what one costs; 0 where that is too many for the room or for the
    effort's time."""
    population = batches.growth.population
    walked = walker.walk(population.holdings(), len(population))
    each = max(1.0, statistics.fmean(walked.nominal))
    agents = lines.resolving_agents(each, request.resolve)
    seconds = len(_LEAPS) * agents * batches.seconds_per_life()
    within = seconds <= request.spec.effort.fit_seconds and agents * each <= _room_bytes()
    return agents if within else 0


def _room_bytes() -> float:
    return min(_EXTENSION_BYTES, left_bytes() // 2)


def _go_to(agents: int, batches: Batches, readings: Readings) -> None:
    batches.extend_to(agents)
    readings.take(agents)
