"""The job `density`: a population that grows from size to size, steps in rounds, and leaves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from math import lcm
from time import perf_counter

from msgspec.structs import replace

from memprof.density.gauge import Gauge, OwnProcess
from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch
from memprof.populations import Behaviour, Population
from memprof.populations.trace import DigestTrace
from memprof.stats import lines
from memprof.values.density import DensityPoint, DensityRun
from memprof.values.instruments import Reading
from memprof.values.measurements import WorkingSetUse
from memprof.values.population import PopulationSpec
from memprof.values.requests import Grow
from memprof.worker.growth import (
    FEWEST_POINTS,
    Growth,
    Points,
    Records,
    further_sizes,
)
from memprof.worker.job import Channel, backend_of, warm_up

_MOST_POINTS = 64
_TOLD_SHARE = 0.005
"""The parent is told of every population that is larger by this share."""
_ROUNDS_SHARE, _MOST_ROUNDS = 0.1, 9  # of the longest round; of rounds
"""Short rounds are repeated, within these limits: a step leaves something behind."""
_NEW_SIZE = 1.1
_LEAST_GROWTH_BYTES = 4 * 2**20
"""The least growth of a process that a cost is known from: the first agents move into memory that
was freed before."""
_RESOLUTION, _RESOLVE_FACTOR = 0.01, 0.2
_RESOLVE_SHARE = 0.25
"""Share of the memory left that agents may take only to resolve what they cost."""
WATCHED = 100
"""Agents whose behaviour is noted down; and the largest population whose is, where it is built anew
for every size, since each may round differently."""
_PORTION_SECONDS, _PORTION_SHARE = 0.25, 0.01
"""Agents are built in portions of so much time, and of so much of the population."""


def grow(request: Grow, channel: Channel) -> DensityRun:
    """Let the population grow to each of the sizes, and beyond to resolve what an agent costs; as
    far as the effort goes, and at most for the seconds given. What is measured is sent home on the
    way.

    Raises:
        MemoryError: the population does not fit in the memory that the worker may have.
    """
    warm_up(request.spec, channel)
    sizes, effort = request.sizes, request.spec.effort
    population = backend_of(request.spec)
    sweep = Sweep(
        population, OwnProcess(), request.spec, sizes, request.seconds, channel, channel.part
    )
    try:
        for size in sweep.sizes:
            sweep.visit(size, whole_round=size == sweep.sizes[-1])
        if request.resolve:
            sweep.resolve()
        replaced, time_up = sweep.replace(effort.replace_seconds), False
    except TimeUp:
        sweep.take_last()
        replaced, time_up = 0, True
    return replace(sweep.run(), time_up=time_up, replaced=replaced, left=sweep.left())


class TimeUp(Exception):
    """The population has used up its time."""


class _Watch:
    """Notes down what the first agents do, and looks at the clock as others live, too."""

    def __init__(self, digests: DigestTrace, seconds: float | None, channel: Channel) -> None:
        self.digests = digests
        self.label, self.agents, self.noted = "build", 0, True
        self._end = None if seconds is None else perf_counter() + seconds
        self._channel = channel
        self._told = perf_counter()

    def record(self, agent: int, step: int, behaviour: Behaviour) -> None:
        if self.noted:
            self.digests.record(agent, step, behaviour)
        if perf_counter() - self._told > _PORTION_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Say what is going on.

        Raises:
            TimeUp: nothing may go on.
        """
        self._told = perf_counter()
        if self._end is not None and self._told > self._end:
            raise TimeUp
        self._channel.progress(self.label, self.agents)


