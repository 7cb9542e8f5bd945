"""How much of the heap is in use: what malloc and Python's small-object allocator have handed out
and not got back, by their own accounts.

A library that is preloaded, or that Python is linked with, may replace the C library's malloc.
`mallinfo`, and `psutil.heap_info` by it, then goes on to answer for a heap that nobody uses. So
each account is tried in this process before it is trusted (`tried`).
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import Self

from memprof.instruments import Load, SmallObjects, failure, pymalloc
from memprof.instruments.mallocs import Malloc, block_bytes, c_library, mallocs
from memprof.posix import small_block_bytes

_TRIED_BLOCKS = ((512, 240), (2, 2**20))  # within malloc's heap, and mapped for each block
_TRIED_IN_THREAD = (3, 8000)  # so few that what a thread puts by at once would be far more
_TRIED_OBJECTS = 512
_CACHED_BYTES, _CACHED_DIMENSIONS, _CACHED_BLOCKS = 1024, 16, 8
"""NumPy's caches, and one block more than each holds."""


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
        "python": failure(pymalloc.live_bytes, objects, size),
        "objects": failure(sys.getallocatedblocks, objects, _TRIED_OBJECTS, "objects"),
    }
    malloc, found["native"] = _malloc_in_use()
    has_objects = not found["native"] and not failure(malloc.handed_out, objects, size)
    return Tried(malloc, {name: why for name, why in found.items() if why}, has_objects)


def _malloc_in_use() -> tuple[Malloc, str]:
    """The first that gives a true account; else the first of all, and why its is none."""
    failures: list[tuple[Malloc, str]] = []
    for malloc in mallocs():
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
    pymalloc.forget()


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
    return None if "python" in tried().left_out else pymalloc.live_bytes()


def small_objects() -> int | None:
    """Blocks that Python's small-object allocator has handed out; None where it does not count."""
    return None if "objects" in tried().left_out else sys.getallocatedblocks()


def object_bytes(size: int) -> int:
    """What is set aside for a Python object of `size` bytes. Asked in users' programs, too, where
    nothing may be tried."""
    small = size <= pymalloc.LARGEST and _are_objects_pythons()
    return small_block_bytes(size) if small else block_bytes(size)


@cache
def _are_objects_pythons() -> bool:
    """Whether its own allocator has small objects, and not malloc, as with PYTHONMALLOC=malloc."""
    return sys.getallocatedblocks() > 0


def fill_free_blocks() -> list[object]:
    """Objects that take up the free blocks, and malloc's free chunks; keep them while measuring.

    Imports leave about a megabyte of free blocks behind, and some 200 KB of chunks, which cannot be
    given back. The first agents would move in there and look free; with these taken, every agent
    costs what the thousandth would.
    """
    filled = pymalloc.filled()
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
