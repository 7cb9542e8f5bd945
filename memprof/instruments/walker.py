"""Our own walk over a population: every byte it holds, once, by component, private or shared.

Each array's buffer counts once, however many arrays look at it; JAX arrays count by their buffers
likewise, and those on a device of their own are in no process's memory. How much of a thing is
really in memory tell the page table (Linux), and what allocators set aside where it is smaller than
a page.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from memprof.instruments.graph import identity
from memprof.instruments.heap import block_bytes, object_bytes
from memprof.instruments.held import held_by, is_owned, opaque
from memprof.instruments.memory import (
    Buffer,
    dimensions_bytes,
    header_bytes,
    is_device_type,
    own_buffer,
    own_bytes,
)
from memprof.instruments.residency import PageTable
from memprof.populations import AGENT, EACH, ENVIRONMENT, EVERYBODY, PROGRAM, WORKING_SET
from memprof.posix import ARRAY_HEADER_BYTES, PAGE_BYTES
from memprof.values.measurements import Ledger, LedgerRow

_SHARED = -2
# Of what a batch has, this grows with its agents.
_DATA = (np.ndarray, Buffer, bytes, bytearray)
# Agents and worlds have rows of their own: who refers to one does not hold what it holds.
_ENDS = (AGENT, ENVIRONMENT)


@dataclass(slots=True)
class _Holding:
    """One object or buffer: who holds it, under which component, and its size.

    Attributes:
        brought_by: the owner without which it would not be there: others have it for their
            environments at most.
        buffer: its memory, where that counts by itself.
        opaque: its type, where that may hold native memory beside, of which nothing tells.
    """

    owner: int
    brought_by: int
    component: str
    nominal: int
    resident: int
    buffer: Buffer | None
    opaque: str


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
    found: dict[int, _Holding] = {}
    components: dict[str, None] = {}
    held = tuple(holdings)  # all alive, so that no id comes twice
    ends = {id(root) for _, component, root in held if component in _ENDS and _is_body(root)}
    with PageTable() as pages:
        for owner, component, root in held:
            components[component] = None
            of_batch = owner == EACH or owner in batches
            _claim(root, owner, component, found, ends, pages, of_batch=of_batch)
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


def _is_body(thing: Any) -> bool:
    """Whether it is one object, rather than some data."""
    kind = type(thing)
    return not (issubclass(kind, (list, tuple, dict, set, *_DATA)) or is_device_type(kind))


def _of_each(held: Counter[int], agents: int) -> tuple[int, ...]:
    return tuple(held[agent] + held[EACH] // agents for agent in range(agents))


def _claim(
    root: Any,
    owner: int,
    component: str,
    found: dict[int, _Holding],
    ends: Container[int],
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
        if key in ends and thing is not root:
            continue
        holding = found.get(key)
        holder = EVERYBODY if of_batch and not issubclass(type(thing), _DATA) else owner
        if holding is None:
            nominal, resident, buffer = _sizes(thing, pages)
            found[key] = _Holding(
                holder, holder, component, nominal, resident, buffer, opaque(thing)
            )
            if buffer is not None:
                stack.append(buffer)
        elif holding.owner in (holder, _SHARED):
            continue
        else:
            holding.owner = _SHARED  # and so is all that it refers to
            if owner != PROGRAM and (component != ENVIRONMENT or holding.component == ENVIRONMENT):
                holding.brought_by = _SHARED
            if holding.buffer is not None:
                stack.append(holding.buffer)
        stack.extend(held_by(thing))


def _sizes(thing: Any, pages: PageTable) -> tuple[int, int, Buffer | None]:
    """Nominal and resident bytes of a thing alone. Memory of a page or more, which others may know
    by its address, is left to the buffer."""
    if type(thing) is Buffer:
        return thing.nbytes, resident_bytes(thing, pages), None
    header, own = header_bytes(thing), own_bytes(thing)
    is_array = issubclass(type(thing), np.ndarray)  # a proxy of one says that it is an instance
    if is_array:
        resident = object_bytes(ARRAY_HEADER_BYTES) + block_bytes(dimensions_bytes(thing))
    else:
        resident = object_bytes(header if own >= PAGE_BYTES else header + own)
    if own >= PAGE_BYTES:
        return header, resident, own_buffer(thing)
    if is_array and thing.base is None:
        resident += block_bytes(own)
    return header + own, resident, None


def resident_bytes(buffer: Buffer, pages: PageTable) -> int:
    """What is in no process's memory is on a device of its own."""
    if not buffer.on_host:
        return 0
    if buffer.nbytes < PAGE_BYTES or not pages.readable:
        return block_bytes(buffer.nbytes)
    return pages.resident_bytes(buffer.address, buffer.nbytes)


def _row(component: str, holdings: Iterable[_Holding], readable: bool) -> LedgerRow:
    mine = [holding for holding in holdings if holding.component == component]
    private = [holding for holding in mine if holding.owner >= 0 or holding.owner == EACH]
    shared = [holding for holding in mine if holding.owner in (EVERYBODY, PROGRAM, _SHARED)]
    return LedgerRow(
        component=component,
        private_nominal_bytes=sum(holding.nominal for holding in private),
        shared_nominal_bytes=sum(holding.nominal for holding in shared),
        private_resident_bytes=sum(holding.resident for holding in private) if readable else None,
        shared_resident_bytes=sum(holding.resident for holding in shared) if readable else None,
        objects=len(mine),
        opaque=tuple(sorted({holding.opaque for holding in mine} - {""})),
    )


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
