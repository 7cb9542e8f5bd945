"""What grows steadily, told by three marks: owners with what they hold, rings, and lines.

These overlap: what an owner or a ring accounts for is not told again as a line's.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from memprof.instruments.source_lines import PACKAGE, Place, is_memprofs_work
from memprof.leak.causes import interned_names
from memprof.leak.held import Held, gain, total
from memprof.leak.owners import NOBODY, Owner, Owners
from memprof.leak.retained import Key, RetainedObjects
from memprof.leak.rings import Ring
from memprof.stats.growth import is_steady
from memprof.values.leak import Evidence, is_memprofs_own

T = TypeVar("T")

# With less than this left over of all that lines gain, what is left over is no site: an object's
# parts that the object graph does not show.
_LEFT_OVER = 0.1
# Growth of the heap that the others leave over has to be this much to be looked for with memray.
_NATIVE_BYTES, _NATIVE_SHARE = 64.0, 0.1
# What malloc may take for a block beyond what was asked for.
_OVERHEAD_BYTES = 24

Marks = list[dict[T, Held]]
"""What was there after a third, two thirds and all of the cycles, by what or where it is."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What grew steadily, per cycle."""

    gain: Held
    seen_by: Evidence
    owner: Owner = NOBODY
    traces: float | None = None


def thirds(cycles: int) -> tuple[int, int, int]:
    return cycles // 3, 2 * cycles // 3 - cycles // 3, cycles - 2 * cycles // 3


def line_growth(marks: Marks[Place], cycles: int) -> dict[Place, Held]:
    """What each line gains per cycle, where it gains steadily."""
    found = {place: _steady([gains], cycles) for place, gains in _gains(marks).items()}
    return {place: each for place, each in found.items() if each is not None}


def held_growth(
    marks: Marks[Key], objects: RetainedObjects, population: object, cycles: int
) -> Iterator[Growth]:
    """Owners that hold more and more, each with all that is held under its name."""
    gains = _gains(marks)
    holders = objects.holders(gains)
    objects.forget()
    gc.collect()
    owners = Owners(population, (holders,)).of(gains, holders)
    by_name: dict[str, list[Key]] = {}
    for key, owner in owners.items():
        by_name.setdefault(owner.name, []).append(key)
    for name, keys in by_name.items():
        found = _steady([gains[key] for key in keys], cycles)
        if found is not None and not _is_memprofs_work(name):
            yield Growth(found, "object graph", owners[keys[0]])


def ring_growth(marks: Marks[Ring], cycles: int) -> Iterator[Growth]:
    """What keeps itself alive, ever more of it."""
    for ring, gains in _gains(marks).items():
        found = _steady([gains], cycles)
        if found is not None:
            yield Growth(found, "object graph", ring.owner)


def names_per_cycle(marks: list[int], cycles: int) -> float:
    """How many more strings are interned per cycle; 0 where it is not steadily more."""
    _, second, third = thirds(cycles)
    early, late = marks[1] - marks[0], marks[2] - marks[1]
    return (early + late) / (second + third) if is_steady(early / second, late / third) else 0.0


def name_growth(held: Iterable[Growth], lines: Mapping[Place, Held], names: float) -> list[Growth]:
    """The lines that make the names which Python interns, where these stay for ever."""
    owned = total(growth.gain for growth in held).lines
    return [
        Growth(each, "tracemalloc")
        for place, each in lines.items()
        if place not in owned and interned_names(sys.version_info[:3], names, each)
    ]


def completed(held: list[Growth], lines: Mapping[Place, Held], room: float) -> list[Growth]:
    """Owners with what the lines of their things gain beyond the sizes that the things give: an
    instance does not count the values of its attributes. Together no more than `room`."""
    owned = total(growth.gain for growth in held).lines
    extras = []
    for growth in held:
        mine = {p: size for p, size in growth.gain.lines.items() if size > 0 and p in lines}
        more = {p: max(0.0, lines[p].size_bytes * n / owned[p] - n) for p, n in mine.items()}
        extras.append(Held(sum(more.values()), lines=more))
    beyond = [
        max(0.0, extra.size_bytes - growth.gain.own_bytes)
        for growth, extra in zip(held, extras, strict=True)
    ]
    fits = min(1.0, max(0.0, room) / sum(beyond)) if sum(beyond) else 0.0
    return [
        replace(growth, gain=growth.gain.plus(extra, fits * size / (extra.size_bytes or 1.0)))
        for growth, extra, size in zip(held, extras, beyond, strict=True)
    ]


def unaccounted(
    held: Iterable[Growth], lines: Mapping[Place, Held], heap: float
) -> Iterator[Growth]:
    """Lines that gain what no owner holds.

    NumPy hands small buffers out again without telling tracemalloc, so what one line gains may be
    another's: no more can be left over than the heap gains beyond what owners hold.
    """
    owned = total(growth.gain for growth in held)
    gained = sum(each.size_bytes for each in lines.values())
    rest = min(gained - sum(owned.lines.values()) - owned.own_bytes, heap - owned.size_bytes)
    if rest < _LEFT_OVER * heap:
        return
    for place, each in lines.items():
        if place not in owned.lines and each.size_bytes <= rest:
            yield Growth(each, "tracemalloc")


def unseen_bytes(heap: float, found: Iterable[Growth], lines: Mapping[Place, Held]) -> float:
    """What the heap gains beyond what tracemalloc and JAX tell of; 0 if it is not worth a look."""
    traced_bytes = sum(each.size_bytes for each in lines.values())
    by_jax = sum(each.gain.size_bytes for each in found if each.seen_by == "jax")
    blocks = sum(each.things for each in lines.values())
    unseen = heap - traced_bytes - by_jax - _OVERHEAD_BYTES * blocks
    return unseen if unseen > max(_NATIVE_BYTES, _NATIVE_SHARE * heap) else 0.0


def _gains(marks: Marks[T]) -> dict[T, tuple[Held, Held]]:
    """What each gains from mark to mark, where it does."""
    nothing, found = Held(), {}
    for key in {key for mark in marks for key in mark}:
        one, two, three = (mark.get(key, nothing) for mark in marks)
        found[key] = gain(one, two), gain(two, three)
    return {key: each for key, each in found.items() if any(g.size_bytes > 0 for g in each)}


def _steady(gains: Iterable[tuple[Held, Held]], cycles: int) -> Held | None:
    """What all together gain per cycle; None where it is not one growth that goes on."""
    _, second, third = thirds(cycles)
    early, late = map(total, zip(*gains, strict=True))
    if not is_steady(early.size_bytes / second, late.size_bytes / third):
        return None
    return Held().plus(early.plus(late), 1 / (second + third))


def _is_memprofs_work(owner: str) -> bool:
    """Whether it is what watches here, which is left out as its lines are."""
    path = owner.removeprefix("memprof.").replace(".", "/")
    return is_memprofs_own(owner) and is_memprofs_work(f"{PACKAGE}{path}")
