"""How much of the heap is in use: what malloc and Python's small-object allocator have handed out
and not got back, by their own accounts.

A library that is preloaded, or that Python is linked with, may replace the C library's malloc.
`mallinfo`, and `psutil.heap_info` by it, then goes on to answer for a heap that nobody uses. So
each account is tried in this process before it is trusted (`tried`).

The small-object allocator maps its arenas itself, so malloc does not see them. Its live blocks per
size class come from CPython's only account of them: the table that `sys._debugmallocstats` writes
to file descriptor 2.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import platform
import re
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self

import psutil

from memprof.instruments import Load, SmallObjects, failure
from memprof.posix import OwnFile, malloc_block_bytes, small_block_bytes

_LARGE = 2**20
"""Blocks of more are rounded up by next to nothing."""
_SMALLEST, _LARGEST = 16, 512
"""Sizes of Python's small objects."""
_TRIED_BLOCKS = ((512, 240), (2, 2**20))  # within malloc's heap, and mapped for each block
_TRIED_IN_THREAD = (3, 8000)  # so few that what a thread puts by at once would be far more
_TRIED_OBJECTS = 512
_CACHED_BYTES, _CACHED_DIMENSIONS, _CACHED_BLOCKS = 1024, 16, 8
"""NumPy's caches, and one block more than each holds."""
_ASKED = 64
"""Small blocks that are taken at once to see how large one is."""
_SIZE_CLASSES = re.compile(rb"^\s*\d+\s+(\d+)\s+\d+\s+(\d+)\s+(\d+)\s*$", re.MULTILINE)
_UNUSED_POOLS = re.compile(rb"^(\d+) unused pools \* (\d+) bytes", re.MULTILINE)
_CHUNKS = re.compile(rb'<(?:size|unsorted) from="\d+" to="\d+" total="(\d+)" count="([1-9]\d*)"/>')
_HEADER = ctypes.sizeof(ctypes.c_size_t)
_ALIGNED = 2 * _HEADER
_FILLINGS = 3
"""What is left of a chunk that was larger is free again."""
_HOOKS = 3 * ctypes.sizeof(ctypes.c_size_t)  # Objects/obmalloc.c, PYMEM_DEBUG_EXTRA_BYTES


@dataclass(frozen=True, slots=True)
class Tried:
    """How the accounts did when they were tried.

    Attributes:
        malloc: the one in use, as far as can be told.
        left_out: accounts that are not to be trusted, and why.
        native_has_objects: Python's small objects come from malloc, and are in its account. Without
            that, and without bytes, their number alone does not tell of a list that grows.
    """

    malloc: Malloc
    left_out: dict[str, str]
    native_has_objects: bool


@cache
def tried() -> Tried:
    """The accounts of this process, tried once."""
    gc.collect()
    objects = SmallObjects(_TRIED_OBJECTS)
    size = _TRIED_OBJECTS * SmallObjects.BLOCK_BYTES
    found = {
        "python": failure(_python_bytes, objects, size),
        "objects": failure(sys.getallocatedblocks, objects, _TRIED_OBJECTS, "objects"),
    }
    malloc, found["native"] = _malloc_in_use()
    has_objects = not found["native"] and not failure(malloc.handed_out, objects, size)
    return Tried(malloc, {name: why for name, why in found.items() if why}, has_objects)


def _malloc_in_use() -> tuple[Malloc, str]:
    """The first that gives a true account; else the first of all, and why its is none."""
    failures: list[tuple[Malloc, str]] = []
    for malloc in _mallocs():
        why = ""
        if c_library() is not None:
            for count, size in _TRIED_BLOCKS:
                why = why or failure(malloc.handed_out, Blocks(count, size), count * size)
            why = why or _failure_in_thread(malloc)
        if not why:
            return malloc, ""
        failures.append((malloc, f"{malloc.name}: {why}"))
    return failures[0]


def _failure_in_thread(malloc: Malloc) -> str:
    """An account has to tell of other threads, and not by what they put by for later: that comes in
    jumps, between which a small leak does not show. Empty where there can be no threads."""
    count, size = _TRIED_IN_THREAD
    with suppress(RuntimeError), _InThread(Blocks(count, size)) as blocks:
        why = failure(malloc.handed_out, blocks, count * size)
        return f"in another thread, {why}" if why else ""
    return ""


def forget() -> None:
    """Let this process, a fork, try its accounts by itself."""
    tried.cache_clear()
    _stats_file.cache_clear()


def live_bytes() -> int | None:
    """Bytes that malloc and the small-object allocator have handed out and not got back; None where
    one of them gives no account that can be trusted."""
    native = None if left_out() else native_bytes()
    return None if native is None else native + (small_object_bytes() or 0)


def left_out() -> dict[str, str]:
    """Why there is no reading of the live heap; empty where there is one."""
    found = tried()
    parts = ("native",) if found.native_has_objects else ("native", "python")
    return {name: found.left_out[name] for name in parts if name in found.left_out}


def native_bytes() -> int | None:
    """Bytes that malloc has handed out and not got back; None where it gives no true account."""
    found = tried()
    return None if "native" in found.left_out else found.malloc.handed_out()


