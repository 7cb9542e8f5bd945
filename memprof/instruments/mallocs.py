"""The mallocs that a process may use, and the account that each gives of itself.

A library that is preloaded, or that Python is linked with, may replace the C library's malloc.
Whether an account is true is tried elsewhere (`heap.tried`).
"""

from __future__ import annotations

import ctypes
import platform
import re
from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import psutil

from memprof.posix import malloc_block_bytes

_LARGE = 2**20
"""Blocks of more are rounded up by next to nothing."""
_SMALL, _ASKED = 512, 64
"""So many blocks, of no more bytes, are taken at once to see how large one is."""
_CHUNKS = re.compile(rb'<(?:size|unsorted) from="\d+" to="\d+" total="(\d+)" count="([1-9]\d*)"/>')
_HEADER = ctypes.sizeof(ctypes.c_size_t)
_ALIGNED = 2 * _HEADER
_FILLINGS = 3
"""What is left of a chunk that was larger is free again."""
_ALL_ARENAS = b"stats.arenas.4096.%s"  # MALLCTL_ARENAS_ALL
_PUT_BY = (b"tcache_bytes", b"tcache_stashed_bytes")  # the second since 5.3


def mallocs() -> Iterator[Malloc]:
    """Allocators that this process may use: first those that replace the C library's."""
    library = c_library()
    if hasattr(library, "mallctl"):
        yield _Jemalloc(library)
    if hasattr(library, "MallocExtension_GetNumericProperty"):
        yield _Tcmalloc(library)
    if hasattr(library, "mi_collect"):
        yield _Mimalloc(library)
    yield Malloc()


@cache
def c_library() -> Any:
    """The functions of all libraries that are loaded for everybody; None where there is no such."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has none without a name
        return None
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    if hasattr(library, "malloc_usable_size"):
        library.malloc_usable_size.restype = ctypes.c_size_t
        library.malloc_usable_size.argtypes = [ctypes.c_void_p]
    return library


def block_bytes(size: int) -> int:
    """What malloc sets aside for `size` bytes, by its own word; as glibc does where it gives none.

    glibc keeps a header before the block, which is no part of its answer. A block that was free may
    be larger than was asked for, where the rest is none of its own: the smallest of some counts.
    """
    library = c_library()
    if size > _LARGE:
        return size
    if not hasattr(library, "malloc_usable_size"):
        return malloc_block_bytes(size)
    blocks = [library.malloc(size) for _ in range(_ASKED if size <= _SMALL else 1)]
    usable = min(int(library.malloc_usable_size(block)) for block in blocks)
    for block in blocks:
        library.free(block)
    return usable + _HEADER if _is_the_systems() else usable


@cache
def _is_the_systems() -> bool:
    """Whether nothing replaces the C library's malloc."""
    return type(next(mallocs())) is Malloc


class Malloc:
    """The allocator that comes with the system, and the account that it gives of itself; the start
    of others. psutil asks for `mallinfo2` or its like."""

    name = platform.libc_ver()[0] or "the system's malloc"

    def handed_out(self) -> int | None:
        """Bytes that were asked for and not given back; None where there is no account."""
        if not hasattr(psutil, "heap_info"):
            return None
        heap = psutil.heap_info()
        return int(heap.heap_used + heap.mmap_used)

    def put_by(self) -> int:
        """Bytes that are free in pages which `give_back` leaves."""
        return 0

    def give_back(self) -> None:
        """Return free memory to the system."""
        if hasattr(psutil, "heap_trim"):
            psutil.heap_trim()

    def filled(self) -> object:
        """Blocks that take up the free chunks between those in use; keep it while measuring. None
        where there is no account of them. Source: malloc_info(3)."""
        library = c_library()
        if type(self) is not Malloc or not hasattr(library, "malloc_info"):
            return None
        filling = _Filling()
        for _ in range(_FILLINGS):
            filling.take(_free_chunks(library))
        return filling