class Sweep:
    """A population on its way from size to size; every size becomes a point.

    Attributes:
        there: the agents that are there and have lived the scenario's steps.
        agent_seconds: building an agent and letting it live the scenario's steps.
        sizes: those that were asked for, of whole worlds and in proportion.
        growth: of the population.
    """

    def __init__(
        self,
        build: Callable[[PopulationSpec, Stopwatch], Population],
        gauge: Gauge,
        spec: PopulationSpec,
        sizes: Sequence[int],
        seconds: float | None,
        channel: Channel,
        on_part: Callable[[DensityRun], None],
        watched: int | None = None,
    ) -> None:
        self._gauge, self._channel, self._on_part = gauge, channel, on_part
        self._effort = spec.effort
        self._stopwatch = Stopwatch()
        digests = DigestTrace(min(WATCHED, sizes[-1]), spec.steps)
        self._watch = _Watch(digests, seconds, channel)
        self._points = Records(DensityPoint, _MOST_POINTS)
        self._population = build(spec, self._stopwatch)
        self.growth = Growth(self._population, spec.steps, self._watch, watched)
        self._multiple = lcm(self._population.group, self._population.period)
        self.sizes = tuple(dict.fromkeys(map(self.whole, sizes)))
        self.there, self.agent_seconds = range(0), 0.0
        self._told = 0
        self._built, self._build_seconds, self._optimised_before = 0, 0.0, 0.0
        self._use: WorkingSetUse | None = None
        self._file_bytes = 0
        self._baseline = gauge.begin()

    def whole(self, agents: int) -> int:
        """So many, or the next more that worlds can be filled with, in proportion."""
        return agents + -agents % self._multiple

    def visit(self, agents: int, *, whole_round: bool) -> None:
        """Grow to `agents`, read the process, and let the agents step once more.

        Raises:
            TimeUp: the time was over; points that were completed stand.
        """
        self._grow_to(agents)
        point = self._read()
        self._channel.progress("round", agents)
        per_step = self.agent_seconds / (self.growth.steps + 1)
        in_time = max(1, int(self._effort.round_seconds / per_step))
        most = agents if whole_round else min(agents, in_time)
        self._keep(replace(point, step_seconds=self._step_seconds(most), stepped=most))

    def look(self, agents: int) -> None:
        """Grow to `agents`, and read.

        Raises:
            TimeUp: as `visit`.
        """
        self._grow_to(agents)
        self._keep(self._read())

    def resolve(self, share: float = _RESOLVE_FACTOR) -> None:
        """Grow on until the cost of an agent is known well, within limits; each time by such a
        share at most."""
        end = perf_counter() + self._effort.resolve_seconds
        sizes = further_sizes(
            self._sizes,
            self._line,
            resolution=_RESOLUTION,
            share=share,
            seconds_left=lambda: end - perf_counter(),
            agent_seconds=lambda: self.agent_seconds,
            room_bytes=lambda: _RESOLVE_SHARE * self._gauge.left_bytes(),
            first=(0, self._baseline.private_bytes),
        )
        for agents in sizes:
            try:
                self.look(self.whole(agents))
            except (MemoryError, ScenarioError):
                return  # nobody asked for these; what was measured stands
            if len(self._points) == _MOST_POINTS:
                return

    def take_last(self) -> None:
        """Read the population that time has left, where it is much of a new size, and has kinds in
        their proportions."""
        agents = len(self._population)
        largest = max((each.agents for each in self._points), default=1)
        if agents >= _NEW_SIZE * largest and agents == self.whole(agents):
            self._keep(self._read())

    def replace(self, seconds: float) -> int:
        """Let agents go while the others stay, as many as can be built in the time and half of them
        at most; and let as many new ones come and live. How many that were."""
        if not self._orderly():
            return 0
        agents = len(self.there)
        going = min(agents // 2, int(seconds / self.agent_seconds))
        self._channel.progress("replace", going)
        self._population.leave(range(going))
        new, _ = Growth(self._population, self.growth.steps).come(agents)
        self.there = range(going, new.stop)
        return going

    def left(self) -> Reading:
        """Let all agents go, the last one too; what the process has then."""
        self._channel.progress("leave", len(self._population))
        if self._orderly():
            self._population.leave(self.there)
        else:
            self._population.close()
            self._population.drop_caches()
        self.there = range(0)
        self._gauge.settle()
        return self._gauge.read()

    def run(self) -> DensityRun:
        """What was measured so far."""
        return DensityRun(
            baseline=self._baseline,
            points=tuple(sorted(self._points, key=lambda point: point.agents)),
            lived=self._told,
            time_up=False,
            replaced=0,
            left=None,
            working_set=self._use,
            file_bytes=self._file_bytes,
            facts=self._population.facts(),
            kept_whole=self._population.kept_whole,
            digests=self._watch.digests.per_agent(),
            course=self._watch.digests.course(),
            calibration=self._gauge.calibration(),
            children=self._gauge.children(),
        )

    def _orderly(self) -> bool:
        """Whether agents can leave one by one; not after one of them could not be built."""
        return not self._population.rebuilds and len(self._population) == len(self.there)

    def _grow_to(self, agents: int) -> None:
        self._built, self._build_seconds = 0, 0.0
        self._optimised_before = self._optimised()
        while (count := len(self._population)) < agents:
            if count and (scarce := self._gauge.scarce_words()):
                raise MemoryError(scarce)
            self._come(agents)
            if len(self._population) >= self._told * (1 + _TOLD_SHARE):
                self._tell()

    def _come(self, most: int) -> None:
        """Build a portion of agents, up to `most` in all, and let them live their steps."""
        in_time = _PORTION_SECONDS / self.agent_seconds if self.agent_seconds else 1
        portion = max(1, int(min(in_time, _PORTION_SHARE * most)))
        agents = min(most, len(self._population) + portion)
        if self._population.rebuilds:
            agents = most
        start = perf_counter()
        self._look("build", agents)
        new, build_seconds = self.growth.come(agents)
        self._watch.tell()
        self._built += len(new)
        self._build_seconds += build_seconds
        self.agent_seconds = (perf_counter() - start) / len(new)
        self.there = range(new.stop)

    def _look(self, label: str, agents: int) -> None:
        """What the watch says from now on, and whether it notes down what agents do."""
        self._watch.label, self._watch.agents = label, agents
        self._watch.noted = not self._population.rebuilds or agents <= WATCHED

    def _step_seconds(self, most: int) -> float:
        """One step of one agent, the first `most` stepping in turn: the median of a few rounds
        where a round is short."""
        rounds, spent = list[float](), 0.0
        stride = self._population.stride
        enough = _ROUNDS_SHARE * self._effort.round_seconds
        while not rounds or (spent < enough and len(rounds) < _MOST_ROUNDS):
            self._look("round", most)
            before = self.growth.turns
            seconds = self.growth.live_on(most, stride)
            spent += seconds / stride
            rounds.append(seconds / max(1, self.growth.turns - before))
            self._watch.tell()
        return statistics.median(rounds)

    def _optimised(self) -> float:
        """Seconds that the passes have taken for new agents."""
        times = self._stopwatch.times()
        return sum(each.seconds for each in times if each.operation == "optimise")

    def _read(self) -> DensityPoint:
        """Settle, and read; no step is timed yet."""
        agents = len(self._population)
        self._channel.progress("settle", agents)
        self._gauge.settle()
        sizes, reading = self._gauge.sizes(), self._gauge.read()
        peak_rss = self._gauge.peak_rss_bytes()
        optimising, built = self._optimised() - self._optimised_before, max(1, self._built)
        return DensityPoint(
            agents=agents,
            reading=reading,
            data_bytes=sizes.get("VmData"),
            virtual_bytes=sizes.get("VmSize"),
            peak_virtual_bytes=sizes.get("VmPeak"),
            peak_rss_bytes=peak_rss,
            build_seconds=self._build_seconds / built,
            optimise_seconds=optimising / built if optimising else None,
            step_seconds=None,
            stepped=0,
        )

    def _keep(self, point: DensityPoint) -> None:
        self._points.append(point)
        self._use = self._population.working_set()
        self._file_bytes = self._population.file_bytes
        self._tell()

    def _tell(self) -> None:
        """Send home what is known so far; a population that was told of has lived."""
        self._told = len(self.there)
        self._on_part(self.run())

    def _sizes(self) -> Points:
        return [(each.agents, each.reading.private_bytes) for each in self._points]

    def _line(self, points: Points) -> lines.Line | None:
        """None where the points don't tell yet what an agent costs."""
        least = self._gauge.processes * _LEAST_GROWTH_BYTES
        if len(points) < FEWEST_POINTS or points[-1][1] - points[0][1] < least:
            return None
        return lines.memory_line(lines.largest(points))
