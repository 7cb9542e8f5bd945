"""The population, the passes and the instrument: everything that needs NumPy."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from memprof.instruments import DirectCalls
from memprof.optimise import Pass
from memprof.optimise.plan import Plan
from memprof.populations import EVERYBODY, Behaviour, Lived, Population, Probe, step_seed
from memprof.storage.activation import Loans
from memprof.storage.records import Numbered
from memprof.values.population import PopulationSpec


class FakeAgent:
    """Holds one touched buffer; gains `growth` bytes per step in one more."""

    __slots__ = ("blur", "broken", "buffer", "fatal", "gained")

    def __init__(self, buffer: bytearray) -> None:
        self.buffer = buffer
        self.gained: list[bytearray] | None = None
        self.broken = self.fatal = False
        self.blur = 0.0


class FakePopulation(Population):
    """Agents that cost the scenario's `size`, gain `growth` per step, and take `delay` for it."""

    def __init__(self, spec: PopulationSpec, probe: Probe) -> None:
        self._spec = spec
        self._probe = probe
        self._plan = Plan.of(spec.passes, backend=spec.backend)
        self._plan.install()
        self._agents = Numbered()
        self._handed: bytearray | None = None

    def __len__(self) -> int:
        return len(self._agents) - self._agents.removed

    def grow(self, agents: int) -> range:
        first = len(self._agents)
        for index in range(first, first + agents - len(self)):
            self._probe.call("build", self._build)
            if self._plan.any:
                self._probe.call("optimise", self._plan.build, self._agents[index], index)
        return range(first, len(self._agents))

    def leave(self, agents: range) -> None:
        for agent in agents:
            del self._agents[agent]
        if not len(self):
            self._handed = None

    def _build(self) -> None:
        index = len(self._agents)
        if index == 1:
            _fail(self._spec.model["fault"])
        agent = FakeAgent(self._buffer())
        agent.fatal = self._spec.model["fault"] == "fatal"
        self._agents.append(agent)

    def _buffer(self) -> bytearray:
        buffer = self._handed or bytearray(b"\x01") * int(self._spec.model["size"])
        self._handed = None if self._spec.private else buffer
        return buffer

    def live(self, agents: range, steps: range) -> Iterator[Lived]:
        for step in steps:
            for agent in agents:
                yield Lived(agent, step, self._probe.call("act", self._act, agent, step))

    def _act(self, agent: int, step: int) -> Behaviour:
        activation = self._plan.activate(self._agents[agent], agent)
        body, growth = activation.agent, self._spec.model["growth"]
        if self._spec.model["delay"]:
            time.sleep(self._spec.model["delay"])
        if growth:
            body.gained = body.gained or []
            body.gained.append(bytearray(b"\x01") * growth)
        seed = step_seed(self._spec.seed, agent, step)
        first = (1 + seed % 7) / 9 + body.blur
        beliefs = np.array([first, 1 - first])
        self._agents[agent] = self._plan.passivate(body, agent, activation)
        return Behaviour(beliefs, beliefs, np.array([seed % 5 + body.broken]))

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        for index, agent in self._agents.items():
            yield index, "buffer", agent.buffer
            yield index, "histories", agent.gained
            yield index, "other agent objects", agent
        if self._plan.any:
            yield EVERYBODY, "passes", self._plan

    def close(self) -> None:
        self._agents.close()
        self._handed = None
        self._plan.close()
        self._plan = Plan.of(self._spec.passes, backend=self._spec.backend)
        self._plan.install()


def _fail(fault: str) -> None:
    match fault:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(3600)
        case "raise":
            raise RuntimeError("this fault was asked for")
        case "exhaust":
            held = []
            while True:
                held.append(bytearray(b"\x01") * 2**24)
        case "print":
            print("noise on stdout", flush=True)
            print("noise on stderr", file=sys.stderr, flush=True)


_SLEEP_SECONDS = 0.01


class FakeHalf(Pass):
    """Every agent holds half of its buffer."""

    def build(self, agent: Any, index: int) -> None:
        agent.buffer = agent.buffer[: len(agent.buffer) // 2]


class FakeSlow(Pass):
    """Every agent holds a quarter of its buffer, and waking it takes its time."""

    def build(self, agent: Any, index: int) -> None:
        agent.buffer = agent.buffer[: len(agent.buffer) // 4]

    def wake(self, agent: Any, index: int, loans: Loans) -> None:
        time.sleep(_SLEEP_SECONDS)


class FakeShare(Pass):
    """All agents hold the first agent's buffer."""

    def __init__(self) -> None:
        self._buffer: bytearray | None = None

    def build(self, agent: Any, index: int) -> None:
        self._buffer = agent.buffer if self._buffer is None else self._buffer
        agent.buffer = self._buffer


class FakeBreak(Pass):
    """The second agent takes other actions than it would: the claim `exact` is false."""

    def build(self, agent: Any, index: int) -> None:
        agent.broken = index == 1


class FakeCrash(Pass):
    """The worker fails as soon as there are two agents; it dies if they are fatal."""

    def build(self, agent: Any, index: int) -> None:
        if index == 1:
            _fail("die" if agent.fatal else "none")
            raise RuntimeError("this pass always fails")


class FakeBlur(FakeHalf):
    """Beliefs are off by a thousandth: the claim `bounded` is true."""

    def build(self, agent: Any, index: int) -> None:
        super().build(agent, index)
        agent.blur = 0.001


class FakeInstrument(DirectCalls):
    """Reads a thousand bytes per agent, whatever is there."""

    def read(self, population: Population) -> int:
        return 1000 * len(population)
