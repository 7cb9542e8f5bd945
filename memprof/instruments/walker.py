"""Our own walk over a population: every byte it holds, once, by component, private or shared.

Each array's buffer counts once, however many arrays look at it; JAX arrays count by their buffers
likewise, and those on a device of their own are in no process's memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from memprof.instruments.graph import identity, is_owned, nominal_bytes, referents
from memprof.instruments.resident import PageTable, resident_bytes
from memprof.populations.base import EACH, ENVIRONMENT, EVERYBODY, WORKING_SET
from memprof.values.measurements import LedgerRow

_SHARED = -2


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


def walk(holdings: Iterable[tuple[int, str, Any]], agents: int) -> Walk:
    """Walks over (owner, component, object) triples of a population of so many `agents`.

    An object reached from two owners is shared; its bytes belong to the component that reached it
    first. Resident bytes are allocator chunks for small objects, and present pages for buffers of
    a page or more. Where the page table cannot be read they are None, and nobody holds anything.
    Owner `EVERYBODY` stands for the population as a whole; what it holds is shared. What `EACH`
    holds, such as an array with a row per agent, is private to all agents in equal parts.

    What the world of all has from one agent, such as the first one's A and B, is shared, but that
    agent's to bring: the next has to bring as much. What is in use for a while, in a working set,
    is nobody's.
    """
    found: dict[int, _Holding] = {}
    components: dict[str, None] = {}
    with PageTable() as pages:
        for owner, component, root in tuple(holdings):  # all alive, so that no id comes twice
            components[component] = None
            _claim(root, owner, component, found, pages)
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
    root: Any, owner: int, component: str, found: dict[int, _Holding], pages: PageTable
) -> None:
    stack = [root]
    while stack:
        thing = stack.pop()
        if not is_owned(thing):
            continue
        key = identity(thing)
        holding = found.get(key)
        if holding is None:
            nominal, resident = nominal_bytes(thing), resident_bytes(thing, pages)
            found[key] = _Holding(owner, owner, component, nominal, resident)
        elif holding.owner in (owner, _SHARED):
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
