"""What is in the arrays of agents: which are alike, how much of them is zeros."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from memprof.instruments.held import reachable
from memprof.instruments.memory import fetched, is_device_array, nominal_bytes
from memprof.populations import EACH
from memprof.values.instruments import ContentRow

Leaves = list[Any]
"""Arrays and single values, in order."""

# So many agents are looked at; for their arrays fewer, but two, where they have more arrays or
# bytes than this.
_MOST_AGENTS, _MOST_ARRAYS, _MOST_BYTES = 20, 200_000, 2**30
_CHUNK_BYTES = 2**20
_ATOMS = (type(None), bool, int, float, complex, str)


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
            known = single.get(component)
            if known is None:
                known = single[component] = {}
            if owner in known:
                known[owner].append(root)
            elif len(known) < _MOST_AGENTS:
                known[owner] = [root]
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
    found = [each for each in _leaves(roots) or [] if is_device_array(each)]
    whole = [each for each in found if each.shape[:1] == (agents,) and not each.is_deleted()]
    each_bytes = sum(array.nbytes for array in whole) // agents
    if not each_bytes:
        return None
    few = max(2, min(_MOST_AGENTS, _MOST_BYTES // each_bytes))
    rows = [fetched(array, 0, few) for array in whole]
    first, *others = [[array[row] for array in rows] for row in range(min(few, agents))]
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
