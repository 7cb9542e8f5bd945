"""Readings of the worker process itself: the operating system's, and its allocators'.

Each is tried in this process before it is trusted (`tried`): what does not move by memory of known
size is None ever after, and named in the report.
"""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from memprof.errors import MeasurementError
from memprof.instruments import mallocs, resident, trials
from memprof.instruments.mallocs import Malloc
from memprof.posix import somebody_froze
from memprof.values.measurements import UNSEEN, Calibration, Reading

_SELF = Path("/proc/self")
_STATUS = _SELF / "status"
_ROLLUP = _SELF / "smaps_rollup"
_SMAPS = _SELF / "smaps"
_CLEAR_REFS = _SELF / "clear_refs"
_SIZES = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)

_clear_type_cache: Callable[[], None] = getattr(
    sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", lambda: None)
)
_process = psutil.Process()

_TRIED_BLOCKS = ((512, 240), (2, 2**20))  # within malloc's heap, and mapped for each block
_TRIED_OBJECTS = 512
_TRIED_MAPPING = 4 * 2**20


class _Garbage:
    """Garbage ends after a few collections, unless each makes it anew, as finalizers can: then a
    few have to do, always as many, so that always as much is left.

    Attributes:
        endless: it did not end.
    """

    _MOST, _FEW = 30, 3

    def __init__(self) -> None:
        self.endless = False

    def collect(self) -> None:
        for _ in range(self._FEW if self.endless else self._MOST):
            if not gc.collect():
                return
        self.endless = True


_garbage = _Garbage()


def settle() -> None:
    """Free what is garbage and give it back: collect until nothing is freed, then trim the heap.

    CPython's cache of type attributes goes too. It has 4,096 places, by the address of an
    attribute's name, and NumPy looks attributes up by names that it has just made: hundreds of
    kilobytes of dead strings gather there, over thousands of steps.
    """
    _garbage.collect()
    _clear_type_cache()
    tried().malloc.give_back()


# ---------------------------------------------------------------- which readings to trust


@dataclass(frozen=True, slots=True)
class Tried:
    """How the readings of this process did when they were tried.

    Attributes:
        malloc: the one in use, as far as can be told.
        left_out: readings that are not to be trusted, and why.
        native_has_objects: Python's small objects come from malloc, and are in its account. Without
            that, and without bytes, their number alone does not tell of a list that grows.
    """

    malloc: Malloc
    left_out: dict[str, str]
    native_has_objects: bool

    def unseen(self) -> tuple[str, ...]:
        """Memory that no reading tells of, but for whole pages of the process."""
        instead = {"python"} if self.native_has_objects else set()
        return tuple(UNSEEN[n] for n in UNSEEN if n in self.left_out and n not in instead)


@cache
def tried() -> Tried:
    """Every reading of this process, tried once: at the start of a job, or when it is first asked
    for."""
    gc.collect()
    objects = trials.SmallObjects(_TRIED_OBJECTS)
    size = _TRIED_OBJECTS * trials.SmallObjects.BLOCK_BYTES
    found = {
        "python": trials.failure(resident.live_bytes, objects, size),
        "objects": trials.failure(sys.getallocatedblocks, objects, _TRIED_OBJECTS, "objects"),
        "peak": trials.failure(_highest_lately, _Peak(), _TRIED_MAPPING),
        "shared memory": trials.failure(
            lambda: _of_system().private_bytes,
            trials.MappedPages(_TRIED_MAPPING, shared=True),
            _TRIED_MAPPING,
        ),
        **trials.failures(_sizes, trials.MappedPages(_TRIED_MAPPING), _TRIED_MAPPING),
    }
    malloc, found["native"] = _malloc_in_use()
    has_objects = not found["native"] and not trials.failure(malloc.handed_out, objects, size)
    return Tried(malloc, {name: why for name, why in found.items() if why}, has_objects)


def calibration() -> Calibration:
    """What the readings of this process are worth, until now."""
    found = tried()
    return Calibration(found.malloc.name, found.left_out, found.unseen(), _garbage.endless)


def expect_process() -> None:
    """Try all readings.

    Raises:
        MeasurementError: the system does not tell how much memory the process has.
    """
    why = tried().left_out.get("process")
    if why:
        raise MeasurementError(
            f"the memory of a process cannot be read here: {why}; expected that smaps_rollup, "
            "smaps or statm in /proc/self tells; run memprof where it does"
        )


def _malloc_in_use() -> tuple[Malloc, str]:
    """The first that gives a true account; else the first of all, and why its is none."""
    failures: list[tuple[Malloc, str]] = []
    for malloc in mallocs.present():
        why = ""
        for count, size in _TRIED_BLOCKS if mallocs.c_library() is not None else ():
            blocks = mallocs.Blocks(count, size)
            why = why or trials.failure(malloc.handed_out, blocks, count * size)
        if not why:
            return malloc, ""
        failures.append((malloc, f"{malloc.name}: {why}"))
    return failures[0]


class _Peak:
    """A mapping that has gone again when it is asked about."""

    def take(self) -> None:
        mapping = trials.MappedPages(_TRIED_MAPPING)
        mapping.take()
        mapping.free()

    def free(self) -> None:
        _forget_peak()


def _sizes() -> dict[str, int | None]:
    """Readings that move alike when memory is mapped and touched."""
    reading, kernel = _of_system(), _status()
    return {
        "process": reading.private_bytes,
        "uss": reading.uss_bytes,
        "data segment": kernel.get("VmData"),
        "address space": kernel.get("VmSize"),
    }


def _highest_lately() -> int | None:
    return _status().get("VmHWM")


