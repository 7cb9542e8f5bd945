"""The process step by step of its agents: whether it goes on growing."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from memprof.posix import PAGE_BYTES
from memprof.values.watch import Growth

_MOST_READINGS = 128


class Rounds:
    """Reads the process whenever all agents that live have acted once; as long as those are as
    many. Of several stretches the longest counts."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._longest = self._latest = _Stretch(0, 0)
        self._acted = self._looking = 0

    @contextmanager
    def without(self) -> Iterator[None]:
        """What comes in this block is no step: looking at agents takes memory of its own."""
        self._looking += 1
        try:
            yield
        finally:
            self._looking -= 1
            self.interrupt()

    def interrupt(self) -> None:
        """What the process has gained since the last step is not the agents'."""
        self._latest.interrupted = bool(self._latest.readings)

    def act(self, alive: int, agents: Callable[[], int]) -> None:
        """One of so many agents, or batches of them, acts; `agents` tells how many these are."""
        if self._looking:
            self._acted = 0
            return
        if alive != self._latest.objects:
            self._latest, self._acted = _Stretch(alive, agents()), 0
        self._acted += 1
        if self._acted >= alive:
            self._acted = 0
            self._latest.take(self._read)
            if self._latest.steps >= self._longest.steps:
                self._longest = self._latest

    def growth(self) -> Growth | None:
        """What the longest stretch tells, judged as in `stats.growth`; None where nobody acted."""
        from memprof.stats import growth

        found = self._longest
        readings = [*found.readings]
        if not readings or found.agents == 0:
            return None
        last = found.steps
        first = last - (len(readings) - 1) * found.stride
        if len(readings) <= growth.FEWEST_CYCLES:
            return Growth(found.agents, first, last, None, None, None, None)
        series = growth.CycleSeries(readings, PAGE_BYTES, least=PAGE_BYTES)
        cut = growth.settled(readings, growth.FEWEST_CYCLES)
        judged = growth.judge(series, cut or 0)
        verdict = "inconclusive" if cut is None else judged.verdict
        stride = found.stride
        slope, half = judged.slope / stride, judged.half_width / stride
        floor = None if judged.floor is None else judged.floor / stride
        return Growth(
            found.agents, first, last, verdict, slope, (slope - half, slope + half), floor
        )


class _Stretch:
    """Readings of one stretch, evenly spread however long it is."""

    def __init__(self, objects: int, agents: int) -> None:
        self.objects, self.agents = objects, agents
        self.steps = 0
        self.stride = 1
        self.readings = array("q")
        self.interrupted = False
        self._last = self._beside = 0

    def take(self, read: Callable[[], int]) -> None:
        """All have acted once more. What came with an interruption is no gain, and no step."""
        now = read()
        if self.interrupted:
            self.interrupted = False
            self._beside += now - self._last
            self._last = now
            return
        self._last = now
        self.steps += 1
        if self.steps % self.stride:
            return
        self.readings.append(now - self._beside)
        if len(self.readings) == _MOST_READINGS:
            self.stride *= 2
            del self.readings[::2]
