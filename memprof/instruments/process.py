"""Readings of the worker process itself: the operating system's, and its allocators'."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from memprof.results import Reading

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_POOLS = re.compile(rb"^\s*\d+\s+(\d+)\s+\d+\s+(\d+)\s+\d+\s*$", re.MULTILINE)

_process = psutil.Process()
_malloc_stats = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # unnamed, ends with the process


def settle() -> None:
    """Free what is garbage and give it back: collect until nothing is freed, then trim the heap."""
    while gc.collect():
        pass
    if hasattr(psutil, "heap_trim"):
        psutil.heap_trim()


def read() -> Reading:
    """Memory of this process now. USS and PSS are None where the platform does not give them."""
    memory: Any = _process.memory_info()
    with contextlib.suppress(psutil.AccessDenied):
        memory = _process.memory_full_info()
    return Reading(
        rss_bytes=memory.rss,
        uss_bytes=getattr(memory, "uss", None),
        pss_bytes=getattr(memory, "pss", None),
        heap_bytes=live_heap_bytes(),
    )


def live_heap_bytes() -> int | None:
    """Bytes that malloc and Python's small-object allocator have handed out and not got back.

    malloc's part is `psutil.heap_info()`. The small-object allocator maps its arenas itself, so
    malloc does not see them; its live blocks per size class come from `sys._debugmallocstats()`,
    CPython's only account of them, which writes to file descriptor 2.
    """
    if not hasattr(psutil, "heap_info"):
        return None
    heap = psutil.heap_info()
    return int(heap.heap_used + heap.mmap_used) + _small_object_bytes()


def _small_object_bytes() -> int:
    if not hasattr(sys, "_debugmallocstats"):
        return 0
    sys.stderr.flush()
    saved = os.dup(2)
    _malloc_stats.seek(0)
    _malloc_stats.truncate()
    try:
        os.dup2(_malloc_stats.fileno(), 2)
        sys._debugmallocstats()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    _malloc_stats.seek(0)
    return sum(int(size) * int(blocks) for size, blocks in _POOLS.findall(_malloc_stats.read()))


def reset_peak() -> bool:
    """Forget the highest resident set so far (Linux); False where that is not possible."""
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")
        return True
    return False


def peak_rss_bytes() -> int | None:
    """Highest resident set since `reset_peak`; None off Linux."""
    with contextlib.suppress(OSError):
        match = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        return int(match[1]) * 1024 if match else None
    return None
