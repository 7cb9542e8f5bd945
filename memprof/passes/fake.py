"""Passes for the calibration population: one that saves, one that breaks its claim."""

from __future__ import annotations

from typing import Any

from memprof.passes.base import Pass


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
