"""Instrument `pympler`: sizes and types of a population's Python objects; what is in the arrays of
agents, and which attributes hold more after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from pympler import asizeof, summary

from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls, live
from memprof.instruments.graph import attributes, is_device_array, nominal_bytes, reachable
from memprof.populations import EACH, WORKING_SET, Population
from memprof.stats.growth import is_steady
from memprof.values.instruments import ContentRow, Details, GainRow, TypeRow
from memprof.values.population import PopulationSpec

Leaves = list[Any]
"""Arrays and single values, in order."""

_MOST_TYPES = 12
# So many agents are looked at; for their arrays fewer, but two, where they have more arrays or
# bytes than this.
_MOST_AGENTS, _MOST_ARRAYS, _MOST_BYTES = 20, 200_000, 2**30
_CHUNK_BYTES = 2**20
_ATOMS = (type(None), bool, int, float, complex, str)
# Steps between two marks of what attributes hold: as many as agents live in about this time.
_FEWEST_STEPS, _MOST_STEPS = 2, 16
_RECORDS = ("records", WORKING_SET)


class ObjectGraph(DirectCalls):
    """`asizeof` over everything the population holds, each object once."""

    def read(self, population: Population) -> int:
        return int(asizeof.asizeof(*_roots(population)))  # type: ignore[no-untyped-call]

    def details(self, population: Population, spec: PopulationSpec) -> Details:
        rows = summary.summarize(reachable(_roots(population)))  # type: ignore[no-untyped-call]
        rows.sort(key=lambda row: row[2], reverse=True)
        return Details(
            types=tuple(TypeRow(name, count, size) for name, count, size in rows[:_MOST_TYPES]),
            contents=contents(population.holdings(), len(population)),
            # The last, since the agents live on for it.
            gains=gains(population, spec.steps, spec.effort.gain_seconds),
        )


def _roots(population: Population) -> list[Any]:
    return [thing for _, _, thing in population.holdings() if thing is not None]


def contents(holdings: Iterable[tuple[int, str, Any]], agents: int) -> tuple[ContentRow, ...]:
    """A row for each component that is made of arrays, in lists, tuples, dicts or object arrays;
    from (owner, component, object) triples, as a population gives them.

    Agents are compared with the first, bit by bit. JAX arrays with a row per agent are fetched, a
    row for each agent that is compared.
    """
    single: dict[str, dict[int, list[Any]]] = {}
    batched: dict[str, list[Any]] = {}
    for owner, component, root in holdings:
        if owner == EACH:
            batched.setdefault(component, []).append(root)
        elif owner >= 0:
            single.setdefault(component, {}).setdefault(owner, []).append(root)
    rows = [_of_agents(name, list(each.values())) for name, each in single.items()]
    rows += [_of_batch(name, roots, agents) for name, roots in batched.items()]
    return tuple(row for row in rows if row is not None)


def _of_agents(component: str, roots: Sequence[list[Any]]) -> ContentRow | None:
    first = _leaves(roots[0])
    arrays = _arrays(first or [])
    if first is None or not arrays:
        return None
    number_bytes = sum(array.nbytes for array in arrays)
    few = min(_MOST_AGENTS, _MOST_ARRAYS // len(arrays), _MOST_BYTES // max(1, number_bytes))
    others = [_leaves(each) for each in roots[1 : max(2, few)]]
    return ContentRow(
        component,
        *_compared(first, others),
        agent_bytes=sum(map(nominal_bytes, reachable(roots[0]))),
        number_bytes=number_bytes,
        zeros=_zeros(first, others),
        pinned_bytes=_pinned_bytes(arrays),
    )


def _pinned_bytes(arrays: Sequence[np.ndarray]) -> int:
    """Bytes of the arrays that these are views of, beyond what they show of them."""
    shown: Counter[int] = Counter()
    whole: dict[int, int] = {}
    for array in arrays:
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        whole[id(base)] = base.nbytes
        shown[id(base)] += array.nbytes
    return sum(max(0, size - shown[key]) for key, size in whole.items())


def _of_batch(component: str, roots: list[Any], agents: int) -> ContentRow | None:
    found = _leaves(roots) or []
    whole = [each for each in found if is_device_array(each) and each.shape[:1] == (agents,)]
    each_bytes = sum(array.nbytes for array in whole) // agents
    if not each_bytes:
        return None
    few = max(2, min(_MOST_AGENTS, _MOST_BYTES // each_bytes))
    fetched = [np.asarray(array[:few]) for array in whole]
    first, *others = [[array[row] for array in fetched] for row in range(min(few, agents))]
    compared, alike, _ = _compared(first, others)
    # A batch has a row for every agent, whatever is in it.
    zeros = _zeros(first, others)
    return ContentRow(component, compared, alike, alike - 1, each_bytes, each_bytes, zeros)


def _leaves(roots: Sequence[Any]) -> Leaves | None:
    """What the roots are made of, each array once; None where that is more than plain data."""
    found: Leaves = []
    seen: set[int] = set()
    stack = [*reversed(roots)]
    while stack:
        thing = stack.pop()
        if isinstance(thing, np.ndarray) and thing.dtype.hasobject:
            stack.extend(reversed(thing.ravel(order="K").tolist()))
        elif isinstance(thing, list | tuple):
            stack.extend(reversed(thing))
        elif isinstance(thing, dict):
            stack.extend(reversed([*thing.keys(), *thing.values()]))
        elif isinstance(thing, np.ndarray) or is_device_array(thing):
            if id(thing) not in seen:
                found.append(thing)
            seen.add(id(thing))
        elif isinstance(thing, (*_ATOMS, np.generic)):
            found.append(thing)
        else:
            return None
    return found


def _arrays(leaves: Leaves) -> list[np.ndarray]:
    return [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]


def _compared(first: Leaves, others: Sequence[Leaves | None]) -> tuple[int, int, int]:
    """How many were compared, are alike, and are copies; as in `ContentRow`."""
    alike = [other for other in others if other is not None and _is_same(first, other)]
    copies = sum(not all(map(_is_one, first, other)) for other in alike)
    return 1 + len(others), 1 + len(alike), copies


def _is_same(left: Leaves, right: Leaves) -> bool:
    return len(left) == len(right) and all(map(_is_equal, left, right))


def _is_equal(left: Any, right: Any) -> bool:
    if not isinstance(left, np.ndarray):
        return type(left) is type(right) and bool(left == right)
    if not isinstance(right, np.ndarray):
        return False
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if _is_one(left, right):
        return True
    if not (left.flags.c_contiguous and right.flags.c_contiguous):
        return left.tobytes() == right.tobytes()
    flat, other = (array.reshape(-1).view(np.uint8) for array in (left, right))
    return all(
        np.array_equal(flat[start : start + _CHUNK_BYTES], other[start : start + _CHUNK_BYTES])
        for start in range(0, len(flat), _CHUNK_BYTES)
    )


def _is_one(left: Any, right: Any) -> bool:
    """Whether two equal leaves are in the same memory; single values are in none worth counting."""
    if not isinstance(left, np.ndarray) or not left.nbytes:
        return True
    return bool(left.ctypes.data == right.ctypes.data and left.strides == right.strides)


def _zeros(first: Leaves, others: Sequence[Leaves | None]) -> float | None:
    """Share of zeros among all numbers."""
    numbers = zeros = 0
    known: dict[tuple[int, int], int] = {}
    for leaf in _arrays([each for leaves in (first, *others) for each in leaves or []]):
        if leaf.dtype.kind in "biufc":
            place = leaf.ctypes.data, leaf.size  # shared arrays are counted again, not read again
            if place not in known:
                known[place] = leaf.size - int(np.count_nonzero(leaf))
            numbers, zeros = numbers + leaf.size, zeros + known[place]
    return zeros / numbers if numbers else None


def gains(population: Population, lived: int, seconds: float) -> tuple[GainRow, ...]:
    """Attributes that gain as much per step between the first two of three marks as between the
    last two, largest first, while some agents live on from the step `lived`, for about so many
    seconds from mark to mark.

    An object that several attributes lead to is the first one's. Agents of one batch (JAX) have no
    attributes of their own that could grow, and agents that end earlier are not watched.
    """
    agents = range(min(_MOST_AGENTS, len(population)))
    if not _held(population, agents):
        return ()
    try:
        start = perf_counter()
        live(population, agents, range(lived, lived + 1))
        each = perf_counter() - start
        steps = max(_FEWEST_STEPS, min(_MOST_STEPS, int(seconds / max(each, 1e-9))))
        marks = [_held(population, agents)]
        for first in (lived + 1, lived + 1 + steps):
            live(population, agents, range(first, first + steps))
            marks.append(_held(population, agents))
    except (MemoryError, ScenarioError):
        return ()  # the scenario did not ask for so many steps
    one, two, three = marks
    rows = [
        GainRow(name, (three[name] - one[name]) / (2 * steps * len(agents)), len(agents), 2 * steps)
        for name in three
        if is_steady(two[name] - one[name], three[name] - two[name])
    ]
    return tuple(sorted(rows, key=lambda row: row.bytes_per_step, reverse=True))


def _held(population: Population, agents: range) -> Counter[str]:
    """Nominal bytes behind each attribute, over the agents."""
    named = list(_named(population, agents))
    seen: dict[int, Any] = {id(agent): agent for agent, _, _ in named}
    held: Counter[str] = Counter()
    for _, name, value in named:
        held[name] += sum(map(nominal_bytes, reachable([value], seen)))
    return held


def _named(population: Population, agents: range) -> Iterator[tuple[Any, str, Any]]:
    """What agents hold under a name, as (agent, name, value)."""
    for owner, component, root in population.holdings():
        if owner not in agents:
            continue
        if component in _RECORDS:
            yield None, component, root
        elif component == "other agent objects":
            for name, value in attributes(root).items():
                yield root, f"{type(root).__qualname__}.{name}", value
