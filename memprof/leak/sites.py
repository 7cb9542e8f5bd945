"""The job `sites`: which attributes and lines keep memory from cycle to cycle.

Runs after a clean worker has found that something grows, with instruments that would have spoiled
that finding. Three phases: cycles in which only the heap is read, and JAX listened to; cycles in
which the object graph and tracemalloc are watched; and, where neither sees what the heap gains,
cycles under memray.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from msgspec import structs

from memprof.catalogue.backends import BACKENDS
from memprof.instruments import process, source_lines
from memprof.instruments.device import RetracedHeap
from memprof.instruments.line_tables import LineTables
from memprof.instruments.source_lines import (
    PACKAGE,
    Place,
    UserLines,
    is_library,
    is_memprofs,
    is_memprofs_work,
    short_path,
    text_of,
)
from memprof.instruments.traced import without_own
from memprof.leak.allowance import Allowance
from memprof.leak.causes import cause_of, interned_names, retracing
from memprof.leak.held import Held, gain, total
from memprof.leak.openings import find_openings
from memprof.leak.owners import Owner, Owners
from memprof.leak.retained import Key, RetainedObjects
from memprof.leak.rings import Ring, Rings
from memprof.leak.worker import Cycles, life_of
from memprof.stats.growth import is_steady
from memprof.upstream.attributes import HISTORIES
from memprof.values.leak import Attribution, Cause, Evidence, Site, SiteLine, is_memprofs_own
from memprof.values.population import PopulationSpec
from memprof.values.requests import FindSites
from memprof.worker.job import Channel

T = TypeVar("T")

# Frames from an allocation up to a line that is no library's: NumPy's and copy's own are few. Under
# JAX's eager loop each frame costs seconds per cycle, and as few cycles as possible have to do.
_FRAMES, _FRAMES_EAGER = 5, 1
# Up to a line that is the user's own, in one cycle more: plotting makes things twenty calls below.
_FRAMES_TO_THE_USER = 40
_MOST_SITES, _MOST_LINES = 20, 5
_FEWEST_CYCLES = 3
# Of what is left of the time, so much is for each part of the search. Under memray cycles are three
# times as slow, and it watches half as many before, and reads what it has seen.
_HEAPS_SHARE, _TRACINGS_SHARE, _STACKS_SHARE, _NATIVES_SHARE = 0.1, 0.6, 0.7, 0.2
# Growth of the heap that the others leave over has to be this much to be looked for with memray.
_NATIVE_BYTES, _NATIVE_SHARE = 64.0, 0.1
# What malloc may take for a block beyond what was asked for.
_OVERHEAD_BYTES = 24
# A line that a holder accounts for this much of is no site of its own.
_ACCOUNTED = 0.5
# What JAX remembers of a trace is a program at least.
_TRACE_BYTES = 4096
# With less than this left over of all that lines gain, what is left over is no site: an object's
# parts that the object graph does not show.
_LEFT_OVER = 0.1


Marks = list[dict[T, Held]]
"""What was there after a third, two thirds and all of the cycles, by what or where it is."""


_NOBODY = Owner("", ())


@dataclass(frozen=True, slots=True)
class _Watched:
    """The marks of what old things held, of what nothing held but itself, and of what was traced at
    which lines; and how many names Python had interned."""

    objects: RetainedObjects
    held: Marks[Key] = field(default_factory=list)
    rings: Marks[Ring] = field(default_factory=list)
    lines: Marks[Place] = field(default_factory=list)
    names: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Growth:
    """What grew steadily, per cycle."""

    gain: Held
    seen_by: Evidence
    owner: Owner = _NOBODY
    traces: float | None = None


def find_sites(request: FindSites, channel: Channel) -> Attribution:
    """Let the population live through the warm-up, and watch the cycles after it by each
    instrument."""
    spec, cycles = request.spec, max(request.count, _FEWEST_CYCLES)
    time = Allowance(spec.effort.trace_seconds)
    life = life_of(spec, request.mode, request.history_steps, time)
    channel.progress("warm up", spec.agents)
    with LineTables():
        life.run()
    life.run(max(0, request.warm_up - 1))
    yours = UserLines(spec.model)
    if request.counts:
        channel.progress("openings", spec.agents)
    opened = find_openings(life, request.counts, spec, yours)
    if not request.heap:
        return Attribution(tuple(opened), 0.0, 0.0)
    time.begin()
    channel.progress("heap", spec.agents)
    heap, found = _heap_growth(life, spec, cycles, time)
    channel.progress("object graph", spec.agents)
    eager = spec.loop == "eager"  # which traces at every step
    frames, most = (_FRAMES_EAGER, _FEWEST_CYCLES) if eager else (_FRAMES, cycles)
    watched, seen = _watch(life, most, frames, yours, time)
    left_out = [] if seen.lines else ["the lines that allocate what stays"]
    if seen.lines and not eager:
        channel.progress("stacks", spec.agents)
        _look_up(life, yours, time)
    channel.progress("owners", spec.agents)
    held = [
        *_held_growth(seen.held, seen.objects, life, watched),
        *_ring_growth(seen.rings, watched),
    ]
    lines, names = _line_growth(seen.lines, watched), _names(seen.names, watched)
    held += _name_growth(held, lines, names)
    held = _completed(held, lines, heap - sum(each.gain.size_bytes for each in held))
    others = [*held, *_unaccounted(held, lines, heap)]
    found += [each for each in others if not (found and _is_jaxs_own(each))]
    unseen = _unseen(heap, found, lines) if seen.lines else 0.0
    if unseen and source_lines.memray_is_installed():
        channel.progress("native", spec.agents)
        native = _native_growth(life, cycles, lines, time)
        left_out += ["native allocations"] if native is None else []
        found += native or []
    found = sorted(_memprofs_as_one(found), key=_rank)
    why = partial(_cause, is_new=seen.objects.is_new, names=names, folder=spec.folder)
    return Attribution(
        sites=(*opened, *(_site(each, spec.folder, yours, why) for each in found[:_MOST_SITES])),
        native_bytes_per_cycle=unseen,
        heap_bytes_per_cycle=heap,
        left_out=tuple(left_out),
    )


def _heap_growth(
    life: Cycles, spec: PopulationSpec, most: int, time: Allowance
) -> tuple[float, list[_Growth]]:
    """Bytes that the live heap gains per cycle, and the lines at which JAX traces in every one."""
    process.settle()
    with ExitStack() as stack:
        retraces = stack.enter_context(RetracedHeap()) if BACKENDS[spec.backend].compiles else None
        before = process.held_bytes()
        cycles = time.fitting(life.run, most, _FEWEST_CYCLES, _HEAPS_SHARE)
        life.run(cycles - 1)
        process.settle()
        growth = (process.held_bytes() - before) / cycles
    if retraces is None:
        return growth, []
    traced = {place: n / cycles for place, n in retraces.traced.items() if n >= cycles}
    gained = {place: max(0, retraces.gained[place]) for place in traced}
    # What is garbage by the end of the cycle was counted too.
    scale = max(0.0, growth) / max(1, sum(gained.values()))
    return growth, [
        _Growth(_at(place, size * scale), "jax", traces=traced[place])
        for place, size in gained.items()
        if size * scale >= _TRACE_BYTES * traced[place]
    ]


def _at(place: Place, size_bytes: float, things: float = 0.0) -> Held:
    return Held(size_bytes, things, lines={place: size_bytes})


def _is_jaxs_own(growth: _Growth) -> bool:
    """Whether JAX's caches hold it: what they keep of its traces is counted with those."""
    return any(link.startswith("module jax") for link in growth.owner.kept_by) or all(
        is_library(path) for path, _ in growth.gain.lines
    )


