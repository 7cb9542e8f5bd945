"""Growing a population in batches, letting every agent live its steps.

Whatever a worker notes while it measures has its place from the start: a list that grew along would
be measured as part of the agents.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields, replace
from time import perf_counter, process_time, thread_time
from typing import Any, Protocol

import numpy as np

from memprof.catalogue.base import load_target
from memprof.catalogue.passes import PASSES
from memprof.instruments import process
from memprof.instruments.base import Stopwatch
from memprof.populations.base import Behaviour, Population, population_class
from memprof.populations.trace import DigestTrace
from memprof.stats import lines
from memprof.values.measurements import GrowthPoint, Reading
from memprof.values.population import PopulationSpec
from memprof.worker.channel import Channel

_BATCHES = 5
# The sizes, in fifths, of a population that is built anew for every size. What rebuilding itself
# leaves behind grows from one to the next; in this order that is no slope over the sizes.
_REBUILT = (2, 5, 3, 1, 4, 5)
_UNKNOWN = -1  # in rows
# The reference loop.
_STATES, _ROUNDS, _MOST = 48, 200, 40


class Recorder(Protocol):
    """Takes down behaviour outside the timed part of a step."""

    def record(self, agent: int, step: int, behaviour: Behaviour) -> None: ...


class Growth:
    """A population that grows to the scenario's `agents`, and beyond if asked to.

    Attributes:
        agents, steps: the scenario's.
        sizes: numbers of agents at which the population is read, up to the scenario's.
        compile_seconds: the first step of all agents of the last size, where the backend compiles
            in it; None elsewhere.
        build_seconds: building one agent, passes included, averaged likewise, for every size.
        reference: the loop that steps are compared with, run between them.
    """

    def __init__(
        self,
        population: Population,
        agents: int,
        steps: int,
        channel: Channel,
        recorder: Recorder | None = None,
    ) -> None:
        self.population = population
        self.agents, self.steps = agents, steps
        count = min(_BATCHES, agents)
        visits = _REBUILT if population.rebuilds and count == _BATCHES else range(1, count + 1)
        self.sizes = [agents * visit // count for visit in visits]
        self._step_seconds = array("d", [0.0]) * (len(self.sizes) * steps)
        self.compile_seconds: float | None = None
        self._step_cpu_seconds = array("d", [0.0]) * len(self._step_seconds)
        self.build_seconds = array("d", [0.0]) * len(self.sizes)
        self.reference = Reference(len(self._step_seconds) // population.stride)
        self._channel = channel
        self._recorder = recorder

    def batches(self) -> Iterator[int]:
        """Grow to the scenario's count in a few even batches; yields each size, for a reading."""
        for batch, last in enumerate(self.sizes):
            self._channel.progress("build", last)
            new, seconds = self._build(last)
            self.build_seconds[batch] = seconds / len(new)
            self._channel.progress("step", last)
            for steps in self.strides(0, self.steps):
                start = process_time()
                elapsed = self.live(new, steps)
                cpu = process_time() - start
                place = batch * self.steps
                for step in steps:
                    self._step_seconds[place + step] = elapsed / len(new) / len(steps)
                    self._step_cpu_seconds[place + step] = cpu / len(new) / len(steps)
                if self.population.rebuilds and steps.start == 0:
                    self.compile_seconds = elapsed
                self.reference.take()
            yield last

    @property
    def step_seconds(self) -> tuple[float, ...]:
        """One agent's step, averaged over the new agents, for every size and step; but for those
        that a population compiled in, unless it lived no others."""
        return self._but_compiled(self._step_seconds)

    @property
    def step_cpu_seconds(self) -> tuple[float, ...]:
        """The same in processor time of the whole process, taking down behaviour included."""
        return self._but_compiled(self._step_cpu_seconds)

    def _but_compiled(self, seconds: array[float]) -> tuple[float, ...]:
        compiled = self.population.stride if self.compile_seconds is not None else 0
        first = compiled if compiled < self.steps else 0
        return tuple(each for place, each in enumerate(seconds) if place % self.steps >= first)

    def extend_to(self, agents: int) -> None:
        """Grow on, in batches as large as the first: larger ones would fragment memory more."""
        self._channel.progress("extend", agents)
        batch = agents if self.population.rebuilds else self.sizes[0]
        while len(self.population) < agents:
            new, _ = self._build(min(agents, len(self.population) + batch))
            for steps in self.strides(0, self.steps):
                self.live(new, steps)

    def strides(self, first: int, last: int) -> Iterator[range]:
        """The steps [first, last) in portions that the population lives at once."""
        for start in range(first, last, self.population.stride):
            yield range(start, min(last, start + self.population.stride))

    def live(self, agents: range, steps: range) -> float:
        """Let the agents live the steps; the seconds of it, without those of recording."""
        elapsed = 0.0
        lives = self.population.live(agents, steps)
        while True:
            start = perf_counter()
            lived = next(lives, None)
            elapsed += perf_counter() - start
            if lived is None:
                break
            if self._recorder is not None:
                self._recorder.record(*lived)
            del lived
        process.clear_free_lists()
        return elapsed

    def seconds_per_agent(self) -> float:
        """Mean time to build an agent and to let it live its steps."""
        build = sum(self.build_seconds) / len(self.build_seconds)
        return build + self.steps * self._seconds_per_step()

    def agents_within(self, seconds: float, steps: int) -> int:
        """How many agents, from the scenario's number up to all there are, live so many steps in
        that time; all, where they only live together."""
        if self.population.rebuilds:
            return len(self.population)
        within = int(seconds / (steps * self._seconds_per_step()))
        return min(len(self.population), max(self.agents, within))

    def _seconds_per_step(self) -> float:
        return sum(self._step_seconds) / len(self._step_seconds)

    def _build(self, agents: int) -> tuple[range, float]:
        start = perf_counter()
        new = self.population.grow(agents)
        return new, perf_counter() - start


