"""Things that nothing leads to any more, that keep each other alive, and that Python's collector
does not free.

The collector takes the references that it can see from what is referred to, and frees what nothing
else refers to. Here the same is done with the references that it cannot see, such as those in
NumPy's object arrays: what then has no other reference is garbage that stays for ever. If the
collector can see all of them, it has come since the collection, from finalizers.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np

from memprof.instruments.graph import (
    attributes,
    has_finalizer,
    identity,
    namespace,
    referents,
    type_name,
)
from memprof.instruments.source_lines import Place
from memprof.leak.held import Held, made_at
from memprof.leak.owners import Owner, find_name, titled

_PLAIN = (list, tuple, dict, set, frozenset, deque, CellType, np.ndarray)
_MOST_STARTS = 20

Edges = Mapping[int, list[int]]


@dataclass(frozen=True, slots=True)
class Ring:
    """Things that refer to each other in a circle.

    Attributes:
        way: from one to the next and back to the first: `Grid.cells`, `Walker.grid`, `Grid`.
        through: what kind of thing on the way the collector cannot see into; empty where it sees
            all.
        made: the line that made that thing.
        finalizer: where it sees all, the class of one of them that has `__del__`.
    """

    way: tuple[str, ...]
    through: str
    made: Place | None
    finalizer: str

    @property
    def owner(self) -> Owner:
        """Whoever leads to what the collector cannot see into, or makes new garbage."""
        if self.through:
            return Owner(self.way[0], self.way[::-1], self)
        return Owner(f"{self.finalizer}.__del__", (), self)


class Rings:
    """Finds rings among things that came since the start and that nothing from before leads to."""

    def __init__(self) -> None:
        self._known: dict[tuple[type, ...], Ring] = {}
        self._made: set[int] = set()

    def mark(self, led_to: Set[int]) -> dict[Ring, Held]:
        """What there is of each kind of ring, with all that only it leads to. Left out is what
        something from before has `led_to`, by identity."""
        things = _unheld(_adrift(led_to))
        edges = {key: [k for k in _keys(thing) if k in things] for key, thing in things.items()}
        found: dict[Ring, Held] = {}
        claimed: set[int] = set()
        for part in reversed([*_circles(edges)]):  # those come first that lead to others
            way = _way({key: things[key] for key in part}, edges)
            if not way or part[0] in claimed:
                continue
            ring = self._ring(way)
            held = found.setdefault(ring, Held())
            held.types[ring.way[-1]] = held.entries + 1
            for key in _reached(part, edges, claimed):
                if key not in self._made:
                    held.count(things[key])
        return found

    def _ring(self, way: list[Any]) -> Ring:
        """Only the first of a kind is asked for its attributes, which may make a dict of them."""
        kinds = tuple(kind for kind in map(type, way) if kind is not dict)
        if kinds not in self._known:
            blind = any(True for _ in _unseen(way[0]))
            self._known[kinds] = Ring(
                _named(way),
                _kind(way[0]) if blind else "",
                made_at(way[0]) if blind else None,
                "" if blind else titled(type(way[0])),
            )
            self._made.update(id(namespace(thing)) for thing in way)
        return self._known[kinds]


def _adrift(led_to: Set[int]) -> dict[int, Any]:
    """Everything else, by identity: what the collector knows, and what that leads to."""
    found = {id(thing): thing for thing in gc.get_objects() if id(thing) not in led_to}
    fresh = deque(found.values())
    while fresh:
        for thing in referents(fresh.popleft()):
            key = identity(thing)
            if key not in found and key not in led_to:
                found[key] = thing
                fresh.append(thing)
    return found


def _unheld(things: dict[int, Any]) -> dict[int, Any]:
    """Those of the things that no reference from elsewhere keeps: not a running function's, and not
    one of native code."""
    mine = next(map(sys.getrefcount, {0: object()}.values()))
    beyond = dict(zip(things, map(sys.getrefcount, things.values()), strict=True))
    for thing in things.values():
        for key in _keys(thing):
            if key in beyond:
                beyond[key] -= 1
    held = {key for key, count in beyond.items() if count > mine}
    waiting = [*held]
    while waiting:
        for key in _keys(things[waiting.pop()]):
            if key in things and key not in held:
                held.add(key)
                waiting.append(key)
    return {key: thing for key, thing in things.items() if key not in held}


def _keys(thing: Any) -> Iterator[int]:
    """What a thing refers to, as often as it does, by identity."""
    return map(identity, referents(thing))


def _circles(edges: Edges) -> Iterator[list[int]]:
    """Groups in which each leads to each (Tarjan 1972), no group before one that it leads to."""
    numbers: dict[int, int] = {}
    lowest: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    for root in edges:
        if root in numbers:
            continue
        waiting = [(root, iter(edges[root]))]
        numbers[root] = lowest[root] = len(numbers)
        path.append(root)
        on_path.add(root)
        while waiting:
            key, others = waiting[-1]
            for other in others:
                if other not in numbers:
                    numbers[other] = lowest[other] = len(numbers)
                    path.append(other)
                    on_path.add(other)
                    waiting.append((other, iter(edges[other])))
                    break
                if other in on_path:
                    lowest[key] = min(lowest[key], numbers[other])
            else:
                waiting.pop()
                if waiting:
                    above = waiting[-1][0]
                    lowest[above] = min(lowest[above], lowest[key])
                if lowest[key] == numbers[key]:
                    group = [path.pop()]
                    while group[-1] != key:
                        group.append(path.pop())
                    on_path.difference_update(group)
                    if len(group) > 1 or key in edges[key]:
                        yield group


def _reached(part: Iterable[int], edges: Edges, claimed: set[int]) -> Iterator[int]:
    """What nobody has claimed yet of what the part leads to."""
    waiting = [*part]
    while waiting:
        key = waiting.pop()
        if key not in claimed:
            claimed.add(key)
            yield key
            waiting += edges[key]


def _way(things: Mapping[int, Any], edges: Edges) -> list[Any]:
    """The shortest circle in a group, from something on that the collector cannot see into, or else
    from something that has a finalizer; none if there is nothing of either kind."""
    unseen = {key: set(_unseen(thing)) & things.keys() for key, thing in things.items()}
    starts = [key for key in things if unseen[key]]
    starts = starts or [key for key, thing in things.items() if has_finalizer(type(thing))]
    ways = [
        [things[key] for key in _way_back(start, things.keys(), edges, unseen[start])]
        for start in starts[:_MOST_STARTS]
    ]
    return min(ways, key=lambda way: (len(way), *map(type_name, way)), default=[])


def _kind(thing: Any) -> str:
    return "NumPy object array" if issubclass(type(thing), np.ndarray) else type_name(thing)


def _unseen(thing: Any) -> Iterator[int]:
    """What a thing refers to that the collector does not know of."""
    seen = {*map(identity, gc.get_referents(thing))}
    return (key for key in _keys(thing) if key not in seen)


def _way_back(start: int, inside: Container[int], edges: Edges, first: set[int]) -> list[int]:
    """The shortest way from the start back to it, by one of the first steps if there are any."""
    before = dict.fromkeys(sorted(first) or edges[start], start)
    waiting = deque(before)
    while waiting and start not in before:
        key = waiting.popleft()
        for other in edges[key]:
            if other in inside and other not in before:
                before[other] = key
                waiting.append(other)
    way = [before[start]]
    while way[-1] != start:
        way.append(before[way[-1]])
    return way[::-1]


def _named(way: list[Any]) -> tuple[str, ...]:
    """The attributes by which each leads to the next, from whoever has the first of them; plain
    containers have none."""
    speaking = [place for place, thing in enumerate(way) if not issubclass(type(thing), _PLAIN)]
    if not speaking:
        return tuple(type_name(thing) for thing in [*way, way[0]])
    turn = speaking[-1]  # the nearest that leads to the start
    way = [*way[turn:], *way[:turn], way[turn]]
    names = []
    for place, thing in enumerate(way):
        if not issubclass(type(thing), _PLAIN):
            names.append(_name(thing, way[place + 1 :]))
    return tuple(names)


def _name(thing: Any, following: list[Any]) -> str:
    """A thing, with the name that it has for what follows, if anything does."""
    kind = type(thing)
    if issubclass(kind, FunctionType | MethodType):
        return f"{kind.__name__} {thing.__qualname__}"
    if issubclass(kind, type):
        return f"class {thing.__qualname__}"
    name = find_name(attributes(thing), following, None)
    return f"{titled(kind)}.{name}" if name else titled(kind)
