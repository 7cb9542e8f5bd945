"""What old things come to hold of new ones, cycle by cycle.

Everything there is at the start is *old*, and held here, so that no later object comes to have the
address of an old one. At each mark, a walk sets out from every old thing that refers to a new one,
through new ones only. What leaks grows from the first of three marks to the second and again, as
much per cycle, to the third; what is only replaced, filled once or turned over does not.
"""

from __future__ import annotations

import array
import gc
import operator
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from memprof.instruments.graph import (
    LruCache,
    attributes,
    everything,
    identity,
    portions,
    referents,
    referents_of,
    type_name,
)
from memprof.instruments.source_lines import is_memprofs_work
from memprof.leak.held import Held

Key = tuple[int, str | None]
"""An old thing by its id, and the name under which it holds something; None for its entries."""

_FRAMES: dict[type, str] = {TracebackType: "traceback", FrameType: "frame"}
_HAS_REFERENTS = 1 << 14  # Py_TPFLAGS_HAVE_GC
_LARGE = 1 << 20

# The length of a container, and what an entry takes in its own table, over the times at which that
# is enlarged; a cache keeps its entries in a dict that is counted.
_CONTAINERS: dict[type, tuple[Callable[[Any], int], int]] = {
    list: (list.__len__, 8),
    dict: (dict.__len__, 40),
    set: (set.__len__, 32),
    deque: (deque.__len__, 8),
    bytearray: (bytearray.__len__, 1),
    array.array: (array.array.__len__, 0),  # which says it itself
    LruCache: (lambda cached: int(cached.cache_info().currsize), 0),
}


