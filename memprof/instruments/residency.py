"""Which pages of this process are really in memory, by the kernel's page table (Linux)."""

from __future__ import annotations

import mmap
import os
from functools import cache
from pathlib import Path

import numpy as np

from memprof.posix import PAGE_BYTES

_ENTRY = 8
_TRIED_PAGES = 16
_FILE = "/proc/self/pagemap"
_PRESENT, _OF_FILE, _EXCLUSIVE = np.uint64(1 << 63), np.uint64(1 << 61), np.uint64(1 << 56)
# Memory that processes may share is a file to the page table, though in memory alone.
_MAPPINGS, _MOUNTS = Path("/proc/self/maps"), Path("/proc/self/mountinfo")
_IN_MEMORY = ("/dev/zero", "/dev/shm/", "/memfd:", "/SYSV")


class PageTable:
    """`/proc/self/pagemap`, opened once; as a context manager.

    An anonymous page that was only ever read is the kernel's zero page: it is `present`, yet costs
    nothing and is in no USS. Bit 56 (mapped exclusively) tells it from a page of our own. Bit 61
    tells pages of files, and of memory that processes may share.
    Source: Linux, Documentation/admin-guide/mm/pagemap.rst.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def __enter__(self) -> PageTable:
        if not residency_failure():
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
        """Bytes of [address, address + size) in present pages that only this process maps; pages of
        files are not among them, unless the files are in memory themselves."""
        if self._descriptor is None or size <= 0:
            return 0
        own, of_files = _resident_bytes(self._descriptor, address, size)
        return own + of_files if of_files and _is_in_memory(address) else own


@cache
def residency_failure() -> str:
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
        before, _ = _resident_bytes(descriptor, *place)
        for page in range(_TRIED_PAGES):
            memory[page * PAGE_BYTES] = 1
        after, _ = _resident_bytes(descriptor, *place)
        return before, after


def _resident_bytes(descriptor: int, address: int, size: int) -> tuple[int, int]:
    """Bytes in present pages of our own, without and in files."""
    first, last = address // PAGE_BYTES, (address + size - 1) // PAGE_BYTES
    raw = os.pread(descriptor, (last - first + 1) * _ENTRY, first * _ENTRY)
    entries = np.frombuffer(raw, np.uint64)
    ours = entries & (_PRESENT | _EXCLUSIVE) == _PRESENT | _EXCLUSIVE
    sizes = np.full(len(entries), PAGE_BYTES)
    sizes[0] -= address - first * PAGE_BYTES
    sizes[-1] -= (last + 1) * PAGE_BYTES - (address + size)
    in_files = (entries & _OF_FILE).astype(bool)
    return int(sizes[ours & ~in_files].sum()), int(sizes[ours & in_files].sum())


def _is_in_memory(address: int) -> bool:
    """Whether the file that is mapped at an address is in memory rather than on a disk."""
    for line in _MAPPINGS.read_text().splitlines():
        span, _, _, device, _, *path = line.split(maxsplit=5)
        start, end = (int(each, 16) for each in span.split("-"))
        if start <= address < end:
            return "".join(path).startswith(_IN_MEMORY) or device in _devices_in_memory()
    return False


def _devices_in_memory() -> set[str]:
    """File systems in memory, as the list of mappings calls them."""
    found = set()
    for line in _MOUNTS.read_text().splitlines():
        if " - tmpfs " in line:
            major, minor = map(int, line.split()[2].split(":"))
            found.add(f"{major:02x}:{minor:02x}")
    return found