class Series:
    """Readings against the number of agents."""

    _MOST = 64

    def __init__(self) -> None:
        self._rows = Rows(self._MOST, 1 + len(fields(Reading)))

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, agents: int) -> None:
        """Settle, read the process, and keep the reading."""
        process.settle()
        self._rows.append((agents, *astuple(process.read())))

    def points(self) -> list[GrowthPoint]:
        """All readings, smallest population first, and in the order in which they were taken."""
        points = [GrowthPoint(agents, Reading(*values)) for agents, *values in self._rows]
        return sorted(points, key=lambda point: point.agents)


def backend_of(spec: PopulationSpec) -> type[Population]:
    """The population class of the backend, with the early passes installed before its import."""
    for name in spec.passes:
        if PASSES[name].early:
            load_target(PASSES[name].form(spec.backend).target)().install()
    return population_class(spec.backend)


def warm_up(spec: PopulationSpec, channel: Channel) -> None:
    """Let imports, caches and thread pools happen before the baseline: one agent, two steps,
    or as many as the population lives at once."""
    channel.progress("warm up")
    population = backend_of(spec)(replace(spec, agents=1), Stopwatch())
    digests = DigestTrace(1, spec.steps)
    agents = population.grow(1)
    for step in range(0, min(2, spec.steps), population.stride):
        for lived in population.live(agents, range(step, step + population.stride)):
            digests.record(*lived)
    population.close()
    population.drop_caches()
    process.read()
    lines.robust_fit([(1, 1), (2, 2), (3, 4)])


class Rows:
    """Up to `most` rows of `width` whole numbers, 0 or more, in memory reserved beforehand;
    None for what is not known."""

    def __init__(self, most: int, width: int) -> None:
        self._values = array("q", [0]) * (most * width)
        self._width = width
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: Sequence[int | None]) -> None:
        """Keep one more row."""
        start = self._count * self._width
        self._values[start : start + self._width] = array(
            "q", [_UNKNOWN if value is None else value for value in row]
        )
        self._count += 1

    def __iter__(self) -> Iterator[list[Any]]:
        """All rows, in the order in which they came."""
        for start in range(0, self._count * self._width, self._width):
            values = self._values[start : start + self._width]
            yield [None if value == _UNKNOWN else value for value in values]


class Reference:
    """Times a fixed piece of work between the agents' steps, what the time of a step is held
    against: at most a given number of times over all the steps of a worker.

    Machines differ, and one machine differs from minute to minute; the time of a step over that of
    this loop in the same worker can be compared where seconds cannot. It is work of the kind that a
    PyMDP agent does: many small NumPy calls between lines of Python. It fits in a processor's first
    caches and keeps no memory. Its time is processor time: other processes that want the processor
    are no part of it.
    """

    def __init__(self, steps: int) -> None:
        self._every = max(1, -(-steps // _MOST))
        self._seconds = array("d", [0.0]) * min(_MOST, steps)
        self._asked = 0
        self._likelihood = np.linspace(0.1, 1.0, _STATES * _STATES).reshape(_STATES, _STATES)
        self._belief = np.full(_STATES, 1 / _STATES)
        self._log = np.empty(_STATES)
        self._product = np.empty(_STATES)
        self._work()

    def take(self) -> None:
        """Run the loop once, if it is its turn."""
        place, rest = divmod(self._asked, self._every)
        self._asked += 1
        if rest == 0 and place < len(self._seconds):
            start = thread_time()
            self._work()
            self._seconds[place] = thread_time() - start

    @property
    def seconds(self) -> tuple[float, ...]:
        """One entry for each time that the loop ran."""
        return tuple(filter(None, self._seconds))

    def _work(self) -> None:
        belief, product = self._belief, self._product
        belief.fill(1 / _STATES)
        for _ in range(_ROUNDS):
            np.dot(self._likelihood, belief, out=product)
            np.log(product, out=self._log)
            np.exp(self._log, out=belief)
            belief /= belief.sum()