def put_by_bytes() -> int:
    """What malloc has free, and keeps for later in pages of the process; 0 where it tells nothing,
    or gives such pages back when asked."""
    found = tried()
    return 0 if "native" in found.left_out else found.malloc.put_by()


def small_object_bytes() -> int | None:
    """Bytes in live blocks of Python's small-object allocator; None where it gives no account."""
    return None if "python" in tried().left_out else _python_bytes()


def small_objects() -> int | None:
    """Blocks that Python's small-object allocator has handed out; None where it does not count."""
    return None if "objects" in tried().left_out else sys.getallocatedblocks()


def object_bytes(size: int) -> int:
    """What is set aside for a Python object of `size` bytes. Asked in users' programs, too, where
    nothing may be tried."""
    small = size <= _LARGEST and _are_objects_pythons()
    return small_block_bytes(size) if small else block_bytes(size)


@cache
def _are_objects_pythons() -> bool:
    """Whether its own allocator has small objects, and not malloc, as with PYTHONMALLOC=malloc."""
    return sys.getallocatedblocks() > 0


@lru_cache(maxsize=512)
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
    blocks = [library.malloc(size) for _ in range(_ASKED if size <= _LARGEST else 1)]
    usable = min(int(library.malloc_usable_size(block)) for block in blocks)
    for block in blocks:
        library.free(block)
    own = type(next(_mallocs())) is Malloc
    return usable + ctypes.sizeof(ctypes.c_size_t) if own else usable


def fill_free_blocks() -> list[object]:
    """Objects that take up the free blocks, and malloc's free chunks; keep them while measuring.

    Imports leave about a megabyte of free blocks behind, and some 200 KB of chunks, which cannot be
    given back. The first agents would move in there and look free; with these taken, every agent
    costs what the thousandth would.
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
    filled.append(tried().malloc.filled())
    return filled


def fill_caches_of_numpy() -> None:
    """Have NumPy keep all the freed blocks that it will ever keep: up to seven of each size below
    1,024 bytes, for data, and as many for shapes. It never gives them back, and until it has them
    they look like a leak: agents that learn need arrays of ever other sizes.

    Source: numpy/_core/src/multiarray/alloc.c, NBUCKETS, NBUCKETS_DIM and NCACHE.
    """
    import numpy as np

    for size in range(1, _CACHED_BYTES):
        _ = [np.empty(size, np.uint8) for _ in range(_CACHED_BLOCKS)]
    for dimensions in range(1, _CACHED_DIMENSIONS):
        _ = [np.empty((1,) * dimensions, np.uint8) for _ in range(_CACHED_BLOCKS)]


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
    before = _python_bytes() or 0
    objects.take()
    each = ((_python_bytes() or 0) - before) / _TRIED_OBJECTS
    objects.free()
    return _HOOKS if each > SmallObjects.BLOCK_BYTES + _HOOKS / 4 else 0


def _object_of(size: int) -> object:
    """A new object of `size` bytes, a multiple of 8, or of fewer in a block that is as large."""
    if size < 32:
        return object()
    if size == 32:
        return int("9" * 12)  # two digits of 30 bits
    return bytes(size - sys.getsizeof(b""))


def _python_bytes() -> int | None:
    """Bytes in live blocks; None where there is no such table, as with another allocator."""
    classes = _SIZE_CLASSES.findall(_table())
    return sum(int(size) * int(used) for size, used, _ in classes) if classes else None


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


def _mallocs() -> Iterator[Malloc]:
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


class Blocks:
    """So many blocks from malloc, of so many bytes each; MemoryError where there is no room."""

    def __init__(self, count: int, size: int) -> None:
        self._blocks = (ctypes.c_void_p * count)()
        self._size = size

    def take(self) -> None:
        malloc = c_library().malloc
        for number in range(len(self._blocks)):
            self._blocks[number] = malloc(self._size)
        if not all(self._blocks):
            self.free()
            raise MemoryError("malloc has no room")

    def free(self) -> None:
        free = c_library().free
        for number, block in enumerate(self._blocks):
            free(block)
            self._blocks[number] = None


class _InThread:
    """A load that another thread takes and frees, one that lives until this is closed.

    Raises:
        RuntimeError: on entry, where this process can have no more threads.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._done: SimpleQueue[MemoryError | None] = SimpleQueue()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._asked.put(None)
        self._thread.join()

    def take(self) -> None:
        self._do(self._load.take)

    def free(self) -> None:
        self._do(self._load.free)

    def _do(self, what: Callable[[], None]) -> None:
        self._asked.put(what)
        error = self._done.get()
        if error is not None:
            raise error

    def _work(self) -> None:
        while (what := self._asked.get()) is not None:
            try:
                what()
            except MemoryError as error:
                self._done.put(error)
            else:
                self._done.put(None)


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


_ALL_ARENAS = b"stats.arenas.4096.%s"  # MALLCTL_ARENAS_ALL
_PUT_BY = (b"tcache_bytes", b"tcache_stashed_bytes")  # the second since 5.3


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
