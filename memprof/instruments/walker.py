"""Our own walk over a population: every byte it holds, once, by component, private or shared.

Each array's buffer counts once, however many arrays look at it; JAX arrays count by their buffers
likewise, and those on a device of their own are in no process's memory. How much of a thing is
really in memory tell the page table (Linux), and what allocators set aside where it is smaller than
a page.
"""

from __future__ import annotations

import statistics
import sys
from array import array
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from memprof.instruments.heap import object_bytes
from memprof.instruments.held import Kind, kind_of
from memprof.instruments.mallocs import block_bytes
from memprof.instruments.memory import (
    Buffer,
    dimensions_bytes,
    header_bytes,
    is_device_type,
    own_buffer,
    own_bytes,
)
from memprof.instruments.residency import PageTable
from memprof.populations import AGENT, EACH, ENVIRONMENT, EVERYBODY, PROGRAM, WORKING_SET, WORLD
from memprof.posix import ARRAY_HEADER_BYTES, PAGE_BYTES
from memprof.values.measurements import Ledger, LedgerRow

_SHARED = -2
_NOBODYS = -1
# Of what a batch has, this grows with its agents.
_DATA = (np.ndarray, Buffer, bytes, bytearray)
# Agents and worlds have rows of their own: who refers to one does not hold what it holds.
_WORLDS = (ENVIRONMENT, WORLD)
_ENDS = (AGENT, *_WORLDS)


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

    What the world of all has from one agent, such as the first one's A and B, or what the `PROGRAM`
    has, is shared, but that agent's to bring: the next has to bring as much. What is in use for a
    while, in a working set, is nobody's.
    """
    held = tuple(holdings)  # all alive, so that no id comes twice
    ends = {id(root) for _, component, root in held if component in _ENDS and _is_body(root)}
    with PageTable() as pages:
        found = _Found(ends, pages)
        for owner, component, root in held:
            found.claim(root, owner, component, of_batch=owner == EACH or owner in batches)
    resident, nominal = found.brought()
    return Walk(
        found.rows(),
        _of_each(resident, agents) if pages.readable else (),
        _of_each(nominal, agents),
    )


def _is_body(thing: Any) -> bool:
    """Whether it is one object, rather than some data."""
    kind = type(thing)
    return not (issubclass(kind, (list, tuple, dict, set, *_DATA)) or is_device_type(kind))


def _of_each(held: Mapping[int, int], agents: int) -> tuple[int, ...]:
    each = held.get(EACH, 0) // agents if agents else 0
    return tuple(held.get(agent, 0) + each for agent in range(agents))


class _Found:
    """Every object and buffer that was found, in columns: there are millions, and Python's garbage
    collector goes through objects again and again, but not through numbers."""

    def __init__(self, ends: Container[int], pages: PageTable) -> None:
        self._ends, self._pages = ends, pages
        self._components: dict[str, int] = {}
        self._places: dict[int, int] = {}
        # Of each, in the order of places: who holds it; the owner without which it would not be
        # there (others have it for their environments at most); its component; its bytes.
        self._owners: list[int] = []
        self._brought_by: list[int] = []
        self._parts: list[int] = []
        self._nominal, self._resident = array("q"), array("q")
        # By place: memory that counts by itself; types that may hold native memory beside.
        self._buffers: dict[int, Buffer] = {}
        self._opaque: dict[int, str] = {}
        self._set_aside: dict[int, int] = {}
        """What is set aside for plain objects, by their sizes."""

    def claim(self, root: Any, owner: int, component: str, *, of_batch: bool) -> None:
        """All that the root holds is the owner's, or of several."""
        part = self._components.setdefault(component, len(self._components))
        places, owners, ends = self._places, self._owners, self._ends
        stack = [root]
        while stack:
            thing = stack.pop()
            cls = type(thing)
            kind = kind_of(cls)
            if kind.owned is False:
                continue
            key = -thing.address if cls is Buffer else id(thing)
            place = places.get(key)
            if place is None and kind.owned is not True and not kind.owned(thing):
                continue
            if key in ends and thing is not root:
                continue
            holder = EVERYBODY if of_batch and not issubclass(cls, _DATA) else owner
            if place is None:
                places[key] = place = len(owners)
                self._add(thing, holder, part, kind)
            elif owners[place] in (holder, _SHARED):
                continue
            else:
                owners[place] = _SHARED  # and so is all that it refers to
                is_worlds = component in _WORLDS and self._parts[place] != part
                if owner != PROGRAM and not is_worlds:
                    self._brought_by[place] = _SHARED
            if (buffer := self._buffers.get(place)) is not None:
                stack.append(buffer)
            stack.extend(kind.held(thing))

    def _add(self, thing: Any, holder: int, part: int, kind: Kind) -> None:
        if kind.is_plain:
            nominal = sys.getsizeof(thing)
            resident = self._set_aside.get(nominal)
            if resident is None:
                resident = self._set_aside[nominal] = object_bytes(nominal)
        else:
            nominal, resident, buffer = _sizes(thing, kind, self._pages)
            if buffer is not None:
                self._buffers[len(self._owners)] = buffer
        if kind.opaque:
            self._opaque[len(self._owners)] = kind.opaque
        self._owners.append(holder)
        self._brought_by.append(holder)
        self._parts.append(part)
        self._nominal.append(nominal)
        self._resident.append(resident)

    def brought(self) -> tuple[dict[int, int], dict[int, int]]:
        """Resident and nominal bytes by who brought them."""
        owners, which = np.unique(np.array(self._brought_by, np.int64), return_inverse=True)
        in_use = self._components.get(WORKING_SET, _NOBODYS)
        counts = np.array(self._parts, np.int64) != in_use
        resident, nominal = (
            _sums(which[counts], np.array(column)[counts], len(owners))
            for column in (self._resident, self._nominal)
        )
        names = owners.tolist()
        return dict(zip(names, resident, strict=True)), dict(zip(names, nominal, strict=True))

    def rows(self) -> tuple[LedgerRow, ...]:
        """A row for each component, in the order in which they came."""
        owners, parts = np.array(self._owners, np.int64), np.array(self._parts, np.int64)
        place = 2 * parts + ((owners < 0) & (owners != EACH))
        places = 2 * len(self._components)
        objects = np.bincount(place, minlength=places).tolist()
        nominal = _sums(place, np.array(self._nominal), places)
        resident = _sums(place, np.array(self._resident), places)
        opaque: dict[int, set[str]] = {}
        for thing, name in self._opaque.items():
            opaque.setdefault(self._parts[thing], set()).add(name)
        known = self._pages.readable
        return tuple(
            LedgerRow(
                component=component,
                private_nominal_bytes=nominal[own],
                shared_nominal_bytes=nominal[own + 1],
                private_resident_bytes=resident[own] if known else None,
                shared_resident_bytes=resident[own + 1] if known else None,
                objects=objects[own] + objects[own + 1],
                opaque=tuple(sorted(opaque.get(part, ()))),
            )
            for part, component in enumerate(self._components)
            for own in (2 * part,)
        )