def _memprofs_as_one(found: Iterable[_Growth]) -> Iterator[_Growth]:
    """What is memprof's own says nothing to those who did not write it."""
    memprofs: list[_Growth] = []
    for growth in found:
        name, lines = growth.owner.name, growth.gain.lines
        if is_memprofs_own(name) or (not name and all(is_memprofs(path) for path, _ in lines)):
            memprofs.append(growth)
        else:
            yield growth
    if memprofs:
        gain = total(growth.gain for growth in memprofs)
        yield _Growth(gain, memprofs[0].seen_by, Owner("memprof", ()))


def _rank(growth: _Growth) -> tuple[bool, bool, float]:
    """The user's own come first, then agents' histories, which PyMDP is known for, and last what is
    memprof's own; of each kind the largest."""
    name = growth.owner.name
    of_pymdp = name.rpartition(".")[2] in HISTORIES
    return is_memprofs_own(name), of_pymdp, -growth.gain.size_bytes


def _watch(
    life: Cycles, most: int, frames: int, yours: UserLines, time: Allowance
) -> tuple[int, _Watched]:
    """What was seen, and in how many cycles; no lines where there was no time to trace all of them,
    though they be the fewest."""
    process.settle()
    seen, found = _Watched(RetainedObjects()), Rings()
    with time.tracing(frames, _TRACINGS_SHARE):
        cycles, lived = time.fitting(life.run, most, _FEWEST_CYCLES, _TRACINGS_SHARE), 1
        for count in _thirds(cycles):
            life.run(count - lived)
            lived = 0
            process.settle()
            seen.names.append(_interned())
            seen.lines.extend(_traced(yours))
            seen.held.append(seen.objects.mark())
            seen.rings.append(found.mark(seen.objects.led_to()))
    if len(seen.lines) < len(seen.held):
        seen.lines.clear()
    return cycles, seen


