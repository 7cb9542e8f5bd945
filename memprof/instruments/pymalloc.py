"""What CPython says of its small-object allocator, pymalloc.

It maps its arenas itself, so malloc does not see them. Its live blocks per size class come from
CPython's only account of them: the table that `sys._debugmallocstats` writes to file descriptor 2.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from functools import cache

from memprof.instruments import SmallObjects
from memprof.posix import OwnFile

_SMALLEST, LARGEST = 16, 512
"""Sizes of its objects."""
_SIZE_CLASSES = re.compile(rb"^\s*\d+\s+(\d+)\s+\d+\s+(\d+)\s+(\d+)\s*$", re.MULTILINE)
_UNUSED_POOLS = re.compile(rb"^(\d+) unused pools \* (\d+) bytes", re.MULTILINE)
_HOOKS = 3 * ctypes.sizeof(ctypes.c_size_t)  # Objects/obmalloc.c, PYMEM_DEBUG_EXTRA_BYTES
_TRIED_OBJECTS = 512  # whose mean tells


def live_bytes() -> int | None:
    """Bytes in live blocks; None where there is no such table, as with another allocator."""
    classes = _SIZE_CLASSES.findall(_table())
    return sum(int(size) * int(used) for size, used, _ in classes) if classes else None


def filled() -> list[object]:
    """Objects that take up the free blocks."""
    table, hooks = _table(), _hook_bytes()
    objects: list[object] = []
    for size, _, free in _SIZE_CLASSES.findall(table):
        if int(size) - hooks >= _SMALLEST:
            objects += [_object_of(int(size) - hooks) for _ in range(int(free))]
    pools = _UNUSED_POOLS.search(table)
    if pools is not None:
        count, pool_size = int(pools[1]), int(pools[2])
        objects += [_object_of(LARGEST - hooks) for _ in range(count * (pool_size // LARGEST))]
    return objects


def vacant_bytes() -> int:
    """What the free blocks of Python's small-object allocator take; 0 where it gives no account."""
    table = _table()
    pools = _UNUSED_POOLS.search(table)
    blocks = sum(int(size) * int(free) for size, _, free in _SIZE_CLASSES.findall(table))
    return blocks + (0 if pools is None else int(pools[1]) * int(pools[2]))


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
    if not _stats_file().is_there():  # somebody closed it
        _stats_file.cache_clear()
    file = _stats_file()
    file.empty()
    saved = _copy_of(2)
    try:
        os.dup2(file.number, 2)
        sys._debugmallocstats()
    finally:
        if saved is None:
            os.close(2)
        else:
            os.dup2(saved, 2)
            os.close(saved)
    return file.content()


def _copy_of(descriptor: int) -> int | None:
    """None where it is closed, as daemons do."""
    try:
        return os.dup(descriptor)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return None


@cache
def _stats_file() -> OwnFile:
    return OwnFile.unnamed()


def forget() -> None:
    """Let this process, a fork, have a file of its own."""
    _stats_file.cache_clear()
