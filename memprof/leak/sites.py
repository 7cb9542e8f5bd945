"""The job `sites`: which attributes and lines keep memory from cycle to cycle.

Runs after a clean worker has found that something grows, with instruments that would have spoiled
that finding. Three phases: cycles in which only the heap is read, and JAX listened to; cycles in
which the object graph and tracemalloc are watched; and, where neither sees what the heap gains,
cycles under memray.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from memprof.catalogue.backends import BACKENDS
from memprof.instruments import process, source_lines
from memprof.instruments.source_lines import (
    Place,
    UserLines,
    is_library,
    is_memprofs_work,
    short_path,
    text_of,
)
from memprof.instruments.traced import without_own
from memprof.leak.owners import Owner, Owners
from memprof.leak.retained import Gain, Held, Key, RetainedObjects, gain, total
from memprof.leak.worker import Cycles, life_of
from memprof.stats.growth import is_steady
from memprof.upstream.attributes import HISTORIES
from memprof.values.leak import Attribution, Evidence, Site, SiteLine
from memprof.values.population import PopulationSpec
from memprof.values.requests import FindSites
from memprof.worker.channel import Channel

# Frames from an allocation up to a line that is no library's: NumPy's and copy's own are few. Under
# JAX's eager loop each frame costs seconds per cycle, and as few cycles as possible have to do.
_FRAMES, _FRAMES_EAGER = 5, 1
# Up to a line that is the user's own, in one cycle more: plotting makes things twenty calls below.
_FRAMES_TO_THE_USER = 40
_MOST_SITES, _MOST_LINES = 20, 5
_FEWEST_CYCLES = 3
_TRACED_SLOWDOWN = 10.0  # what tracemalloc makes of a second, about
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


@dataclass(frozen=True, slots=True)
class _Mark:
    """What was there at one mark: `held` by old things, and traced `lines` with their bytes and
    blocks."""

    held: dict[Key, Held]
    lines: dict[Place, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Growth:
    """What grew steadily, per cycle."""

    owner: Owner
    gain: Gain
    seen_by: Evidence
    traces: float | None = None


def find_sites(request: FindSites, channel: Channel) -> Attribution:
    """Let the population live through the warm-up, and watch the cycles after it by each
    instrument."""
    spec, cycles = request.spec, max(request.count, _FEWEST_CYCLES)
    life = life_of(spec, request.mode, request.history_steps)
    channel.progress("warm up", spec.agents)
    for _ in range(request.warm_up):
        life.run()
    channel.progress("heap", spec.agents)
    start = perf_counter()
    heap, found = _heap_growth(life, spec, cycles)
    traced_seconds = _TRACED_SLOWDOWN * (perf_counter() - start)
    channel.progress("object graph", spec.agents)
    eager = spec.loop == "eager"  # which traces at every step
    watched = _FEWEST_CYCLES if eager or traced_seconds > spec.effort.trace_seconds else cycles
    yours = UserLines(spec.model)
    marks, objects = _watch(life, watched, _FRAMES_EAGER if eager else _FRAMES, yours)
    if not eager:
        channel.progress("stacks", spec.agents)
        _look_up(life, yours)
    channel.progress("owners", spec.agents)
    held = list(_held_growth(marks, objects, life, watched))
    lines = _line_growth(marks, watched)
    held = _completed(held, lines, heap - sum(each.gain.size_bytes for each in held))
    others = [*held, *_unaccounted(held, lines, heap)]
    found += [each for each in others if not (found and _is_jaxs_own(each))]
    traced_bytes = sum(each.size_bytes for each in lines.values())
    by_jax = sum(each.gain.size_bytes for each in found if each.seen_by == "jax")
    blocks = sum(each.things for each in lines.values())
    unseen = heap - traced_bytes - by_jax - _OVERHEAD_BYTES * blocks
    looked = unseen > max(_NATIVE_BYTES, _NATIVE_SHARE * heap)
    if looked and source_lines.memray_is_installed():
        channel.progress("native", spec.agents)
        found += _native_growth(life, cycles, lines)
    found.sort(key=lambda growth: (_is_pymdps_own(growth), -growth.gain.size_bytes))
    return Attribution(
        sites=tuple(
            _site(growth, spec.folder, yours.of(growth.owner.name, growth.gain.lines))
            for growth in found[:_MOST_SITES]
        ),
        native_bytes_per_cycle=unseen if looked else 0.0,
    )


def _heap_growth(life: Cycles, spec: PopulationSpec, cycles: int) -> tuple[float, list[_Growth]]:
    """Bytes that the live heap gains per cycle, and the lines at which JAX traces in every one."""
    process.settle()
    if not BACKENDS[spec.backend].compiles:
        before = process.held_bytes()
        for _ in range(cycles):
            life.run()
        process.settle()
        return (process.held_bytes() - before) / cycles, []
    from memprof.instruments.device import RetracedHeap

    with RetracedHeap() as retraces:
        before = process.held_bytes()
        for _ in range(cycles):
            life.run()
        process.settle()
        growth = (process.held_bytes() - before) / cycles
    traced = {place: n / cycles for place, n in retraces.traced.items() if n >= cycles}
    gained = {place: max(0, retraces.gained[place]) for place in traced}
    # What is garbage by the end of the cycle was counted too.
    scale = max(0.0, growth) / max(1, sum(gained.values()))
    return growth, [
        _Growth(Owner("", ()), Gain(size * scale, 0.0, {place: size * scale}), "jax", traced[place])
        for place, size in gained.items()
        if size * scale >= _TRACE_BYTES * traced[place]
    ]


def _is_jaxs_own(growth: _Growth) -> bool:
    """Whether JAX's caches hold it: what they keep of its traces is counted with those."""
    return any(link.startswith("module jax") for link in growth.owner.kept_by) or all(
        is_library(path) for path, _ in growth.gain.lines
    )


