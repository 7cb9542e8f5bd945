"""Our own walk over a population: every byte it holds, once, by component, private or shared.

Each array's buffer counts once, however many arrays look at it; JAX arrays count by their buffers
likewise, and those on a device of their own are in no process's memory. How much of a thing is
really in memory tell the page table (Linux), and what allocators set aside where it is smaller than
a page.
"""

from __future__ import annotations

import mmap
import os
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from memprof.instruments.graph import (
    DeviceBuffer,
    dimensions_bytes,
    identity,
    is_owned,
    nominal_bytes,
    referents,
)
from memprof.instruments.heap import block_bytes, object_bytes
from memprof.populations import EACH, ENVIRONMENT, EVERYBODY, WORKING_SET
from memprof.posix import ARRAY_HEADER_BYTES, PAGE_BYTES
from memprof.values.measurements import Ledger, LedgerRow

_SHARED = -2
# Of what a batch has, this grows with its agents.
_DATA = (np.ndarray, DeviceBuffer, bytes, bytearray)
_ENTRY = 8
_TRIED_PAGES = 16
_FILE = "/proc/self/pagemap"
_PRESENT, _EXCLUSIVE = np.uint64(1 << 63), np.uint64(1 << 56)


@dataclass(slots=True)
class _Holding:
    """One object or buffer: who holds it, under which component, and its size.

    Attributes:
        brought_by: the owner without which it would not be there: others have it for their
            environments at most.
    """

    owner: int
    brought_by: int
    component: str
    nominal: int
    resident: int


class Walk(NamedTuple):
    """Rows of the ledger, and what each agent brought along for itself alone, in their order:
    `resident`, empty where the page table cannot be read, and `nominal`."""

    rows: tuple[LedgerRow, ...]
    resident: tuple[int, ...]
    nominal: tuple[int, ...]


def walk(
    holdings: Iterable[tuple[int, str, Any]],
    agents: int,
    batches: Collection[int] = (),
) -> Walk:
    """Walks over (owner, component, object) triples of a population of so many `agents`.

    An object reached from two owners is shared; its bytes belong to the component that reached it
    first. Resident bytes are allocator chunks for small objects, and present pages for buffers of
    a page or more. Where the page table cannot be read they are None, and nobody holds anything.
    Owner `EVERYBODY` stands for the population as a whole; what it holds is shared. What `EACH`
    holds, such as an array with a row per agent, is private to all agents in equal parts; the
    containers that it is in are one for all. So it is with owners that are `batches` of agents.

    What the world of all has from one agent, such as the first one's A and B, is shared, but that
    agent's to bring: the next has to bring as much. What is in use for a while, in a working set,
    is nobody's.
    """
    found: dict[int, _Holding] = {}
    components: dict[str, None] = {}
    with PageTable() as pages:
        for owner, component, root in tuple(holdings):  # all alive, so that no id comes twice
            components[component] = None
            of_batch = owner == EACH or owner in batches
            _claim(root, owner, component, found, pages, of_batch=of_batch)
        readable = pages.readable
    rows = tuple(_row(component, found.values(), readable) for component in components)
    resident: Counter[int] = Counter()
    nominal: Counter[int] = Counter()
    for holding in found.values():
        if holding.component != WORKING_SET:
            resident[holding.brought_by] += holding.resident
            nominal[holding.brought_by] += holding.nominal
    return Walk(
        rows,
        _of_each(resident, agents) if readable else (),
        _of_each(nominal, agents),
    )


def _of_each(held: Counter[int], agents: int) -> tuple[int, ...]:
    return tuple(held[agent] + held[EACH] // agents for agent in range(agents))


def _claim(
    root: Any,
    owner: int,
    component: str,
    found: dict[int, _Holding],
    pages: PageTable,
    *,
    of_batch: bool,
) -> None:
    stack = [root]
    while stack:
        thing = stack.pop()
        if not is_owned(thing):
            continue
        key = identity(thing)
        holding = found.get(key)
        holder = EVERYBODY if of_batch and not isinstance(thing, _DATA) else owner
        if holding is None:
            nominal, resident = nominal_bytes(thing), resident_bytes(thing, pages)
            found[key] = _Holding(holder, holder, component, nominal, resident)
        elif holding.owner in (holder, _SHARED):
            continue
        else:
            holding.owner = _SHARED  # and so is all that it refers to
            if component != ENVIRONMENT or holding.component == ENVIRONMENT:
                holding.brought_by = _SHARED
        stack.extend(referents(thing))


def _row(component: str, holdings: Iterable[_Holding], readable: bool) -> LedgerRow:
    mine = [holding for holding in holdings if holding.component == component]
    private = [holding for holding in mine if holding.owner >= 0 or holding.owner == EACH]
    shared = [holding for holding in mine if holding.owner in (EVERYBODY, _SHARED)]
    return LedgerRow(
        component=component,
        private_nominal_bytes=sum(holding.nominal for holding in private),
        shared_nominal_bytes=sum(holding.nominal for holding in shared),
        private_resident_bytes=sum(holding.resident for holding in private) if readable else None,
        shared_resident_bytes=sum(holding.resident for holding in shared) if readable else None,
        objects=len(mine),
    )


def balance(
    agents: int, growth_bytes: int, rows: Sequence[LedgerRow], held_bytes: Sequence[float]
) -> Ledger:
    """The ledger of a population of `agents` whose private memory grew by `growth_bytes`.

    `held_bytes` are the resident bytes that each of the scenario's agents holds alone; empty where
    unknown.
    """
    resident = [row.resident_bytes for row in rows]
    known = [size for size in resident if size is not None]
    explained = sum(known) if len(known) == len(rows) else None
    unexplained = None if explained is None else growth_bytes - explained
    ledger = Ledger(agents, growth_bytes, explained, unexplained, None, tuple(rows))
    if not held_bytes:
        return ledger
    return replace(
        ledger,
        typical_agent_bytes=float(statistics.median(held_bytes)),
        mean_agent_bytes=statistics.fmean(held_bytes),
        agent_bytes_range=(round(min(held_bytes)), round(max(held_bytes))),
    )


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
        """Bytes of [address, address + size) in present pages that only this process maps."""
        if self._descriptor is None or size <= 0:
            return 0
        return _resident_bytes(self._descriptor, address, size)


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
