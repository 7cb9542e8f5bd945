"""How long a search for sites may take."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from time import process_time
from typing import Any, TypeVar

T = TypeVar("T")


class Allowance:
    """So many seconds of processor time from `begin` on: how busy the machine is changes nothing.

    As a probe of agents it ends tracing between two of their operations when the time for that is
    up, however much of a cycle there still is to live.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = process_time) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = self._traced_until = inf

    def begin(self) -> None:
        """Count from now."""
        self._end = self._clock() + self.seconds

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        """As of `Probe`."""
        result = function(*arguments)
        if self._clock() > self._traced_until:
            tracemalloc.stop()
        return result

    @property
    def left(self) -> float:
        """Seconds; 0 when they are up."""
        return max(0.0, self._end - self._clock())

    @contextmanager
    def tracing(self, frames: int, share: float) -> Iterator[None]:
        """tracemalloc at work in this block, for at most this share of what is left."""
        self._traced_until = self._clock() + share * self.left
        tracemalloc.start(frames)
        try:
            yield
        finally:
            tracemalloc.stop()
            self._traced_until = inf

    def fitting(self, run: Callable[[], None], cycles: int, fewest: int, share: float) -> int:
        """Run one cycle; how many of these `cycles`, it included, fit into this share of what is
        left, but no fewer than `fewest`."""
        room, start = share * self.left, self._clock()
        run()
        fits = int(room / max(self._clock() - start, 1e-9))
        return max(fewest, min(cycles, fits))
