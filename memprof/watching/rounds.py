"""The process step by step of its agents: whether it goes on growing."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from memprof.posix import PAGE_BYTES
from memprof.values.watch import Growth

_MOST_READINGS = 128
RECENT_SECONDS, RECENT_READINGS = 10.0, 60
"""How often the recent past is read, and how many readings make it up."""


class Rounds:
    """Reads the process step by step: whenever all agents that live have acted, or one of them acts
    again while others are idle; as long as those that live are as many. Of several stretches the
    longest counts. `on_step` is told of each such step, and of how
    many objects the agents are; where it returns True, it has taken memory of its own."""

    def __init__(
        self, read: Callable[[], int], on_step: Callable[[int], bool] | None = None
    ) -> None:
        self._read, self._on_step = read, on_step
        self._longest = self._latest = Stretch(0, 0)
        self._acted: set[int] = set()
        self._looking = 0

    @contextmanager
    def without(self) -> Iterator[None]:
        """What comes in this block is no reading: looking at agents takes memory of its own."""
        self._looking += 1
        try:
            yield
        finally:
            self._looking -= 1
            self._acted = set()
            self.interrupt()

    def interrupt(self) -> None:
        """What the process has gained since the last step is not the agents'."""
        self._latest.interrupted = bool(self._latest.readings)

    def act(self, who: int, alive: int, agents: Callable[[], int]) -> None:
        """One of so many agents, or batches of them, has acted; `agents` tells how many these are,
        `who` is another number for each."""
        if alive != self._latest.objects:
            self._latest, self._acted = Stretch(alive, agents()), set()
        again = who in self._acted
        if again:
            self._acted = {who}
        else:
            self._acted.add(who)
            if len(self._acted) < alive:
                return
            self._acted = set()
        if not self._looking:
            self._latest.take(self._read)
            if self._latest.steps >= self._longest.steps:
                self._longest = self._latest
        if self._on_step is not None and self._on_step(alive):
            self.interrupt()

    def growth(self) -> Growth | None:
        """What the longest stretch tells, judged as in `stats.growth`; None where nobody acted."""
        return self._longest.growth()

    @property
    def latest(self) -> Stretch:
        """The one that goes on."""
        return self._latest


class Stretch:
    """Readings of one stretch, evenly spread however long it is.

    Attributes:
        objects: of agents, each of which may be a batch; `agents` counts their rows.
        steps: until now.
    """

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

    @property
    def level(self) -> int:
        """The last reading, without what came with interruptions."""
        return self._last - self._beside

    def growth(self) -> Growth | None:
        """Over all of it; None where nobody acted."""
        readings, last = [*self.readings], self.steps
        if not readings:
            return None
        return _judged(readings, self.agents, last - (len(readings) - 1) * self.stride, last)


class Recent:
    """The last ten minutes of the stretch that goes on, in one reading each ten seconds: in a long
    run, what began to leak lately is soon seen there, and what no longer does is well again."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self._stretch = rounds.latest
        self._steps: deque[int] = deque(maxlen=RECENT_READINGS)
        self._levels: deque[int] = deque(maxlen=RECENT_READINGS)
        self._known: tuple[Stretch, int, Growth | None] | None = None
        self._due = 0.0

    def take(self, seconds: float) -> None:
        """One more reading, if it is time for it, and there was a step since the last one."""
        if seconds < self._due:
            return
        self._due = seconds + RECENT_SECONDS
        stretch = self._rounds.latest
        if stretch is not self._stretch:
            self._steps.clear()
            self._levels.clear()
            self._stretch = stretch
        if stretch.steps > (self._steps[-1] if self._steps else 0):
            self._steps.append(stretch.steps)
            self._levels.append(stretch.level)

    def growth(self) -> Growth | None:
        """Judged over these readings, or over all steps of the stretch where they are too few yet;
        None where nobody acts."""
        from memprof.stats.growth import FEWEST_CYCLES

        stretch = self._rounds.latest
        known = self._known
        if known is not None and known[:2] == (stretch, stretch.steps):
            return known[2]
        steps, levels = [*self._steps], [*self._levels]
        if stretch is self._stretch and FEWEST_CYCLES < len(levels) == len(steps):
            found = _judged(levels, stretch.agents, steps[0], steps[-1])
        else:
            found = stretch.growth()
        self._known = stretch, stretch.steps, found
        return found


def _judged(readings: list[int], agents: int, first: int, last: int) -> Growth | None:
    """The growth of a process read at about even distances from step `first` to `last`."""
    from memprof.stats import growth

    if agents == 0:
        return None
    if len(readings) <= growth.FEWEST_CYCLES:
        return Growth(agents, first, last, None, None, None, None)
    series = growth.CycleSeries(readings, PAGE_BYTES, least=PAGE_BYTES)
    judged = growth.judge(series, growth.FEWEST_CYCLES)
    stride = (last - first) / (len(readings) - 1)
    slope, half = judged.slope / stride, judged.half_width / stride
    floor = None if judged.floor is None else judged.floor / stride
    return Growth(agents, first, last, judged.verdict, slope, (slope - half, slope + half), floor)
