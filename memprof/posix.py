"""What differs between systems and interpreters: limits of processes and locks on files, which
POSIX alone has; files that others may close; the units in which memory is handed out (pages, blocks
of allocators); how many processors a process may use, and how long it waited for one; and what the
garbage collector has set aside.

Where `resource` or `fcntl` is missing (both are on Windows), memprof.optimize in memory, `memprof
report` and `memprof compare` work all the same; what needs them says so before it begins.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import mmap
import os
import sys
import tempfile
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from memprof.errors import MeasurementError, StoreError


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_resource = _module("resource")
_fcntl = _module("fcntl")


def check_can_measure() -> None:
    """Refuse to start workers where they cannot be limited.

    Raises:
        MeasurementError: with what works here.
    """
    if _resource is None:
        raise MeasurementError(
            f"measuring needs worker processes with limits, but {_lacks('resource')}; measure "
            "under Linux, WSL or macOS (memprof report, compare and memprof.optimize work here)"
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use; None is no limit.

    Raises:
        MeasurementError: this system has no workers.
    """

    timeout_seconds: float | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        check_can_measure()


def rlimit_bytes(name: str) -> int | None:
    """The soft limit of a resource, such as DATA; None if there is none."""
    if _resource is None:
        return None
    limit: int = _resource.getrlimit(getattr(_resource, f"RLIMIT_{name}"))[0]
    return None if limit == _resource.RLIM_INFINITY else limit


def limit_data(size: int) -> None:
    """Let this process have no more than so many bytes of data, or than it has inherited."""
    inherited = rlimit_bytes("DATA")
    if inherited is None or size < inherited:
        _resource.setrlimit(_resource.RLIMIT_DATA, (size, size))


def check_can_lock() -> None:
    """Refuse to write a store on disk where nothing keeps a second process from doing so too.

    Raises:
        StoreError: with the remedy.
    """
    if _fcntl is None:
        raise StoreError(
            f"a store on disk needs file locks, but {_lacks('fcntl')}; leave mmap out of "
            "passes (agents are stored in memory then), or run under Linux, WSL or macOS"
        )


def lock(file: Any) -> None:
    """Lock a file for this process alone, at once.

    Raises:
        BlockingIOError: another process has locked it.
    """
    _fcntl.lockf(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)


def _lacks(module: str) -> str:
    return f"this Python has no module {module!r} (Windows has none)"


PAGE_BYTES = mmap.PAGESIZE

ARRAY_HEADER_BYTES = 96
"""What a NumPy array takes beside its data, its shape and its strides."""


class OwnFile:
    """An open file of memprof's in a process of the user's, whose code may close it, as daemons
    close all descriptors, and may then have a file of its own under the same number. Closed when
    nothing refers to it any more.

    Raises:
        OSError: it is not open.
    """

    _identity: tuple[int, int] | None = None

    def __init__(self, number: int) -> None:
        self.number = number
        self._identity = _identity(number)

    @classmethod
    def unnamed(cls) -> OwnFile:
        """A new one that ends with the process; in memory, where the system has that, as a folder
        of temporary files may be full."""
        if hasattr(os, "memfd_create"):
            with contextlib.suppress(OSError):
                return cls(os.memfd_create("memprof"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def is_there(self) -> bool:
        """Whether the number still leads to it."""
        with contextlib.suppress(OSError):
            return _identity(self.number) == self._identity
        return False

    def close(self) -> None:
        """Close it, if nobody did."""
        if self.is_there():
            os.close(self.number)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.close()

    def content(self) -> bytes:
        """All that is in it."""
        return os.pread(self.number, os.fstat(self.number).st_size, 0)

    def empty(self) -> None:
        """Begin anew."""
        os.ftruncate(self.number, 0)
        os.lseek(self.number, 0, os.SEEK_SET)


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def small_block_bytes(size: int) -> int:
    """What Python's small-object allocator sets aside for `size` bytes: steps of 16."""
    return (size + 15) // 16 * 16


def malloc_block_bytes(size: int) -> int:
    """What glibc's malloc sets aside: a header, steps of 16 bytes, at least 32."""
    return max(32, (size + 23) // 16 * 16)


def return_freed() -> None:
    """Give what is free in glibc's heap back to the system; other C libraries' heaps stay."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


_PR_SET_THP_DISABLE = 41  # linux/prctl.h


def take_single_pages() -> None:
    """Have no huge pages in this process from now on, where the system can do without (Linux)."""
    if sys.platform == "linux":
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl is not None:
            prctl(_PR_SET_THP_DISABLE, *map(ctypes.c_ulong, (1, 0, 0, 0)))


_INTERPRETERS_OWN = 1000  # CPython 3.12 starts with 375, others with none; a bare program has 5,000


def somebody_froze() -> bool:
    """Whether the program, or memprof for it, has frozen its objects."""
    return gc.get_freeze_count() > _INTERPRETERS_OWN


def processors() -> int:
    """How many of them this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def waited_seconds() -> float:
    """How long this thread has waited for a processor that others had; 0 where the system does not
    tell (Linux does, in the second number of `schedstat`)."""
    try:
        with open("/proc/thread-self/schedstat") as stream:
            return int(stream.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def own_seconds() -> float:
    """A clock that stands while others have the processor: a step is no slower for them."""
    return perf_counter() - waited_seconds()