def clear_free_lists() -> None:
    """Give the interpreter's free lists back to the allocator, in microseconds.

    They grow to thousands of tuples while agents step, which would look like agents' memory. Only
    a full collection clears them; with every object set aside it has nothing else to do. Objects
    that are set aside already, as by the pass `gc`, stay so.
    """
    if somebody_froze():
        gc.collect()
        return
    gc.freeze()
    gc.collect()
    gc.unfreeze()


def read() -> Reading:
    """Memory of this process now: from the kernel's account on Linux, else what psutil gives."""
    left_out, reading = tried().left_out, _of_system()
    blind = "uss" in left_out and "process" not in left_out  # else a job has been refused
    uss = None if blind else reading.uss_bytes
    return replace(reading, uss_bytes=uss, heap_bytes=live_heap_bytes())


def _of_system() -> Reading:
    """What the system tells, which is more or less: kernels before 5.3 have no `Pss_Shmem`, those
    before 4.14 and gVisor no rollup, and some containers no page of it."""
    found = _rollup()
    if "Rss" in found:
        own = [found[name] for name in ("Private_Clean", "Private_Dirty") if name in found]
        uss = sum(own) if own else None
        private = found["Rss"] if uss is None else uss
        if "Anonymous" in found:
            shared = found.get("Pss_Shmem", _status().get("RssShmem", 0))
            private = found["Anonymous"] + shared + found.get("Swap", 0)
        return Reading(found["Rss"], uss, found.get("Pss"), private, None)
    memory: Any = _process.memory_info()
    with contextlib.suppress(psutil.Error, OSError):
        memory = _process.memory_full_info()
    uss = getattr(memory, "uss", None) or None
    return Reading(memory.rss, uss, getattr(memory, "pss", None) or None, uss or memory.rss, None)


def _rollup() -> dict[str, int]:
    """The sums over all mappings, in bytes; empty where there is no such account."""
    for file in (_ROLLUP, _SMAPS):
        with contextlib.suppress(OSError):
            sums: Counter[str] = Counter()
            for name, size in _SIZES.findall(file.read_text()):
                sums[name] += int(size) * 1024
            if "Rss" in sums:
                return dict(sums)
    return {}


def freed_by(let_go: Callable[[], bool]) -> int | None:
    """Private bytes that the process gives back when told to; None if there is nothing to do."""
    settle()
    before = read().private_bytes
    if not let_go():
        return None
    settle()
    return max(0, before - read().private_bytes)


def live_heap_bytes() -> int | None:
    """Bytes that malloc and Python's small-object allocator have handed out and not got back; None
    where one of them gives no account that can be trusted.

    The small-object allocator maps its arenas itself, so malloc does not see them; its live blocks
    per size class come from `sys._debugmallocstats()`, CPython's only account of them, which writes
    to file descriptor 2.
    """
    native = None if heap_left_out() else native_heap_bytes()
    return None if native is None else native + (small_object_bytes() or 0)


def heap_left_out() -> dict[str, str]:
    """Why there is no reading of the live heap; empty where there is one."""
    found = tried()
    parts = ("native",) if found.native_has_objects else ("native", "python")
    return {name: found.left_out[name] for name in parts if name in found.left_out}


def held_bytes() -> int:
    """The live heap, or the private memory of the process where nothing tells of that."""
    heap = live_heap_bytes()
    return _of_system().private_bytes if heap is None else heap


def native_heap_bytes() -> int | None:
    """Bytes that malloc has handed out and not got back; None where it gives no true account."""
    found = tried()
    return None if "native" in found.left_out else found.malloc.handed_out()


def allocated_blocks() -> int | None:
    """Blocks that Python's small-object allocator has handed out; None where it does not count."""
    return None if "objects" in tried().left_out else sys.getallocatedblocks()


def private_bytes() -> int | None:
    """See `Reading.private_bytes`; None where the system's account cannot be trusted."""
    return None if "process" in tried().left_out else _of_system().private_bytes


def small_object_bytes() -> int | None:
    """Bytes in live blocks of Python's small-object allocator; None where it gives no account."""
    return None if "python" in tried().left_out else resident.live_bytes()


def reset_peak() -> bool:
    """Forget the highest resident set so far (Linux); False where that is not possible."""
    return "peak" not in tried().left_out and _forget_peak()


def peak_rss_bytes() -> int | None:
    """Highest resident set since `reset_peak`; None where the system does not keep it."""
    return None if "peak" in tried().left_out else _highest_lately()


def status() -> dict[str, int]:
    """The kernel's sizes of this process in bytes, by their names in proc(5), of those that can be
    trusted; empty off Linux.

    Among them `VmData` (private writable mappings, what RLIMIT_DATA counts), `VmSize` (all
    mappings), and `VmPeak`, the highest `VmSize` ever.
    """
    found = _status()
    for name, fields in (("data segment", ("VmData",)), ("address space", ("VmSize", "VmPeak"))):
        if name in tried().left_out:
            found = {field: size for field, size in found.items() if field not in fields}
    return found


def address_space() -> tuple[int | None, int | None]:
    """Mappings of files and of shared memory, with all others that are not private and writable;
    and those that are. None where the system's account cannot be trusted."""
    found = status()
    if "VmSize" not in found or "VmData" not in found:
        return None, None
    return found["VmSize"] - found["VmData"], found["VmData"]


def _status() -> dict[str, int]:
    with contextlib.suppress(OSError):
        return {name: int(size) * 1024 for name, size in _SIZES.findall(_STATUS.read_text())}
    return {}


def _forget_peak() -> bool:
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")
        return True
    return False
