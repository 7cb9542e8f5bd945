"""Instrument `memory_profiler`: the resident set of a worker, sampled from the parent."""

from __future__ import annotations

import contextlib
import threading

import psutil

_MIB = 2**20
INTERVAL_SECONDS = 0.02
_LONGEST_SECONDS = 1e9  # it ends with the process


class MemorySampler:
    """Runs `memory_profiler.memory_usage` on another process until that process ends."""

    def __init__(self, process: int) -> None:
        self._samples: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._sample, args=(process,), daemon=True)
        self._thread.start()

    def samples(self) -> tuple[tuple[float, float], ...]:
        """(epoch seconds, resident bytes), once the process has ended."""
        self._thread.join()
        return tuple(self._samples)

    def _sample(self, process: int) -> None:
        from memory_profiler import memory_usage

        # The process may end between two looks at it, which memory_profiler does not expect.
        with contextlib.suppress(psutil.Error, OSError, TypeError):
            memory_usage(
                process,
                interval=INTERVAL_SECONDS,
                timeout=_LONGEST_SECONDS,
                timestamps=True,
                stream=self,
            )

    def write(self, line: str) -> None:
        """memory_profiler's stream: `MEM <MiB> <epoch seconds>`."""
        _, mebibytes, seconds = line.split()
        if float(mebibytes) > 0:  # a process that is being reaped reads as 0
            self._samples.append((float(seconds), float(mebibytes) * _MIB))

    def flush(self) -> None:
        """memory_profiler flushes its stream; there is nothing to flush."""
