"""Readings of the worker process itself: the operating system's, and its allocators'."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from memprof.collector import somebody_froze
from memprof.measurements import Reading

_STATUS = Path("/proc/self/status")
_ROLLUP = Path("/proc/self/smaps_rollup")
_SIZES = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)
_CLEAR_REFS = Path("/proc/self/clear_refs")
_SIZE_CLASSES = re.compile(rb"^\s*\d+\s+(\d+)\s+\d+\s+(\d+)\s+(\d+)\s*$", re.MULTILINE)
_UNUSED_POOLS = re.compile(rb"^(\d+) unused pools \* (\d+) bytes", re.MULTILINE)

_clear_type_cache: Callable[[], None] = getattr(
    sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", lambda: None)
)
_process = psutil.Process()
_stats_file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # unnamed, ends with the process


def settle() -> None:
    """Free what is garbage and give it back: collect until nothing is freed, then trim the heap.

    CPython's cache of type attributes goes too. It has 4,096 places, by the address of an
    attribute's name, and NumPy looks attributes up by names that it has just made: hundreds of
    kilobytes of dead strings gather there, over thousands of steps.
    """
    while gc.collect():
        pass
    _clear_type_cache()
    if hasattr(psutil, "heap_trim"):
        psutil.heap_trim()


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
    heap = live_heap_bytes()
    with contextlib.suppress(OSError):
        found = {name: int(size) * 1024 for name, size in _SIZES.findall(_ROLLUP.read_text())}
        return Reading(
            rss_bytes=found["Rss"],
            uss_bytes=found["Private_Clean"] + found["Private_Dirty"],
            pss_bytes=found["Pss"],
            private_bytes=found["Anonymous"] + found["Pss_Shmem"] + found["Swap"],
            heap_bytes=heap,
        )
    memory: Any = _process.memory_info()
    with contextlib.suppress(psutil.AccessDenied):
        memory = _process.memory_full_info()
    uss = getattr(memory, "uss", None)
    return Reading(memory.rss, uss, getattr(memory, "pss", None), uss or memory.rss, heap)


def freed_by(let_go: Callable[[], bool]) -> int | None:
    """Private bytes that the process gives back when told to; None if there is nothing to do."""
    settle()
    before = read().private_bytes
    if not let_go():
        return None
    settle()
    return max(0, before - read().private_bytes)


def live_heap_bytes() -> int | None:
    """Bytes that malloc and Python's small-object allocator have handed out and not got back.

    malloc's part is `psutil.heap_info()`. The small-object allocator maps its arenas itself, so
    malloc does not see them; its live blocks per size class come from `sys._debugmallocstats()`,
    CPython's only account of them, which writes to file descriptor 2.
    """
    native = native_heap_bytes()
    return None if native is None else native + (small_object_bytes() or 0)


def native_heap_bytes() -> int | None:
    """Bytes that malloc has handed out and not got back."""
    if not hasattr(psutil, "heap_info"):
        return None
    heap = psutil.heap_info()
    return int(heap.heap_used + heap.mmap_used)


def fill_free_blocks() -> list[object]:
    """Objects that take up the small-object allocator's free blocks; keep them while measuring.

    Imports leave about a megabyte of free blocks behind, which cannot be given back. The first
    agents would move in there and look free; with the blocks taken, every agent costs what the
    thousandth would.
    """
    table = _malloc_stats()
    filled: list[object] = []
    for size, _, free in _SIZE_CLASSES.findall(table):
        filled += [_object_of_class(int(size)) for _ in range(int(free))]
    pools = _UNUSED_POOLS.search(table)
    if pools is not None:
        count, pool_size = int(pools[1]), int(pools[2])
        filled += [_object_of_class(512) for _ in range(count * (pool_size // 512))]
    return filled


def _object_of_class(size: int) -> object:
    """A new object that takes one block of a size class (a multiple of 16 up to 512)."""
    if size == 16:
        return object()
    if size == 32:
        return int("9" * 12)  # two digits of 30 bits
    return bytes(size - sys.getsizeof(b""))


def small_object_bytes() -> int | None:
    """Bytes in live blocks of Python's small-object allocator; None where it gives no account."""
    classes = _SIZE_CLASSES.findall(_malloc_stats())
    return sum(int(size) * int(used) for size, used, _ in classes) if classes else None


def _malloc_stats() -> bytes:
    """The table of CPython's small-object allocator; empty where there is none."""
    if not hasattr(sys, "_debugmallocstats"):
        return b""
    if sys.stderr is not None:
        sys.stderr.flush()
    saved = os.dup(2)
    _stats_file.seek(0)
    _stats_file.truncate()
    try:
        os.dup2(_stats_file.fileno(), 2)
        sys._debugmallocstats()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    _stats_file.seek(0)
    return _stats_file.read()


def reset_peak() -> bool:
    """Forget the highest resident set so far (Linux); False where that is not possible."""
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")
        return True
    return False


def peak_rss_bytes() -> int | None:
    """Highest resident set since `reset_peak`; None off Linux."""
    return status().get("VmHWM")


def status() -> dict[str, int]:
    """The kernel's sizes of this process in bytes, by their names in proc(5); empty off Linux.

    Among them `VmData` (private writable mappings, what RLIMIT_DATA counts), `VmSize` (all
    mappings), and `VmPeak`, the highest `VmSize` ever.
    """
    with contextlib.suppress(OSError):
        return {name: int(size) * 1024 for name, size in _SIZES.findall(_STATUS.read_text())}
    return {}
