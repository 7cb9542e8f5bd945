"""Growing a population and letting it live: the one loop of all commands.

Whatever a worker notes while it measures has its place from the start: a list that grew along would
be measured as part of the agents.
"""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import isnan, nan
from time import perf_counter, process_time, thread_time
from typing import Generic, Protocol, TypeVar

import msgspec
import numpy as np

from memprof.instruments import process
from memprof.populations import Behaviour, Population
from memprof.stats import lines

T = TypeVar("T")

FEWEST_POINTS = 4
"""A line through fewer tells nothing of what an agent costs."""
_BATCHES = 5
# Of a population that is built anew for every size, three sizes are on a line: where programs
# cannot be kept, that for one size may take megabytes more than that for another, and with two that
# would be a slope. A batch of one is a different program altogether.
_FEWEST_IN_BATCH, _THIRD = 2, 3
_SHORT_SECONDS = 0.1
# The reference loop.
_STATES, _ROUNDS, _MOST = 48, 200, 40
_RECORD_BYTES = 512


class Recorder(Protocol):
    """Takes down behaviour outside the timed part of a step; what it raises ends the loop."""

    def record(self, agent: int, step: int, behaviour: Behaviour) -> None: ...


class Growth:
    """A population that grows and lives, in stretches of as many steps at once as suit it. What
    comes between them, and which is the last, is for each command to say.

    A recorder takes down what the first `watched` agents do, or all: the others need not even tell
    it, which matters where they live in other processes. Those that are built anew all tell it, or
    nobody does.

    Attributes:
        turns: steps of single agents until now: fewer than all where a world lets some go, more
            where some are born in it.
    """

    def __init__(
        self,
        population: Population,
        steps: int,
        recorder: Recorder | None = None,
        watched: int | None = None,
    ) -> None:
        self.population = population
        self.steps = steps
        self._recorder, self._most = recorder, watched
        self._lived: list[tuple[int, int]] = []  # up to which agent, how many steps
        self.turns = 0

    def record_no_more(self) -> None:
        """What agents do from now on is not taken down."""
        self._recorder = None

    def build(self, agents: int) -> tuple[range, float]:
        """Let there be `agents` agents: those that are new, and the seconds of it. They are to live
        the scenario's steps next."""
        start, aside = perf_counter(), self.population.aside.seconds
        new = self.population.grow(agents)
        seconds = perf_counter() - start - (self.population.aside.seconds - aside)
        before = [] if self.population.rebuilds else self._lived
        self._lived = _merged([*before, (new.stop, self.steps)])
        return new, seconds

    def come(self, agents: int) -> tuple[range, float]:
        """The same, and they have lived them, which is not timed; with what the interpreter put by
        for more of them given back."""
        new, seconds = self.build(agents)
        self.live(new, range(self.steps))
        process.clear_free_lists()
        return new, seconds

    def live_on(self, agents: int, steps: int) -> float:
        """Let the first `agents`, of which none has left, live so many steps more; seconds as of
        `live`."""
        seconds, start, lived = 0.0, 0, []
        for stop, before in self._lived:
            cut = max(start, min(stop, agents))
            if cut > start:
                seconds += self.live(range(start, cut), range(before, before + steps))
            lived += [(cut, before + steps), (stop, before)]
            start = stop
        self._lived = _merged(lived)
        return seconds

    def live(self, agents: range, steps: range) -> float:
        """Let the agents live the steps; the seconds of it, without those of recording."""
        return sum(seconds for _, seconds in self.stretches(agents, steps))

    def stretches(self, agents: range, steps: range) -> Iterator[tuple[range, float]]:
        """The same stretch by stretch, as they are asked for: the steps, and their seconds."""
        stride = self.population.stride
        for first in range(steps.start, steps.stop, stride):
            stretch = range(first, min(steps.stop, first + stride))
            yield stretch, self._stretch(agents, stretch)

    def _stretch(self, agents: range, steps: range) -> float:
        elapsed, aside = 0.0, self.population.aside.seconds
        watched = self._watched(agents)
        if others := range(max(agents.start, watched.stop), agents.stop):
            start = perf_counter()
            self.turns += self.population.lived(others, steps)
            elapsed += perf_counter() - start
        lives = self.population.live(watched, steps) if watched else iter(())
        while True:
            start = perf_counter()
            lived = next(lives, None)
            elapsed += perf_counter() - start
            if lived is None:
                return elapsed - (self.population.aside.seconds - aside)
            self.turns += 1
            if self._recorder is not None:
                self._recorder.record(*lived)
            del lived

    def _watched(self, agents: range) -> range:
        if self._recorder is None:
            return range(0)
        if self._most is None:
            return agents
        if self.population.rebuilds:
            return agents if agents.stop <= self._most else range(0)
        return range(agents.start, min(agents.stop, self._most))


