"""What somebody holds, and what is held more at a later time: bytes, things, lines and types."""

from __future__ import annotations

import ctypes
import sys
import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeVar

from memprof.instruments.memory import Buffer, nominal_bytes
from memprof.instruments.source_lines import Place, place_of

T = TypeVar("T")

_MANAGED_DICT = 1 << 4  # Py_TPFLAGS_MANAGED_DICT


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