def _interned() -> int:
    """How many strings Python has interned; 0 before 3.12, which does not tell."""
    count: Callable[[], int] = getattr(sys, "getunicodeinternedsize", lambda: 0)
    return count()


def _traces() -> tracemalloc.Snapshot | None:
    """What is traced; None where the time for that was up."""
    return without_own(tracemalloc.take_snapshot()) if tracemalloc.is_tracing() else None


def _traced(yours: UserLines) -> Iterator[dict[Place, Held]]:
    """What is traced by line, if it still is; nothing of it stays while objects are marked."""
    traces = _traces()
    if traces is not None:
        yours.see(traces)
        yield {
            place: _at(place, size, blocks)
            for place, (size, blocks) in source_lines.by_line(traces).items()
            if not is_memprofs_work(place[0])
        }


def _look_up(life: Cycles, yours: UserLines, time: Allowance) -> None:
    """One cycle of which the whole stacks are known, for what it leaves, if it is time for it."""
    with time.tracing(_FRAMES_TO_THE_USER, _STACKS_SHARE):
        life.run()
        process.settle()
        traces = _traces()
    if traces is not None:
        yours.see(traces)


def _unseen(heap: float, found: Iterable[_Growth], lines: Mapping[Place, Held]) -> float:
    """What the heap gains beyond what tracemalloc and JAX tell of; 0 if it is not worth a look."""
    traced_bytes = sum(each.size_bytes for each in lines.values())
    by_jax = sum(each.gain.size_bytes for each in found if each.seen_by == "jax")
    blocks = sum(each.things for each in lines.values())
    unseen = heap - traced_bytes - by_jax - _OVERHEAD_BYTES * blocks
    return unseen if unseen > max(_NATIVE_BYTES, _NATIVE_SHARE * heap) else 0.0


def _thirds(cycles: int) -> tuple[int, int, int]:
    return cycles // 3, 2 * cycles // 3 - cycles // 3, cycles - 2 * cycles // 3


def _gains(marks: Marks[T]) -> dict[T, tuple[Held, Held]]:
    """What each gains from mark to mark, where it does."""
    nothing, found = Held(), {}
    for key in {key for mark in marks for key in mark}:
        one, two, three = (mark.get(key, nothing) for mark in marks)
        found[key] = gain(one, two), gain(two, three)
    return {key: each for key, each in found.items() if any(g.size_bytes > 0 for g in each)}


def _steady(gains: Iterable[tuple[Held, Held]], cycles: int) -> Held | None:
    """What all together gain per cycle; None where it is not one growth that goes on."""
    _, second, third = _thirds(cycles)
    early, late = map(total, zip(*gains, strict=True))
    if not is_steady(early.size_bytes / second, late.size_bytes / third):
        return None
    return Held().plus(early.plus(late), 1 / (second + third))


def _held_growth(
    marks: Marks[Key], objects: RetainedObjects, life: Cycles, cycles: int
) -> Iterator[_Growth]:
    """Owners that hold more and more, each with all that is held under its name."""
    gains = _gains(marks)
    holders = objects.holders(gains)
    objects.forget()
    gc.collect()
    owners = Owners(life.population, (holders,)).of(gains, holders)
    by_name: dict[str, list[Key]] = {}
    for key, owner in owners.items():
        by_name.setdefault(owner.name, []).append(key)
    for name, keys in by_name.items():
        found = _steady([gains[key] for key in keys], cycles)
        if found is not None and not _is_memprofs_work(name):
            yield _Growth(found, "object graph", owners[keys[0]])


