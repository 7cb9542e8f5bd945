"""The object graph, watched over cycles: what old things come to hold of new ones.

Everything there is at the start is *old*, and held here, so that no later object comes to have the
address of an old one. At each mark, a walk sets out from every old thing that refers to a new one,
through new ones only.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import functools
import gc
import operator
import sys
import tracemalloc
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import numpy as np

from memprof.instruments.traced import place_of
from memprof.instruments.walker import DeviceBuffer, is_device_array, nominal_bytes, referents
from memprof.leak.retention import Held

Key = tuple[int, str | None]
"""An old thing by its id, and the name under which it holds something; None for its entries."""

_HAS_REFERENTS = 1 << 14  # Py_TPFLAGS_HAVE_GC
_MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT
_CHUNK = 500
_OWN_MODULES = tuple(f"memprof.{room}" for room in ("stats", "instruments", "worker", "leak"))
_LARGE = 1 << 20

LruCache = type(functools.lru_cache(lambda: None))
_LENGTHS: dict[type, Callable[[Any], int]] = {
    list: list.__len__,
    dict: dict.__len__,
    set: set.__len__,
    deque: deque.__len__,
    bytearray: bytearray.__len__,
    array.array: array.array.__len__,
    LruCache: lambda cached: int(cached.cache_info().currsize),
}
# What an entry takes in a container's own table, over the times at which that is enlarged; a cache
# keeps its entries in a dict that is counted.
_ENTRY_BYTES = {list: 8, dict: 40, set: 32, deque: 8, bytearray: 1, LruCache: 0}


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
        self._holders = [(some, self._held_referents(some)) for some in chunks(holders)]
        self._sized = [(kind, _of(kind, self._held)) for kind in _LENGTHS]
        self._lengths = [list(map(_LENGTHS[kind], sized)) for kind, sized in self._sized]

    def mark(self) -> dict[Key, Held]:
        """What each old thing holds of what is new, each new thing under the one that is nearest;
        with the lines that allocated them where tracemalloc is at work."""
        for address, reference in self._large.items():
            if reference() is None:
                self._ids.discard(address)
        found: dict[Key, Held] = {}
        for thing, entry_bytes, gained in self._grown():
            found[id(thing), None] = Held(gained=gained, own_bytes=gained * entry_bytes)
        frontier: deque[tuple[Held, Any]] = deque()
        for holder in self._holders_of_new():
            has_length = issubclass(type(holder), tuple(_LENGTHS))
            for slot, entry in self._entries(holder):
                new = [thing for thing in entry if self._is_new(thing)]
                if new:
                    same_length = 0 if has_length and slot is None else None
                    held = found.setdefault((id(holder), slot), Held(gained=same_length))
                    held.entries += 1
                    held.types[type_name(new[-1])] += 1
                    frontier.extend((held, thing) for thing in new)
        self._claim(frontier)
        return found

    def holders(self, keys: Iterable[Key]) -> dict[int, Any]:
        """The old things of some keys, by id."""
        wanted = {address for address, _ in keys}
        return {id(thing): thing for thing in self._held if id(thing) in wanted}

    def forget(self) -> None:
        """Let go of everything."""
        self.__dict__.clear()

    def _held_referents(self, things: list[Any]) -> list[Any]:
        return [t if id(t) not in self._large else None for t in gc.get_referents(*things)]

    def _is_new(self, thing: Any) -> bool:
        return id(thing) not in self._ids

    def _grown(self) -> Iterator[tuple[Any, int, int]]:
        """Containers that are not as long as at the start: what an entry takes, and how many more
        there are."""
        for (kind, sized), before in zip(self._sized, self._lengths, strict=True):
            lengths = map(_LENGTHS[kind], sized)
            for thing, now, then in zip(sized, lengths, before, strict=True):
                if now != then:
                    size = thing.itemsize if kind is array.array else _ENTRY_BYTES[kind]
                    yield thing, size, now - then

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
                named = isinstance(key, str) and not self._is_new(key)
                yield (key if named else None), (key, value)
            return
        for name, value in named_attributes(holder).items():
            yield name, (value,)
        for thing in referents_of([holder]):
            yield None, (thing,)

    def _claim(self, frontier: deque[tuple[Held, Any]]) -> None:
        """Count every new thing once, under the holder from which it is reached in fewest steps."""
        claimed: set[int] = set()
        traced = tracemalloc.is_tracing()
        while frontier:
            held, thing = frontier.popleft()
            key = -thing.address if isinstance(thing, DeviceBuffer) else id(thing)
            if key in claimed or not self._is_new(thing) or _leads_astray(thing):
                continue
            claimed.add(key)
            size = nominal_bytes(thing)
            held.size_bytes += size
            held.things += not isinstance(thing, DeviceBuffer)
            traceback = _traceback(thing) if traced else None
            if traceback is not None:
                held.lines[place_of(traceback)] += size
            frontier.extend((held, other) for other in referents(thing))


def everything() -> list[Any]:
    """All objects that can be reached: those the collector knows, and what they refer to.

    No comprehension may refer to `found` here: the cell that makes would be among the objects, and
    lead to all of them.
    """
    found = {id(thing): thing for thing in gc.get_objects()}
    fresh = list(found.values())
    while fresh:
        more: dict[int, Any] = {}
        for chunk in chunks(fresh):
            things = referents_of(chunk)
            more.update(zip(map(id, things), things, strict=True))
        for key in more.keys() & found.keys():
            del more[key]
        found.update(more)
        fresh = list(more.values())
    return list(found.values())


def type_name(thing: Any) -> str:
    """The type's module and name; without the module for Python's own."""
    kind = type(thing)
    inner = kind.__module__ in ("builtins", "numpy")
    return kind.__qualname__ if inner else f"{kind.__module__}.{kind.__qualname__}"


def referents_of(things: list[Any]) -> list[Any]:
    """What the things refer to, as fast as may be."""
    found = gc.get_referents(*things)
    for thing in things:
        if issubclass(type(thing), np.ndarray):
            found.extend(referents(thing))
    return found


def named_attributes(thing: Any) -> dict[str, Any]:
    """An instance's attributes by name, those in slots included."""
    if issubclass(type(thing), type | LruCache) or is_device_array(thing):
        return {}
    found: dict[str, Any] = {}
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            member: Any = kind.__dict__.get(name)
            if type(member) is _SLOT:
                with contextlib.suppress(AttributeError):  # it is empty
                    found[name] = member.__get__(thing)
    return {**found, **own_attributes(thing)}


def own_attributes(thing: Any) -> dict[str, Any]:
    """The instance's `__dict__` itself; an empty one where there is none."""
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}


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
        return str(thing.f_globals.get("__name__", "")).startswith(_OWN_MODULES)
    return type(thing) in weakref.ProxyTypes


class _Slotted:
    __slots__ = ("slot",)


_SLOT = type(_Slotted.__dict__["slot"])


def _of(kind: type, things: Iterable[Any]) -> list[Any]:
    return [thing for thing in things if issubclass(type(thing), kind)]


def chunks(things: list[Any]) -> Iterator[list[Any]]:
    """The things in portions of which all referents fit into memory."""
    for start in range(0, len(things), _CHUNK):
        yield things[start : start + _CHUNK]
