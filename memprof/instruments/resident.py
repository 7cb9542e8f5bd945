"""How much of an object or a buffer is really in memory: by the page table (Linux), and by what
allocators set aside where it is smaller than a page."""

from __future__ import annotations

import mmap
import os
from functools import cache
from typing import Any

import numpy as np

from memprof.instruments.graph import DeviceBuffer, dimensions_bytes, nominal_bytes
from memprof.instruments.heap import block_bytes, object_bytes
from memprof.posix import ARRAY_HEADER_BYTES, PAGE_BYTES

_ENTRY = 8
_TRIED_PAGES = 16
_FILE = "/proc/self/pagemap"
_PRESENT, _EXCLUSIVE = np.uint64(1 << 63), np.uint64(1 << 56)


def resident_bytes(thing: Any, pages: PageTable) -> int:
    """Bytes of a thing alone, by `pages` where it takes a page or more; a buffer on a device of its
    own is in no process's memory."""
    nominal = nominal_bytes(thing)
    if isinstance(thing, np.ndarray):
        header = object_bytes(ARRAY_HEADER_BYTES) + block_bytes(dimensions_bytes(thing))
        return header + (_data_bytes(thing, pages) if thing.base is None else 0)
    if isinstance(thing, DeviceBuffer):
        if not thing.on_host:
            return 0
        small = nominal < PAGE_BYTES
        return block_bytes(nominal) if small else pages.resident_bytes(thing.address, nominal)
    if isinstance(thing, bytes) and nominal >= PAGE_BYTES and pages.readable:
        return pages.resident_bytes(id(thing), nominal)  # zeros that nobody has touched
    return object_bytes(nominal)


def _data_bytes(array: np.ndarray, pages: PageTable) -> int:
    if array.nbytes >= PAGE_BYTES and pages.readable:
        return pages.resident_bytes(array.ctypes.data, array.nbytes)
    return block_bytes(array.nbytes)


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
