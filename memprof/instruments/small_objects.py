"""Python's allocator of small objects, by CPython's only account of it: the table that
`sys._debugmallocstats` writes to file descriptor 2."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from functools import cache

from memprof.instruments.trials import SmallObjects

_SIZE_CLASSES = re.compile(rb"^\s*\d+\s+(\d+)\s+\d+\s+(\d+)\s+(\d+)\s*$", re.MULTILINE)
_UNUSED_POOLS = re.compile(rb"^(\d+) unused pools \* (\d+) bytes", re.MULTILINE)
_SMALLEST, _LARGEST = 16, 512
_HOOKS = 3 * ctypes.sizeof(ctypes.c_size_t)  # Objects/obmalloc.c, PYMEM_DEBUG_EXTRA_BYTES
_TRIED_OBJECTS = 512

_stats_file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # unnamed, ends with the process


def live_bytes() -> int | None:
    """Bytes in live blocks; None where there is no such table, as with another allocator."""
    classes = _SIZE_CLASSES.findall(_table())
    return sum(int(size) * int(used) for size, used, _ in classes) if classes else None


def fill_free_blocks() -> list[object]:
    """Objects that take up the free blocks; keep them while measuring.

    Imports leave about a megabyte of free blocks behind, which cannot be given back. The first
    agents would move in there and look free; with the blocks taken, every agent costs what the
    thousandth would.
    """
    table, hooks = _table(), _hook_bytes()
    filled: list[object] = []
    for size, _, free in _SIZE_CLASSES.findall(table):
        if int(size) - hooks >= _SMALLEST:
            filled += [_object_of(int(size) - hooks) for _ in range(int(free))]
    pools = _UNUSED_POOLS.search(table)
    if pools is not None:
        count, pool_size = int(pools[1]), int(pools[2])
        filled += [_object_of(_LARGEST - hooks) for _ in range(count * (pool_size // _LARGEST))]
    return filled


@cache
def _hook_bytes() -> int:
    """What each block takes beside its object: nothing, but for the hooks of PYTHONMALLOC=debug,
    found by what objects take."""
    objects = SmallObjects(_TRIED_OBJECTS)
    before = live_bytes() or 0
    objects.take()
    each = ((live_bytes() or 0) - before) / _TRIED_OBJECTS
    objects.free()
    return _HOOKS if each > SmallObjects.BLOCK_BYTES + _HOOKS / 4 else 0


def _object_of(size: int) -> object:
    """A new object of `size` bytes, a multiple of 8, or of fewer in a block that is as large."""
    if size < 32:
        return object()
    if size == 32:
        return int("9" * 12)  # two digits of 30 bits
    return bytes(size - sys.getsizeof(b""))


def _table() -> bytes:
    """Empty where there is none."""
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