class RetainedObjects:
    """What is old, and what it holds of what is new.

    Arrays of a megabyte and more are known by a weak reference instead of being held, so that
    watching agents that replace theirs does not double their memory.
    """

    def __init__(self) -> None:
        things = [thing for thing in everything() if thing is not self]
        self._ids = {id(self), *map(id, things)}
        large = [t for t in things if issubclass(type(t), np.ndarray) and t.nbytes >= _LARGE]
        self._large = {id(thing): weakref.ref(thing) for thing in large}
        self._held = [thing for thing in things if id(thing) not in self._large]
        self._arrays = [t for t in _of(np.ndarray, self._held) if t.dtype.hasobject]
        holders = [thing for thing in self._held if type(thing).__flags__ & _HAS_REFERENTS]
        self._claimed: set[int] = set()
        self._holders = [(some, self._held_referents(some)) for some in portions(holders)]
        self._sized = [(kind, _of(kind, self._held)) for kind in _CONTAINERS]
        self._lengths = [list(map(_CONTAINERS[kind][0], sized)) for kind, sized in self._sized]
        self._own = self._ids_of_own()

    def mark(self) -> dict[Key, Held]:
        """What each old thing holds of what is new, each new thing under the one that is nearest;
        with the lines that allocated them where tracemalloc is at work."""
        for address, reference in self._large.items():
            if reference() is None:
                self._ids.discard(address)
        found: dict[Key, Held] = {}
        for thing, entry_bytes, gained in self._grown():
            found[id(thing), None] = Held(gained=gained, own_bytes=gained * entry_bytes)
        frontier: deque[tuple[Held, Any, str]] = deque()
        for holder in self._holders_of_new():
            has_length = issubclass(type(holder), tuple(_CONTAINERS))
            for slot, entry in self._entries(holder):
                new = [thing for thing in entry if self.is_new(thing)]
                if new:
                    same_length = 0 if has_length and slot is None else None
                    held = found.setdefault((id(holder), slot), Held(gained=same_length))
                    name = type_name(new[-1])
                    held.types[name] = held.types.get(name, 0) + 1
                    frontier.extend(_led(held, holder, new, ""))
        self._claim(frontier)
        return found

    def _ids_of_own(self) -> set[int]:
        """The containers in which all this is."""
        found: set[int] = set()
        fresh: list[Any] = [self.__dict__]
        while fresh:
            for thing in gc.get_referents(fresh.pop()):
                new = id(thing) not in found and self.is_new(thing)
                if new and type(thing) in (list, tuple, set, dict):
                    found.add(id(thing))
                    fresh.append(thing)
        return found

    def holders(self, keys: Iterable[Key]) -> dict[int, Any]:
        """The old things of some keys, by id."""
        wanted = {address for address, _ in keys}
        return {id(thing): thing for thing in self._held if id(thing) in wanted}

    def forget(self) -> None:
        """Let go of everything, but know what was there."""
        ids = self._ids
        self.__dict__.clear()
        self._ids = ids

    def _held_referents(self, things: list[Any]) -> list[Any]:
        return [t if id(t) not in self._large else None for t in gc.get_referents(*things)]

    def is_new(self, thing: Any) -> bool:
        """Whether it came since the start."""
        return id(thing) not in self._ids

    def led_to(self) -> set[int]:
        """What is old, or what something old led to at the last mark, by identity."""
        found = self._ids | self._own | self._claimed | {id(self._claimed)}
        found.add(id(found))
        return found

    def _grown(self) -> Iterator[tuple[Any, int, int]]:
        """Containers that are not as long as at the start: what an entry takes, and how many more
        there are."""
        for (kind, sized), before in zip(self._sized, self._lengths, strict=True):
            length, entry_bytes = _CONTAINERS[kind]
            for thing, now, then in zip(sized, map(length, sized), before, strict=True):
                if now != then:
                    yield thing, getattr(thing, "itemsize", entry_bytes), now - then

    def _holders_of_new(self) -> Iterator[Any]:
        # Addresses are objects themselves, which tracemalloc would follow one by one, so most of
        # the graph is compared with what it was like.
        candidates = list(self._arrays)
        for holders, before in self._holders:
            now = gc.get_referents(*holders)
            if len(now) != len(before) or not all(map(operator.is_, now, before)):
                candidates += holders
        for thing in candidates:
            if not self._ids.issuperset(map(id, referents_of([thing]))):
                yield thing

    def _entries(self, holder: Any) -> Iterator[tuple[str | None, tuple[Any, ...]]]:
        """What a thing refers to itself, entry by entry, under the name it has had there."""
        if issubclass(type(holder), dict):
            for key, value in dict.items(holder):
                named = isinstance(key, str) and not self.is_new(key)
                yield (key if named else None), (key, value)
            return
        for name, value in attributes(holder).items():
            yield name, (value,)
        for thing in referents_of([holder]):
            yield None, (thing,)

    def _claim(self, frontier: deque[tuple[Held, Any, str]]) -> None:
        """Count every new thing once, under the holder from which it is reached in fewest steps."""
        self._claimed = set()
        while frontier:
            held, thing, behind = frontier.popleft()
            key = identity(thing)
            if key in self._claimed or not self.is_new(thing) or _leads_astray(thing):
                continue
            self._claimed.add(key)
            size = held.count(thing)
            behind = behind or _FRAMES.get(type(thing), "")
            if behind:
                held.behind[behind] = held.behind.get(behind, 0) + size
            frontier.extend(_led(held, thing, referents(thing), behind))


def _led(
    held: Held, thing: Any, others: Iterable[Any], behind: str
) -> Iterator[tuple[Held, Any, str]]:
    """What a thing leads to; `behind` the traceback of which exception, once there was one."""
    if not issubclass(type(thing), BaseException):
        return ((held, other, behind) for other in others)
    raised = type_name(thing)
    return ((held, other, raised if type(other) is TracebackType else behind) for other in others)


def _leads_astray(thing: Any) -> bool:
    """Whether what is behind a thing is not held by it, or by memprof's own work only: a kept
    exception has the frames of its callers, up to those that watch it."""
    if type(thing) is FrameType:
        return is_memprofs_work(thing.f_code.co_filename)
    return type(thing) in weakref.ProxyTypes


def _of(kind: type, things: Iterable[Any]) -> list[Any]:
    return [thing for thing in things if issubclass(type(thing), kind)]
