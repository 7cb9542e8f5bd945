"""The size of the process that is watched, now and then: cheap enough for every step."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from array import array
from pathlib import Path

from memprof.posix import PAGE_BYTES
from memprof.values.watch import MOST_MOMENTS, Moment


class Timeline:
    """Moments, evenly spread however long it takes: with no more room, every other one goes."""

    def __init__(self) -> None:
        self._seconds, self._bytes, self._agents = array("d"), array("q"), array("q")
        self._asked, self._stride = 0, 1

    def take(self, seconds: float, private_bytes: int, agents: int) -> None:
        """One more, if there is room for it."""
        self._asked += 1
        if self._asked % self._stride:
            return
        self._seconds.append(seconds)
        self._bytes.append(private_bytes)
        self._agents.append(agents)
        if len(self._seconds) == MOST_MOMENTS:
            self._stride *= 2
            for each in (self._seconds, self._bytes, self._agents):
                del each[::2]

    def moments(self) -> tuple[Moment, ...]:
        """Those until now."""
        rows = zip([*self._seconds], [*self._bytes], [*self._agents], strict=False)
        return tuple(Moment(*row) for row in rows)


def has_children() -> bool:
    """Whether a process is there that a thread of this one has started."""
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            if thread.read_bytes():
                return True
    return False


def private_bytes() -> int:
    """About the private memory of this process, in microseconds; without what tracemalloc takes
    for itself."""
    try:
        stream = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fields = os.read(stream, 200).split()
    finally:
        os.close(stream)
    traced = tracemalloc.get_tracemalloc_memory() if tracemalloc.is_tracing() else 0
    return (int(fields[1]) - int(fields[2])) * PAGE_BYTES - traced


def peak_bytes() -> int | None:
    """Highest resident set until now; None where the platform cannot tell."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
