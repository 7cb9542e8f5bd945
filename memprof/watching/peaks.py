"""The most that a call allocates at once, in few calls, so that it stays cheap."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Callable
from time import perf_counter

from memprof.watching import unseen

# Calls are read ever more seldom: the third, the sixth, the twelfth and so on.
FIRST, TIMES = 3, 2
# Of the time since the start, no more is spent on it. A call that is read takes about so many times
# as long, until it is known.
_SHARE, _LEAST_SECONDS, _SLOWDOWN = 0.002, 0.01, 5.0


class Peaks:
    """Reads tracemalloc, which is at work in the call that is read and in no other.

    It sees what Python and NumPy allocate, of all threads; and it is not safe to stop while others
    allocate. So nothing is read while the program has further threads, or traces by itself.
    `on_read` is told of each call that was read, since reading takes memory of its own.
    """

    def __init__(self, on_read: Callable[[], None]) -> None:
        self._on_read = on_read
        self._start, self._spent, self._slowdown = perf_counter(), 0.0, _SLOWDOWN
        self._reading = threading.Lock()
        self._spoiled = False

    @property
    def reading(self) -> bool:
        """Whether a call is being read."""
        return self._reading.locked()

    def begin(self, usual_seconds: float) -> bool:
        """Read the call that comes, which takes so long as a rule; False if it is better not to."""
        allowed = _LEAST_SECONDS + _SHARE * (perf_counter() - self._start)
        if self._spent + usual_seconds * self._slowdown > allowed or tracemalloc.is_tracing():
            return False
        if threading.active_count() > 1 or len(sys._current_frames()) > 1 + unseen.running():
            return False
        if not self._reading.acquire(blocking=False):
            return False
        self._spoiled = False
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return True

    def end(self, seconds: float, usual_seconds: float) -> int | None:
        """The bytes; None if they are not the call's alone. It took so many `seconds`."""
        try:
            peak = tracemalloc.get_traced_memory()[1] - self._before
            whole = tracemalloc.is_tracing() and not self._spoiled
            tracemalloc.stop()
        finally:
            self._reading.release()
        self._on_read()
        self._spent += max(0.0, seconds - usual_seconds)
        if usual_seconds:
            self._slowdown = max(1.0, seconds / usual_seconds)
        return max(0, peak) if whole else None

    def stop(self) -> None:
        """Trace no longer, whatever has interrupted the call that was read."""
        if self.reading:
            tracemalloc.stop()

    def spoil(self) -> None:
        """What is being read is no longer the call's alone."""
        self._spoiled = True