def _is_pymdps_own(growth: _Growth) -> bool:
    """Whether it is a history of an agent, which PyMDP is known for: the user's own come first."""
    return growth.owner.name.rpartition(".")[2] in HISTORIES


def _watch(
    life: Cycles, cycles: int, frames: int, yours: UserLines
) -> tuple[list[_Mark], RetainedObjects]:
    """Marks after a third, two thirds and all of the cycles."""
    process.settle()
    objects = RetainedObjects()
    tracemalloc.start(frames)
    try:
        return [_mark(life, objects, count, yours) for count in _thirds(cycles)], objects
    finally:
        tracemalloc.stop()


def _look_up(life: Cycles, yours: UserLines) -> None:
    """One cycle of which the whole stacks are known, for what it leaves."""
    tracemalloc.start(_FRAMES_TO_THE_USER)
    try:
        life.run()
        process.settle()
        yours.see(without_own(tracemalloc.take_snapshot()))
    finally:
        tracemalloc.stop()


def _thirds(cycles: int) -> tuple[int, int, int]:
    return cycles // 3, 2 * cycles // 3 - cycles // 3, cycles - 2 * cycles // 3


def _mark(life: Cycles, objects: RetainedObjects, cycles: int, yours: UserLines) -> _Mark:
    for _ in range(cycles):
        life.run()
    process.settle()
    traces = without_own(tracemalloc.take_snapshot())
    yours.see(traces)
    found = source_lines.by_line(traces).items()
    lines = {place: size for place, size in found if not is_memprofs_work(place[0])}
    return _Mark(objects.mark(), lines)


def _held_growth(
    marks: list[_Mark], objects: RetainedObjects, life: Cycles, cycles: int
) -> Iterator[_Growth]:
    """Owners that hold more and more, each with all that is held under its name."""
    _, second, third = _thirds(cycles)
    nothing = Held()
    gains: dict[Key, tuple[Gain, Gain]] = {}
    for key in {key for mark in marks for key in mark.held}:
        one, two, three = (mark.held.get(key, nothing) for mark in marks)
        each = gain(one, two), gain(two, three)
        if any(part.size_bytes > 0 for part in each):
            gains[key] = each
    holders = objects.holders(gains)
    objects.forget()
    gc.collect()
    owners = Owners(life.population, (holders,)).of(gains, holders)
    by_name: dict[str, list[Key]] = {}
    for key, owner in owners.items():
        by_name.setdefault(owner.name, []).append(key)
    for keys in by_name.values():
        early, late = (total(gains[key][half] for key in keys) for half in (0, 1))
        if is_steady(early.size_bytes / second, late.size_bytes / third):
            yield _Growth(owners[keys[0]], total((early, late)).per(second + third), "object graph")


