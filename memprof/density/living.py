"""A population whose agents come, live, step in rounds and go."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from memprof.instruments import process
from memprof.instruments.base import live
from memprof.populations.base import Population
from memprof.values.population import PopulationSpec
from memprof.worker.growth import Recorder

WATCHED = 100
"""Agents whose behaviour is noted down; and the largest population whose is, where it is built anew
for every size, since each may round differently."""
_PORTION_SECONDS, _PORTION_SHARE = 0.25, 0.01
"""Agents are built in portions of so much time, and of so much of the population."""


class TimeUp(Exception):
    """The population has used up its time."""


class Living:
    """Keeps account of which agents are there, and of how many steps each has lived.

    Attributes:
        there: the agents that are there and have lived the scenario's steps.
        agent_seconds: building an agent and letting it live the scenario's steps.
        build_seconds, built: building all of those that came since `count_anew`, and how many.
    """

    def __init__(
        self,
        population: Population,
        spec: PopulationSpec,
        recorder: Recorder,
        seconds: float | None,
        on_progress: Callable[[str, int], None],
    ) -> None:
        self._population = population
        self._steps = spec.steps
        self._recorder = recorder
        self._end = None if seconds is None else perf_counter() + seconds
        self._on_progress = on_progress
        self._lived: list[tuple[int, int]] = []  # up to which agent, how many steps
        self.there = range(0)
        self.agent_seconds = self.build_seconds = 0.0
        self.built = 0

    def count_anew(self) -> None:
        """Forget what building took until now."""
        self.build_seconds, self.built = 0.0, 0

    def come(self, most: int) -> None:
        """Build a portion of agents, up to `most` in all, and let them live the scenario's steps.

        Raises:
            TimeUp: in the midst of it.
        """
        start = perf_counter()
        new = self._population.grow(self._next(most))
        self.build_seconds += perf_counter() - start
        self.built += len(new)
        for first in range(0, self._steps, self._population.stride):
            last = min(self._steps, first + self._population.stride)
            self._live(new, range(first, last), "build")
        self.agent_seconds = (perf_counter() - start) / len(new)
        if self._population.rebuilds:
            self._lived.clear()
        self.there = range(new.stop)
        self._lived = _merged([*self._lived, (new.stop, self._steps)])
        process.clear_free_lists()

    def round(self, most: int) -> float:
        """Let the agents step once more, all of them or the first `most`; seconds of one step of
        all of those.

        Raises:
            TimeUp: in the midst of it.
        """
        seconds, start, lived = 0.0, 0, []
        stride = self._population.stride
        for stop, steps in self._lived:
            cut = max(start, min(stop, most))
            if cut > start:
                seconds += self._live(range(start, cut), range(steps, steps + stride), "round")
                lived.append((cut, steps + stride))
            if stop > cut:
                lived.append((stop, steps))
            start = stop
        self._lived = _merged(lived)
        return seconds / stride

    def replace(self, seconds: float) -> int:
        """Let agents go while the others stay, as many as can be built in the time and half of them
        at most; and let as many new ones come and live. How many that were."""
        if not self._orderly():
            return 0
        agents = len(self.there)
        going = min(agents // 2, int(seconds / self.agent_seconds))
        self._on_progress("replace", going)
        self._population.leave(range(going))
        new = self._population.grow(agents)
        live(self._population, new, range(self._steps))
        self.there = range(going, new.stop)
        return going

    def leave(self) -> None:
        """Let all agents go, the last one too."""
        self._on_progress("leave", len(self._population))
        if self._orderly():
            self._population.leave(self.there)
        else:
            self._population.close()
            self._population.drop_caches()
        self.there = range(0)

    def _orderly(self) -> bool:
        """Whether agents can leave one by one; not after one of them could not be built."""
        return not self._population.rebuilds and len(self._population) == len(self.there)

    def _next(self, most: int) -> int:
        """How many agents there are to be after the next portion."""
        if self._population.rebuilds:
            return most
        in_time = _PORTION_SECONDS / self.agent_seconds if self.agent_seconds else 1
        portion = max(1, int(min(in_time, _PORTION_SHARE * most)))
        return min(most, len(self._population) + portion)

    def _live(self, agents: range, steps: range, label: str) -> float:
        """Let agents live the steps; the seconds of it."""
        start = told = perf_counter()
        watched = not self._population.rebuilds or agents.stop <= WATCHED
        for lived in self._population.live(agents, steps):
            if watched:
                self._recorder.record(*lived)
            now = perf_counter()
            if now - told > _PORTION_SECONDS:
                told = now
                self._check_time()
                self._on_progress(label, agents.stop)
        self._check_time()
        self._on_progress(label, agents.stop)
        return perf_counter() - start

    def _check_time(self) -> None:
        if self._end is not None and perf_counter() > self._end:
            raise TimeUp


def _merged(lived: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same, where neighbours that have lived as many steps are one."""
    merged: list[tuple[int, int]] = []
    for stop, steps in lived:
        if merged and merged[-1][1] == steps:
            merged.pop()
        merged.append((stop, steps))
    return merged
