"""How much of a buffer is really in memory, from the page table (Linux)."""

from __future__ import annotations

import mmap
import os

import numpy as np

_PAGE = mmap.PAGESIZE
_ENTRY = 8
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
        try:
            self._descriptor = os.open("/proc/self/pagemap", os.O_RDONLY)
        except OSError:
            self._descriptor = None
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
        first, last = address // _PAGE, (address + size - 1) // _PAGE
        raw = os.pread(self._descriptor, (last - first + 1) * _ENTRY, first * _ENTRY)
        entries = np.frombuffer(raw, np.uint64)
        ours = entries & (_PRESENT | _EXCLUSIVE) == _PRESENT | _EXCLUSIVE
        resident = int(np.count_nonzero(ours)) * _PAGE
        if ours[0]:
            resident -= address - first * _PAGE
        if ours[-1]:
            resident -= (last + 1) * _PAGE - (address + size)
        return resident