def _ring_growth(marks: Marks[Ring], cycles: int) -> Iterator[_Growth]:
    """What keeps itself alive, ever more of it."""
    for ring, gains in _gains(marks).items():
        found = _steady([gains], cycles)
        if found is not None:
            yield _Growth(found, "object graph", ring.owner)


def _names(marks: list[int], cycles: int) -> float:
    """How many more strings are interned per cycle; 0 where it is not steadily more."""
    _, second, third = _thirds(cycles)
    early, late = marks[1] - marks[0], marks[2] - marks[1]
    return (early + late) / (second + third) if is_steady(early / second, late / third) else 0.0


def _name_growth(
    held: Iterable[_Growth], lines: Mapping[Place, Held], names: float
) -> list[_Growth]:
    """The lines that make the names which Python interns, where these stay for ever."""
    owned = total(growth.gain for growth in held).lines
    return [
        _Growth(each, "tracemalloc")
        for place, each in lines.items()
        if place not in owned and interned_names(sys.version_info[:3], names, each)
    ]


def _is_memprofs_work(owner: str) -> bool:
    """Whether it is what watches here, which is left out as its lines are."""
    path = owner.removeprefix("memprof.").replace(".", "/")
    return is_memprofs_own(owner) and is_memprofs_work(f"{PACKAGE}{path}")


def _line_growth(marks: Marks[Place], cycles: int) -> dict[Place, Held]:
    """What each line gains per cycle, where it gains steadily."""
    found = {place: _steady([gains], cycles) for place, gains in _gains(marks).items()}
    return {place: each for place, each in found.items() if each is not None}


def _completed(held: list[_Growth], lines: Mapping[Place, Held], room: float) -> list[_Growth]:
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


def _unaccounted(
    held: Iterable[_Growth], lines: Mapping[Place, Held], heap: float
) -> Iterator[_Growth]:
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
            yield _Growth(each, "tracemalloc")


def _native_growth(
    life: Cycles, most: int, lines: Mapping[Place, Held], time: Allowance
) -> list[_Growth] | None:
    """Lines below which native libraries keep what tracemalloc has not seen; None where there is
    no time to look."""
    cycles = time.fitting(life.run, most, 0, _NATIVES_SHARE)
    if cycles < _FEWEST_CYCLES:
        return None
    found = source_lines.native_by_line(life.run, cycles)
    return [
        _Growth(_at(place, size, count), "memray")
        for place, (size, count) in found.items()
        if (lines[place].size_bytes if place in lines else 0.0) < _ACCOUNTED * size
        and not is_memprofs_work(place[0])
    ]


def _cause(
    growth: _Growth, name: str, is_new: Callable[[Any], bool], names: float, folder: str
) -> Cause | None:
    if growth.seen_by == "jax":
        return retracing(name)
    if growth.owner.name:
        return cause_of(growth.owner, growth.gain, is_new, folder)
    return interned_names(sys.version_info[:3], names, growth.gain)


def _site(
    growth: _Growth,
    folder: str,
    yours: UserLines,
    why: Callable[[_Growth, str], Cause | None],
) -> Site:
    gain, owner, thing = growth.gain, growth.owner.name, growth.owner.thing
    first = thing.made if isinstance(thing, Ring) else None
    site = Site(
        owner=owner,
        lines=_lines(gain.lines, folder, first),
        type_name=max(gain.types, key=lambda name: gain.types[name], default=""),
        bytes_per_cycle=gain.size_bytes,
        objects_per_cycle=gain.things,
        kept_by=growth.owner.kept_by,
        seen_by=growth.seen_by,
        traces_per_cycle=growth.traces,
        yours=_lines(yours.made(gain.lines), folder, first),
        added=_lines(yours.added(owner), folder),
    )
    return structs.replace(site, cause=why(growth, site.name))


def _lines(
    sizes: Mapping[Place, float], folder: str, first: Place | None = None
) -> tuple[SiteLine, ...]:
    """The lines with most bytes, after the one that says most."""
    most = sorted(sizes.items(), key=lambda item: (item[0] != first, -item[1]))[:_MOST_LINES]
    return tuple(
        SiteLine(short_path(place[0], folder), place[1], text_of(place), size)
        for place, size in most
        if size > 0
    )