def _sums(places: np.ndarray, sizes: np.ndarray, count: int) -> list[int]:
    """Of the sizes at each place."""
    found = np.zeros(count, np.int64)
    np.add.at(found, places, sizes)
    return [*map(int, found)]


def _sizes(thing: Any, kind: Kind, pages: PageTable) -> tuple[int, int, Buffer | None]:
    """Nominal and resident bytes of a thing alone. Memory of a page or more, which others may know
    by its address, is left to the buffer."""
    if type(thing) is Buffer:
        return thing.nbytes, resident_bytes(thing, pages), None
    own = own_bytes(thing)
    if kind.is_array:
        header, resident = _array_header(thing.ndim)
    else:
        header = header_bytes(thing)
        resident = _object_bytes(header if own >= PAGE_BYTES else header + own)
    if own >= PAGE_BYTES:
        return header, resident, own_buffer(thing)
    if kind.is_array and thing.base is None:
        resident += _block_bytes(own)
    return header + own, resident, None


_block_bytes, _object_bytes = map(lru_cache(maxsize=512), (block_bytes, object_bytes))
"""Most blocks of a population are of a few sizes."""


@cache
def _array_header(dimensions: int) -> tuple[int, int]:
    """What an array takes beside its data, and what is set aside for it."""
    shape = dimensions_bytes(dimensions)
    return ARRAY_HEADER_BYTES + shape, object_bytes(ARRAY_HEADER_BYTES) + block_bytes(shape)


def resident_bytes(buffer: Buffer, pages: PageTable) -> int:
    """What is in no process's memory is on a device of its own."""
    if not buffer.on_host:
        return 0
    if buffer.nbytes < PAGE_BYTES or not pages.readable:
        return _block_bytes(buffer.nbytes)
    return pages.resident_bytes(buffer.address, buffer.nbytes)


def gained(rows: Iterable[LedgerRow], before: Iterable[LedgerRow]) -> Iterator[LedgerRow]:
    """The rows without what there was before of the same components, and without those of which
    there is no more."""
    known = {row.component: row for row in before}
    for row in rows:
        was = known.get(row.component)
        more = row if was is None else _without(row, was)
        if was is None or more.nominal_bytes:
            yield more


def _without(row: LedgerRow, was: LedgerRow) -> LedgerRow:
    """The row without what several shared before."""
    now, then = row.shared_resident_bytes, was.shared_resident_bytes
    nominal = max(0, row.shared_nominal_bytes - was.shared_nominal_bytes)
    resident = None if now is None else max(0, now - (then or 0))
    return replace(row, shared_nominal_bytes=nominal, shared_resident_bytes=resident)


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
