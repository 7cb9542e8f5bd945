"""What malloc has handed out, by its own account: glibc's, jemalloc's or tcmalloc's.

A library that is preloaded, or that Python is linked with, may replace the C library's malloc.
`mallinfo`, and `psutil.heap_info` by it, then goes on to answer for a heap that nobody uses.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Protocol

import psutil

_LARGE = 2**20
"""Blocks of more are rounded up by next to nothing."""


class Malloc(Protocol):
    """An allocator, and the account that it gives of itself."""

    name: str

    def handed_out(self) -> int | None:
        """Bytes that were asked for and not given back; None where there is no account."""
        ...

    def give_back(self) -> None:
        """Return free memory to the system."""
        ...


def present() -> Iterator[Malloc]:
    """Allocators that this process may use: first those that replace the C library's."""
    library = c_library()
    if hasattr(library, "mallctl"):
        yield _Jemalloc(library)
    if hasattr(library, "MallocExtension_GetNumericProperty"):
        yield _Tcmalloc(library)
    if hasattr(library, "mi_collect"):
        yield _Mimalloc(library)
    yield _OfCLibrary()


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


@lru_cache(maxsize=512)
def block_bytes(size: int) -> int:
    """What malloc sets aside for `size` bytes, by its own word; as glibc does where it gives none.

    glibc keeps a header before the block, which is no part of its answer.
    """
    library = c_library()
    if size > _LARGE:
        return size
    if not hasattr(library, "malloc_usable_size"):
        return max(32, (size + 8 + 15) // 16 * 16)
    block = library.malloc(size)
    usable = int(library.malloc_usable_size(block))
    library.free(block)
    own = isinstance(next(present()), _OfCLibrary)
    return usable + ctypes.sizeof(ctypes.c_size_t) if own else usable


class Blocks:
    """So many blocks from malloc, of so many bytes each, until they are freed."""

    def __init__(self, count: int, size: int) -> None:
        self._blocks = (ctypes.c_void_p * count)()
        self._size = size

    def take(self) -> None:
        """Ask for all of them.

        Raises:
            MemoryError: there is no room for them.
        """
        malloc = c_library().malloc
        for number in range(len(self._blocks)):
            self._blocks[number] = malloc(self._size)
        if not all(self._blocks):
            self.free()
            raise MemoryError("malloc has no room")

    def free(self) -> None:
        """Give all of them back."""
        free = c_library().free
        for number, block in enumerate(self._blocks):
            free(block)
            self._blocks[number] = None


class _OfCLibrary:
    """The one that comes with the system; psutil asks for `mallinfo2` or its like."""

    name = platform.libc_ver()[0] or "the system's malloc"

    def handed_out(self) -> int | None:
        if not hasattr(psutil, "heap_info"):
            return None
        heap = psutil.heap_info()
        return int(heap.heap_used + heap.mmap_used)

    def give_back(self) -> None:
        if hasattr(psutil, "heap_trim"):
            psutil.heap_trim()


class _Jemalloc:
    """Source: jemalloc(3), MALLCTL NAMESPACE. What a thread has put by counts as handed out, so
    that this thread gives it back first."""

    name = "jemalloc"

    def __init__(self, library: Any) -> None:
        self._mallctl = library.mallctl
        self._mallctl.argtypes = [
            ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
        ]  # fmt: skip
        self._epoch, self._value = ctypes.c_uint64(1), ctypes.c_size_t()
        self._size = ctypes.c_size_t(ctypes.sizeof(self._value))

    def handed_out(self) -> int | None:
        self._do(b"thread.tcache.flush")
        epoch = ctypes.byref(self._epoch)
        self._mallctl(b"epoch", None, None, epoch, ctypes.sizeof(self._epoch))
        value, size = ctypes.byref(self._value), ctypes.byref(self._size)
        failed = self._mallctl(b"stats.allocated", value, size, None, 0)
        return None if failed else self._value.value

    def give_back(self) -> None:
        self._do(b"thread.tcache.flush")
        self._do(b"arena.4096.purge")  # MALLCTL_ARENAS_ALL

    def _do(self, what: bytes) -> None:
        self._mallctl(what, None, None, None, 0)


class _Tcmalloc:
    """Source: gperftools/malloc_extension_c.h, malloc_extension.h."""

    name = "tcmalloc"

    def __init__(self, library: Any) -> None:
        self._property = library.MallocExtension_GetNumericProperty
        self._property.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self._release = library.MallocExtension_ReleaseFreeMemory
        self._value = ctypes.c_size_t()

    def handed_out(self) -> int | None:
        known = self._property(b"generic.current_allocated_bytes", ctypes.byref(self._value))
        return self._value.value if known else None

    def give_back(self) -> None:
        self._release()


class _Mimalloc:
    """Keeps no account in releases, but for some of one thread."""

    name = "mimalloc"

    def __init__(self, library: Any) -> None:
        self._collect = library.mi_collect
        self._collect.argtypes = [ctypes.c_bool]

    def handed_out(self) -> int | None:
        return None

    def give_back(self) -> None:
        self._collect(True)