def _merged(lived: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same without what is empty, and with neighbours that have lived as many steps as one."""
    merged: list[tuple[int, int]] = []
    for stop, steps in lived:
        if merged and merged[-1][1] == steps:
            merged.pop()
        if not merged or stop > merged[-1][0]:
            merged.append((stop, steps))
    return merged


class Batches:
    """A population that grows to the scenario's `agents` in a few even batches, or to all of them
    at once where it is built anew for more; and to other sizes if asked to. The steps of the
    batches are timed, and all that as many agents live.

    Attributes:
        sizes: numbers of agents at which the population is read, up to the scenario's.
        timed: how often a population of the scenario's sizes was timed.
        compile_seconds: the first step of all the scenario's agents, where the backend compiles in
            it; None elsewhere.
        reference: the loop that steps are compared with, run between them.
    """

    def __init__(
        self, growth: Growth, agents: int, on_progress: Callable[[str, int], None]
    ) -> None:
        self.growth, self._agents, self._on_progress = growth, agents, on_progress
        self._population, self._steps = growth.population, growth.steps
        count = 1 if self._population.rebuilds else min(_BATCHES, agents)
        self.sizes = [agents * n // count for n in range(1, count + 1)]
        self.compile_seconds: float | None = None
        self.timed = 0
        self._build_seconds = array("d", [0.0]) * _BATCHES
        self._step_seconds = array("d", [0.0]) * (_BATCHES * self._steps)
        self._step_cpu_seconds = array("d", [0.0]) * len(self._step_seconds)
        self.reference = Reference(len(self._step_seconds) // self._population.stride)

    def __iter__(self) -> Iterator[int]:
        """Grow to the scenario's count; each size, for a reading."""
        for size in self.sizes:
            self._visit(size)
            yield size

    def anew(self, most: int) -> Iterator[int]:
        """Build a population of up to so many agents anew, again and again; each size for a
        reading that is on a line with the others.

        What is compiled for a size, and what libraries keep of it, comes with the first population
        of that size: it is on no line. What rebuilding leaves behind grows from one to the next: in
        an order that is the same from its end, that is no slope over them.
        """
        group = self._population.group
        most = -(-most // group)
        least = max(_FEWEST_IN_BATCH, most // _THIRD)
        between = (least + most) // 2
        most, between, least = (group * each for each in (most, between, least))
        for size in (most, between, least):
            self._visit(size)
        for size in (most, least, between, least, most):
            self._visit(size)
            yield size

    def time_again(self) -> None:
        """Time the life of all the scenario's agents again, built anew, where it is short, or no
        longer than to build them. The first building of them also compiles: what it takes else is
        not known before."""
        seconds = self.seconds_per_life() - self._build_seconds[0]
        short = max(_SHORT_SECONDS / self._agents, self._build_seconds[0])
        while self.timed < _BATCHES and seconds < short:
            self._visit(self._agents)
            seconds, short = self.seconds_per_life(), _SHORT_SECONDS / self._agents

    def _visit(self, size: int) -> None:
        """Grow to a size; timed where that is what the scenario asks for, and there is room."""
        counts = size in self.sizes and self.timed < _BATCHES
        self._on_progress("build", size)
        new, seconds = self.growth.build(size)
        if counts:
            self._build_seconds[self.timed] = seconds / len(new)
        self._on_progress("step", size)
        start, turns = self._processor_seconds(), self.growth.turns
        for steps, elapsed in self.growth.stretches(new, range(self._steps)):
            process.clear_free_lists()
            if counts:
                lived = self.growth.turns - turns
                self._take(steps, lived, elapsed, self._processor_seconds() - start)
            start, turns = self._processor_seconds(), self.growth.turns
        self.timed += counts

    def _processor_seconds(self) -> float:
        return process_time() - self._population.aside.cpu_seconds

    def _take(self, steps: range, turns: int, seconds: float, cpu_seconds: float) -> None:
        """Keep the time of steps that took so many turns; none where nobody was there."""
        for step in steps:
            place = self.timed * self._steps + step
            self._step_seconds[place] = seconds / turns if turns else nan
            self._step_cpu_seconds[place] = cpu_seconds / turns if turns else nan
        if self._population.compiles and self.compile_seconds is None:
            self.compile_seconds = seconds
        self.reference.take()

    @property
    def build_seconds(self) -> tuple[float, ...]:
        """Building one agent, passes included, averaged over the new agents, for every size; of
        what is built anew, for the first."""
        return tuple(self._build_seconds[: 1 if self._population.rebuilds else self.timed])

    @property
    def step_seconds(self) -> tuple[float, ...]:
        """One agent's step, averaged over the new agents that lived it, for every size and step if
        any did; but for those that a population compiled in, unless it lived no others."""
        return self._but_compiled(self._step_seconds)

    @property
    def step_cpu_seconds(self) -> tuple[float, ...]:
        """The same in processor time of the whole process, taking down behaviour included."""
        return self._but_compiled(self._step_cpu_seconds)

    def _but_compiled(self, seconds: array[float]) -> tuple[float, ...]:
        compiled = self._population.stride if self.compile_seconds is not None else 0
        first = compiled if compiled < self._steps else 0
        known = enumerate(seconds[: self.timed * self._steps])
        return tuple(
            each for place, each in known if place % self._steps >= first and not isnan(each)
        )

    def extend_to(self, agents: int) -> None:
        """Grow on, in batches as large as the first: larger ones would fragment memory more."""
        self._on_progress("extend", agents)
        while (count := len(self._population)) < agents:
            new, _ = self.growth.build(min(agents, count + self.sizes[0]))
            for _ in self.growth.stretches(new, range(self._steps)):
                process.clear_free_lists()

    def seconds_per_agent(self) -> float:
        """Mean time to build an agent and to let it live its steps."""
        build = statistics.fmean(self.build_seconds)
        return build + self._steps * self._seconds_per_step()

    def seconds_per_life(self) -> float:
        """What it takes to build an agent of a population that is built anew, and to let it live
        its steps, once that is compiled."""
        build = min(self._build_seconds[: self.timed])
        return build + self._steps * statistics.median(self.step_seconds)

    def agents_within(self, seconds: float, steps: int) -> int:
        """How many agents, from the scenario's number up to all there are, live so many steps in
        that time; all, where they only live together."""
        if self._population.rebuilds:
            return len(self._population)
        within = int(seconds / (steps * self._seconds_per_step()))
        return min(len(self._population), max(self._agents, within))

    def _seconds_per_step(self) -> float:
        known = self._step_seconds[: self.timed * self._steps]
        return statistics.fmean(each for each in known if not isnan(each))


Points = Sequence[tuple[int, int]]
"""Agents and bytes of private memory, smallest population first."""


def further_sizes(
    points: Callable[[], Points],
    line: Callable[[Points], lines.Line | None],
    *,
    resolution: float,
    share: float,
    seconds_left: Callable[[], float],
    agent_seconds: Callable[[], float],
    room_bytes: Callable[[], float],
    first: tuple[int, int],
) -> Iterator[int]:
    """Sizes to grow to until the cost of an agent, the slope of the `line` through the `points`, is
    known to the `resolution`. Each size becomes a point. It is larger by a `share` at most, and as
    far as the time and the room in memory go; how many agents fit into that is
    reckoned from the point `first`.
    """
    while True:
        known = points()
        found = line(known)
        if found is not None and found.is_known_to(resolution):
            return
        agents, size = known[-1]
        each = max(1.0, (size - first[1]) / (agents - first[0]))
        in_time = int(seconds_left() / agent_seconds())
        more = min(int(share * agents) + 1, in_time, int(room_bytes() / each))
        if more < max(1, agents // 8):
            if len(known) >= FEWEST_POINTS:
                return
            more = 1
        yield agents + more


class Records(Generic[T]):
    """Values of a kind that a worker notes one after the other: up to `most` dataclasses of a dozen
    numbers, in memory reserved beforehand."""

    def __init__(self, kind: type[T], most: int) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._memory = bytearray(b" " * (most * _RECORD_BYTES))
        self._ends = array("q", [0]) * (most + 1)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, value: T) -> None:
        """Keep one more value."""
        data = msgspec.msgpack.encode(value)
        start = self._ends[self._count]
        self._count += 1
        self._ends[self._count] = end = start + len(data)
        self._memory[start:end] = data

    def __iter__(self) -> Iterator[T]:
        """All values, in the order in which they came."""
        memory = memoryview(self._memory)
        for start, end in pairwise(self._ends[: self._count + 1]):
            yield self._decoder.decode(memory[start:end])


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
