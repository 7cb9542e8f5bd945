"""Growing a population in batches, letting every agent live its steps, and reading at each size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from memprof.instruments import process
from memprof.populations.base import Behaviour, Population
from memprof.worker.protocol import Channel

_BATCHES = 5


class Recorder(Protocol):
    """Takes down behaviour outside the timed part of a step."""

    def record(self, agent: int, step: int, behaviour: Behaviour) -> None: ...


@dataclass(slots=True)
class Growth:
    """A population that grows; times of all batches so far."""

    population: Population
    steps: int
    channel: Channel
    recorder: Recorder | None = None
    step_seconds: list[float] = field(default_factory=list)
    build_seconds: list[float] = field(default_factory=list)
    _batch: int = 0

    def batches(self, agents: int) -> Iterator[int]:
        """Grow to `agents` in a few even batches; yields each size, for a reading."""
        count = min(_BATCHES, agents)
        for batch in range(1, count + 1):
            self._grow_to(agents * batch // count)
            yield len(self.population)

    def extend_to(self, agents: int) -> None:
        """Grow on in batches as large as the first: larger ones would fragment memory more."""
        while len(self.population) < agents:
            self._grow_to(min(agents, len(self.population) + self._batch))

    def seconds_per_agent(self) -> float:
        """Mean time to build an agent and to let it live its steps."""
        build = sum(self.build_seconds) / len(self.build_seconds)
        return build + self.steps * sum(self.step_seconds) / len(self.step_seconds)

    def _grow_to(self, agents: int) -> None:
        """Build up to `agents`, then let the new ones live all their steps together."""
        first = len(self.population)
        self._batch = self._batch or agents
        self.channel.progress("build", agents)
        start = perf_counter()
        for _ in range(first, agents):
            self.population.build()
        self.build_seconds.append((perf_counter() - start) / (agents - first))
        self.channel.progress("step", agents)
        for step in range(self.steps):
            self.live(first, agents, step)

    def live(self, first: int, last: int, step: int) -> None:
        """Let the agents [first, last) live one step; the time of recording is not counted."""
        elapsed = 0.0
        act = self.population.step
        for agent in range(first, last):
            start = perf_counter()
            behaviour = act(agent, step)
            elapsed += perf_counter() - start
            if self.recorder is not None:
                self.recorder.record(agent, step, behaviour)
            del behaviour
        self.step_seconds.append(elapsed / (last - first))
        process.clear_free_lists()
