"""Any process, as the system tells of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from memprof.errors import UsageError
from memprof.text import one_line
from memprof.values.top import ProcessNow

_T = TypeVar("_T")


class Process:
    """One that runs. What is asked of it later is asked of the same one, or raises.

    Raises:
        UsageError: there is no such process.
    """

    def __init__(self, pid: int) -> None:
        try:
            self._process = psutil.Process(pid)
            if self.has_ended():
                raise UsageError(f"{pid}: that process has ended already")
        except psutil.NoSuchProcess:
            raise UsageError(f"{pid}: there is no such process") from None
        self.pid = pid
        self.user = self._process.username()
        self._began = self._process.create_time()
        self._last = 0.0, self._began

    def has_ended(self) -> bool:
        """Also where its parent has not asked yet how."""
        process = self._process
        try:
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def wait(self, seconds: float) -> bool:
        """For its end, but no longer than so; whether it has come."""
        with contextlib.suppress(psutil.TimeoutExpired):
            self._process.wait(seconds)
        return self.has_ended()

    def read(self) -> ProcessNow:
        """As it is now.

        Raises:
            psutil.NoSuchProcess: it has ended.
        """
        process = self._process
        with process.oneshot():
            name = process.name()
            command = " ".join(_if_told(process.cmdline) or [name])
            memory = process.memory_info()
            children = [
                size.rss
                for child in process.children(recursive=True)
                if (size := _if_told(child.memory_info)) is not None
            ]
            return ProcessNow(
                pid=self.pid,
                name=one_line(name),
                command=one_line(command),
                user=self.user,
                seconds=max(0.0, time.time() - self._began),
                resident_bytes=memory.rss,
                uss_bytes=_if_told(lambda: process.memory_full_info().uss),
                peak_bytes=self._peak_bytes(),
                threads=process.num_threads(),
                open_files=_if_told(process.num_fds),
                processors=self._processors(),
                children=len(children),
                children_bytes=sum(children),
            )

    def _processors(self) -> float:
        times = self._process.cpu_times()
        used, now = times.user + times.system, time.time()
        before, then = self._last
        self._last = used, now
        return max(0.0, used - before) / max(0.01, now - then)

    def _peak_bytes(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return None


def _if_told(read: Callable[[], _T]) -> _T | None:
    """None where the system does not tell this user, or the process has just gone."""
    try:
        return read()
    except (psutil.Error, OSError, AttributeError):
        return None