def _line_growth(marks: list[_Mark], cycles: int) -> dict[Place, Gain]:
    """What each line gains per cycle, where it gains steadily."""
    _, second, third = _thirds(cycles)
    found = {}
    one, two, three = (mark.lines for mark in marks)
    for place, (size, blocks) in three.items():
        (size_1, blocks_1), (size_2, _) = one.get(place, (0, 0)), two.get(place, (0, 0))
        if is_steady((size_2 - size_1) / second, (size - size_2) / third):
            bytes_per_cycle = (size - size_1) / (second + third)
            blocks_per_cycle = (blocks - blocks_1) / (second + third)
            found[place] = Gain(bytes_per_cycle, blocks_per_cycle, {place: bytes_per_cycle})
    return found


def _completed(held: list[_Growth], lines: Mapping[Place, Gain], room: float) -> list[_Growth]:
    """Owners with what the lines of their things gain beyond the sizes that the things give: an
    instance does not count the values of its attributes. Together no more than `room`."""
    owned = total(growth.gain for growth in held).lines
    extras = []
    for growth in held:
        mine = {place: size for place, size in growth.gain.lines.items() if place in lines}
        whole = {p: lines[p].size_bytes * size / owned[p] for p, size in mine.items() if size > 0}
        extras.append({p: max(0.0, size - mine[p]) for p, size in whole.items()})
    beyond = [
        max(0.0, sum(extra.values()) - growth.gain.own_bytes)
        for growth, extra in zip(held, extras, strict=True)
    ]
    fits = min(1.0, max(0.0, room) / sum(beyond)) if sum(beyond) else 0.0
    return [
        replace(growth, gain=total((growth.gain, _extra(extra, size * fits))))
        for growth, extra, size in zip(held, extras, beyond, strict=True)
    ]


def _extra(lines: dict[Place, float], size_bytes: float) -> Gain:
    """`size_bytes`, split as the lines are."""
    scale = size_bytes / sum(lines.values()) if size_bytes else 0.0
    return Gain(size_bytes, 0.0, {place: size * scale for place, size in lines.items()})


def _unaccounted(
    held: Iterable[_Growth], lines: Mapping[Place, Gain], heap: float
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
            yield _Growth(Owner("", ()), each, "tracemalloc")


def _native_growth(life: Cycles, cycles: int, lines: Mapping[Place, Gain]) -> Iterator[_Growth]:
    """Lines below which native libraries keep what tracemalloc has not seen."""
    for place, (size, count) in source_lines.native_by_line(life.run, cycles).items():
        seen = lines[place].size_bytes if place in lines else 0.0
        if seen < _ACCOUNTED * size and not is_memprofs_work(place[0]):
            yield _Growth(Owner("", ()), Gain(size, count, {place: size}), "memray")


def _site(growth: _Growth, folder: str, yours: Mapping[Place, float]) -> Site:
    gain = growth.gain
    return Site(
        owner=growth.owner.name,
        lines=_lines(gain.lines, folder),
        type_name=max(gain.types, key=lambda name: gain.types[name], default=""),
        bytes_per_cycle=gain.size_bytes,
        objects_per_cycle=gain.things,
        kept_by=growth.owner.kept_by,
        seen_by=growth.seen_by,
        traces_per_cycle=growth.traces,
        yours=_lines(yours, folder),
    )


def _lines(sizes: Mapping[Place, float], folder: str) -> tuple[SiteLine, ...]:
    """The lines with most bytes."""
    most = sorted(sizes.items(), key=lambda item: item[1], reverse=True)[:_MOST_LINES]
    return tuple(
        SiteLine(short_path(place[0], folder), place[1], text_of(place), size)
        for place, size in most
        if size > 0
    )
