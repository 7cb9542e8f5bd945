"""Passes for the calibration population, one for each thing that can come of a pass."""

from __future__ import annotations

import time
from typing import Any

from memprof.passes.base import Pass
from memprof.store.scratch import Loans

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
    """The worker fails as soon as there are two agents."""

    def build(self, agent: Any, index: int) -> None:
        if index == 1:
            raise RuntimeError("this pass always fails")


class FakeBlur(FakeHalf):
    """Beliefs are off by a thousandth: the claim `bounded` is true."""

    def build(self, agent: Any, index: int) -> None:
        super().build(agent, index)
        agent.blur = 0.001