class _Filling:
    """Blocks from malloc, until nothing refers to this."""

    def __init__(self) -> None:
        self._blocks = array("Q")

    def take(self, chunks: Sequence[tuple[int, int]]) -> None:
        """Fill as many chunks of each size."""
        malloc = c_library().malloc
        for size, count in chunks:
            self._blocks.extend(malloc(size - _HEADER) or 0 for _ in range(count))

    def __del__(self) -> None:
        free = c_library().free
        for block in self._blocks:
            free(block)


def _free_chunks(library: Any) -> list[tuple[int, int]]:
    """Bytes of a chunk, and how many there are, of those that are free between others in the main
    arena; where sizes differ, their mean."""
    found = []
    for total, count in _CHUNKS.findall(_malloc_info(library)):
        size = int(total) // int(count) & -_ALIGNED  # which may have a flag in its last bit
        found.append((max(size, 2 * _ALIGNED), int(count)))
    return found


def _malloc_info(library: Any) -> bytes:
    """What malloc says of its main arena, which is that of the main thread."""
    library.open_memstream.restype = ctypes.c_void_p
    library.open_memstream.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
    library.fclose.argtypes = [ctypes.c_void_p]
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    stream = library.open_memstream(ctypes.byref(text), ctypes.byref(size))
    library.malloc_info(0, stream)
    library.fclose(stream)
    said = ctypes.string_at(text, size.value)
    library.free(text)
    return said.partition(b"</heap>")[0]


class _Jemalloc(Malloc):
    """Source: jemalloc(3), MALLCTL NAMESPACE. What threads have put by counts as handed out, and is
    told apart."""

    name = "jemalloc"

    def __init__(self, library: Any) -> None:
        self._mallctl = library.mallctl
        self._mallctl.argtypes = [
            ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
        ]  # fmt: skip
        self._epoch, self._value = ctypes.c_uint64(1), ctypes.c_size_t()
        self._size = ctypes.c_size_t(ctypes.sizeof(self._value))

    def handed_out(self) -> int | None:
        epoch = ctypes.byref(self._epoch)
        self._mallctl(b"epoch", None, None, epoch, ctypes.sizeof(self._epoch))
        allocated = self._said(b"stats.allocated")
        put_by = (self._said(_ALL_ARENAS % each) or 0 for each in _PUT_BY)
        return None if allocated is None else allocated - sum(put_by)

    def give_back(self) -> None:
        self._do(b"thread.tcache.flush")
        self._do(b"arena.4096.purge")

    def _said(self, name: bytes) -> int | None:
        value, size = ctypes.byref(self._value), ctypes.byref(self._size)
        return None if self._mallctl(name, value, size, None, 0) else self._value.value

    def _do(self, what: bytes) -> None:
        self._mallctl(what, None, None, None, 0)


class _Tcmalloc(Malloc):
    """Source: gperftools/malloc_extension_c.h, malloc_extension.h."""

    name = "tcmalloc"

    def __init__(self, library: Any) -> None:
        self._property = library.MallocExtension_GetNumericProperty
        self._property.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self._release = library.MallocExtension_ReleaseFreeMemory
        self._value = ctypes.c_size_t()

    def handed_out(self) -> int | None:
        return self._said(b"generic.current_allocated_bytes")

    def put_by(self) -> int:
        """Threads of XLA go on putting by for hundreds of cycles."""
        mine = self._said(b"generic.heap_size")
        back = self._said(b"tcmalloc.pageheap_unmapped_bytes")
        used = self.handed_out()
        return 0 if mine is None or back is None or used is None else mine - back - used

    def give_back(self) -> None:
        self._release()

    def _said(self, name: bytes) -> int | None:
        known = self._property(name, ctypes.byref(self._value))
        return self._value.value if known else None


class _Mimalloc(Malloc):
    """Keeps no account in releases, but for some of one thread."""

    name = "mimalloc"

    def __init__(self, library: Any) -> None:
        self._collect = library.mi_collect
        self._collect.argtypes = [ctypes.c_bool]

    def handed_out(self) -> int | None:
        return None

    def give_back(self) -> None:
        self._collect(True)
