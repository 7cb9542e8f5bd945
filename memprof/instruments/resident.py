"""How much of a buffer is really in memory, from the page table (Linux).

Python's allocator of small objects, by CPython's only account of it: the table that
`sys._debugmallocstats` writes to file descriptor 2.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import sys
import tempfile
from functools import cache

import numpy as np

from memprof.instruments.trials import SmallObjects
from memprof.posix import PAGE_BYTES

_ENTRY = 8
_TRIED_PAGES = 16
_FILE = "/proc/self/pagemap"
_PRESENT, _EXCLUSIVE = np.uint64(1 << 63), np.uint64(1 << 56)


class PageTable:
    """`/proc/self/pagemap`, opened once; as a context manager.

    An anonymous page that was only ever read is the kernel's zero page: it is `present`, yet costs
    nothing and is in no USS. Bit 56 (mapped exclusively) tells it from a page of our own.
    Source: Linux, Documentation/admin-guide/mm/pagemap.rst.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def __enter__(self) -> PageTable:
        if not failure():
            self._descriptor = os.open(_FILE, os.O_RDONLY)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    @property
    def readable(self) -> bool:
        """Whether residency can be told at all."""
        return self._descriptor is not None

    def resident_bytes(self, address: int, size: int) -> int:
        """Bytes of [address, address + size) in present pages that only this process maps."""
        if self._descriptor is None or size <= 0:
            return 0
        return _resident_bytes(self._descriptor, address, size)


@cache
def failure() -> str:
    """Why the page table of this process cannot be trusted, tried with pages that are touched;
    empty if it can."""
    try:
        descriptor = os.open(_FILE, os.O_RDONLY)
    except OSError as error:
        return f"{_FILE} cannot be read: {error.strerror}"
    try:
        found = _tried(descriptor)
    except (OSError, ValueError, IndexError) as error:
        return f"{_FILE} has no entry for each page: {error}"
    finally:
        os.close(descriptor)
    expected = 0, _TRIED_PAGES * PAGE_BYTES
    if found == expected:
        return ""
    return f"{_FILE} tells of {found[0]} and {found[1]} bytes, where {expected[1]} were touched"


def _tried(descriptor: int) -> tuple[int, int]:
    """What the page table says of pages before and after they are touched."""
    with mmap.mmap(-1, _TRIED_PAGES * PAGE_BYTES, mmap.MAP_PRIVATE) as memory:
        pages = np.frombuffer(memory, np.uint8)
        place = pages.ctypes.data, pages.nbytes
        del pages
        before = _resident_bytes(descriptor, *place)
        for page in range(_TRIED_PAGES):
            memory[page * PAGE_BYTES] = 1
        return before, _resident_bytes(descriptor, *place)


def _resident_bytes(descriptor: int, address: int, size: int) -> int:
    first, last = address // PAGE_BYTES, (address + size - 1) // PAGE_BYTES
    raw = os.pread(descriptor, (last - first + 1) * _ENTRY, first * _ENTRY)
    entries = np.frombuffer(raw, np.uint64)
    ours = entries & (_PRESENT | _EXCLUSIVE) == _PRESENT | _EXCLUSIVE
    resident = int(np.count_nonzero(ours)) * PAGE_BYTES
    if ours[0]:
        resident -= address - first * PAGE_BYTES
    if ours[-1]:
        resident -= (last + 1) * PAGE_BYTES - (address + size)
    return resident


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
