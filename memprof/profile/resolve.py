"""How far a clean worker's population grows beyond the scenario's, to know what an agent costs."""

from __future__ import annotations

import math
from itertools import islice

from memprof.errors import ScenarioError
from memprof.instruments import process, pymalloc
from memprof.launch.limits import left_bytes
from memprof.posix import own_seconds
from memprof.stats import lines
from memprof.values.measurements import GrowthPoint
from memprof.values.requests import Measure
from memprof.worker.growth import (
    FEWEST_POINTS,
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
# A line through populations that are built anew takes about so many lives of the largest one.
_LIVES = 6


class Readings:
    """The process at each size of its population, in memory that was reserved before."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._records = Records(GrowthPoint, _MOST_POINTS)
        self._first = 0
        self._anew = False

    def __len__(self) -> int:
        return len(self._records) - self._first

    def take(self, agents: int) -> None:
        """Read the process that has so many agents."""
        self.channel.progress("settle", agents)
        process.settle()
        vacant = pymalloc.vacant_bytes() if self._anew else 0
        self._records.append(GrowthPoint(agents, process.read(), vacant_bytes=vacant))
        self.channel.progress("read", agents)

    def begin_anew(self) -> None:
        """Those until now are on no line with those to come, of a population that is built anew."""
        self._first, self._anew = len(self._records), True

    @property
    def points(self) -> list[GrowthPoint]:
        """All readings, smallest population first, and in the order in which they were taken."""
        known = islice(self._records, self._first, None)
        return sorted(known, key=lambda point: point.agents)

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


def resolve_anew(request: Measure, each_bytes: float, batches: Batches, readings: Readings) -> None:
    """The same for a population that is built anew for every size, of agents of `each_bytes`: a
    hundred times as many take about as long as twice, so it is built for as many as it needs."""
    least = max(batches.sizes[-1], FEWEST_POINTS * batches.growth.population.group)
    most = request.most or (_most(request, each_bytes, batches) if request.resolve else least)
    sizes = [most, least] if most >= 2 * least else [least]
    batches.growth.record_no_more()  # in a batch of another size they may differ in the last bit
    for size in sizes:
        readings.begin_anew()
        try:
            for reached in batches.anew(size):
                readings.take(reached)
            return
        except (MemoryError, ScenarioError):
            if size == least:
                raise
            # the scenario did not ask for so many


def _most(request: Measure, each_bytes: float, batches: Batches) -> int:
    """As many agents as resolve what one of so many bytes costs, or as the effort's time and the
    memory have room for."""
    effort, each = request.spec.effort, max(1.0, each_bytes)
    needed = lines.resolving_agents(each, request.resolve)
    in_time = effort.anew_seconds / (_LIVES * batches.seconds_per_life())
    return int(min(needed, in_time, _room_bytes() / each))


def _room_bytes() -> float:
    return min(_EXTENSION_BYTES, left_bytes() // 2)


def _go_to(agents: int, batches: Batches, readings: Readings) -> None:
    batches.extend_to(agents)
    readings.take(agents)
