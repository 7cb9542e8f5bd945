"""What old things come to hold of new ones, cycle by cycle, and what of it they gain.

Everything there is at the start is *old*, and held here, so that no later object comes to have the
address of an old one. At each mark, a walk sets out from every old thing that refers to a new one,
through new ones only. What leaks grows from the first of three marks to the second and again, as
much per cycle, to the third; what is only replaced, filled once or turned over does not.
"""

from __future__ import annotations

import array
import ctypes
import gc
import operator
import sys
import tracemalloc
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from types import FrameType, TracebackType
from typing import Any, TypeVar

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
from memprof.instruments.memory import Buffer, nominal_bytes
from memprof.instruments.source_lines import Place, is_memprofs_work, place_of

T = TypeVar("T")

Key = tuple[int, str | None]
"""An old thing by its id, and the name under which it holds something; None for its entries."""


@dataclass(slots=True)
class Held:
    """What an old thing holds, at one mark, of what came since the start; or what it holds more at
    a later one.

    Attributes:
        things_bytes: of all that it alone, or it first, leads to.
        things: how many these are.
        own_bytes: what it takes itself for them, as a container.
        lines: bytes of the things by the line that allocated them.
        types: its own entries by type.
        behind: bytes of what only frames lead to, by the type of the exception that has them in its
            traceback; by "traceback" or "frame" where that itself is kept.
        gained: entries that it has more than at the start, old ones as well; None for what has no
            length, and under a name that stays.
    """

    things_bytes: float = 0.0
    things: float = 0.0
    own_bytes: float = 0.0
    lines: dict[Place, float] = field(default_factory=dict)
    types: dict[str, float] = field(default_factory=dict)
    gained: int | None = None
    behind: dict[str, float] = field(default_factory=dict)

    @property
    def size_bytes(self) -> float:
        return self.things_bytes + self.own_bytes

    @property
    def entries(self) -> float:
        return sum(self.types.values())

    @property
    def replaced(self) -> float:
        """Entries that took the place of old ones; unknown, and so 0, for what is no container."""
        return 0 if self.gained is None else max(0, self.entries - max(0, self.gained))

    def plus(self, other: Held, factor: float = 1.0) -> Held:
        """With the other, so many times."""
        return Held(
            self.things_bytes + factor * other.things_bytes,
            self.things + factor * other.things,
            self.own_bytes + factor * other.own_bytes,
            _plus(self.lines, other.lines, factor),
            _plus(self.types, other.types, factor),
            behind=_plus(self.behind, other.behind, factor),
        )

    def count(self, thing: Any) -> int:
        """One thing more, with the line that allocated it if tracemalloc is at work; its size."""
        size = nominal_bytes(thing)
        self.things_bytes += size
        self.things += not isinstance(thing, Buffer)
        place = made_at(thing)
        if place is not None:
            self.lines[place] = self.lines.get(place, 0) + size
        return size


def _plus(one: dict[T, float], other: dict[T, float], factor: float) -> dict[T, float]:
    return {key: one.get(key, 0.0) + factor * other.get(key, 0.0) for key in {**one, **other}}


def gain(before: Held, after: Held) -> Held:
    """What is held more at the later mark.

    Entries of a full cache take the place of older ones. They count as new things, so what they
    replaced is taken off: as many entries of mean size.
    """
    found = after.plus(before, -1)
    found.lines = {line: size for line, size in found.lines.items() if line in after.lines}
    replaced, own_bytes, kept = after.replaced - before.replaced, found.own_bytes, 1.0
    if replaced > 0 and found.things_bytes > 0:
        typical = before if before.entries else after
        each_bytes = typical.things_bytes / typical.entries
        kept = max(0.0, 1 - replaced * each_bytes / found.things_bytes)
    found.own_bytes = 0.0
    return Held(own_bytes=own_bytes).plus(found, kept)


def total(gains: Iterable[Held]) -> Held:
    """All gains as one."""
    return reduce(Held.plus, gains, Held())


_FRAMES: dict[type, str] = {TracebackType: "traceback", FrameType: "frame"}
_HAS_REFERENTS = 1 << 14  # Py_TPFLAGS_HAVE_GC
_MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT
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


def made_at(thing: Any) -> Place | None:
    """The line that allocated a thing, if tracemalloc was at work."""
    traceback = _traceback(thing) if tracemalloc.is_tracing() else None
    return None if traceback is None else place_of(traceback)


def _traceback(thing: Any) -> tracemalloc.Traceback | None:
    """Where a thing was allocated.

    CPython 3.11 forgets that an instance with attributes begins with two pointers to them, before
    its header, and finds nothing under its address.
    """
    found = tracemalloc.get_object_traceback(thing)
    if found is None and sys.version_info < (3, 12) and type(thing).__flags__ & _MANAGED_DICT:
        traced_at = ctypes.pythonapi._PyTraceMalloc_GetTraceback
        traced_at.argtypes, traced_at.restype = [ctypes.c_uint, ctypes.c_size_t], ctypes.py_object
        frames = traced_at(0, id(thing) - 4 * ctypes.sizeof(ctypes.c_void_p))
        found = None if frames is None else tracemalloc.Traceback(frames)
    return found


def _leads_astray(thing: Any) -> bool:
    """Whether what is behind a thing is not held by it, or by memprof's own work only: a kept
    exception has the frames of its callers, up to those that watch it."""
    if type(thing) is FrameType:
        return is_memprofs_work(thing.f_code.co_filename)
    return type(thing) in weakref.ProxyTypes


def _of(kind: type, things: Iterable[Any]) -> list[Any]:
    return [thing for thing in things if issubclass(type(thing), kind)]
