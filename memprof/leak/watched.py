"""Cycles that are watched: what the heap gains in them, what grows at three marks, and what native
libraries keep."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from memprof.catalogue.backends import BACKENDS
from memprof.instruments import process, source_lines
from memprof.instruments.device import RetracedHeap
from memprof.instruments.source_lines import Place, UserLines, is_memprofs_work
from memprof.instruments.traced import without_own
from memprof.leak.allowance import Allowance
from memprof.leak.growths import Growth, Marks, thirds
from memprof.leak.held import Held
from memprof.leak.retained import Key, RetainedObjects
from memprof.leak.rings import Ring, Rings
from memprof.leak.worker import Cycles
from memprof.values.population import PopulationSpec

FEWEST_CYCLES = 3
# Up to a line that is the user's own, in one cycle more: plotting makes things twenty calls below.
_FRAMES_TO_THE_USER = 40
# Of what is left of the time, so much is for each part of the search. Under memray cycles are three
# times as slow, and it watches half as many before, and reads what it has seen.
_HEAPS_SHARE, _TRACINGS_SHARE, _STACKS_SHARE, _NATIVES_SHARE = 0.1, 0.6, 0.7, 0.2
# A line that a holder accounts for this much of is no site of its own.
_ACCOUNTED = 0.5
# What JAX remembers of a trace is a program at least.
_TRACE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Watched:
    """The marks of what old things held, of what nothing held but itself, and of what was traced at
    which lines; and how many names Python had interned."""

    objects: RetainedObjects
    held: Marks[Key] = field(default_factory=list)
    rings: Marks[Ring] = field(default_factory=list)
    lines: Marks[Place] = field(default_factory=list)
    names: list[int] = field(default_factory=list)


def heap_growth(
    life: Cycles, spec: PopulationSpec, most: int, time: Allowance
) -> tuple[float, list[Growth]]:
    """Bytes that the live heap gains per cycle, and the lines at which JAX traces in every one."""
    process.settle()
    with ExitStack() as stack:
        retraces = stack.enter_context(RetracedHeap()) if BACKENDS[spec.backend].compiles else None
        before = process.held_bytes()
        cycles = time.fitting(life.run, most, FEWEST_CYCLES, _HEAPS_SHARE)
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
        Growth(_at(place, size * scale), "jax", traces=traced[place])
        for place, size in gained.items()
        if size * scale >= _TRACE_BYTES * traced[place]
    ]


def watch(
    life: Cycles, most: int, frames: int, yours: UserLines, time: Allowance
) -> tuple[int, Watched]:
    """What was seen, and in how many cycles; no lines where there was no time to trace all of them,
    though they be the fewest."""
    process.settle()
    seen, found = Watched(RetainedObjects()), Rings()
    with time.tracing(frames, _TRACINGS_SHARE):
        cycles, lived = time.fitting(life.run, most, FEWEST_CYCLES, _TRACINGS_SHARE), 1
        for count in thirds(cycles):
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


def look_up(life: Cycles, yours: UserLines, time: Allowance) -> None:
    """One cycle of which the whole stacks are known, for what it leaves, if it is time for it."""
    with time.tracing(_FRAMES_TO_THE_USER, _STACKS_SHARE):
        life.run()
        process.settle()
        traces = _traces()
    if traces is not None:
        yours.see(traces)


def native_growth(
    life: Cycles, most: int, lines: Mapping[Place, Held], time: Allowance
) -> list[Growth] | None:
    """Lines below which native libraries keep what tracemalloc has not seen; None where there is
    no time to look."""
    cycles = time.fitting(life.run, most, 0, _NATIVES_SHARE)
    if cycles < FEWEST_CYCLES:
        return None
    found = source_lines.native_by_line(life.run, cycles)
    return [
        Growth(_at(place, size, count), "memray")
        for place, (size, count) in found.items()
        if (lines[place].size_bytes if place in lines else 0.0) < _ACCOUNTED * size
        and not is_memprofs_work(place[0])
    ]


def _interned() -> int:
    """How many strings Python has interned; 0 before 3.12, which does not tell."""
    count: Callable[[], int] = getattr(sys, "getunicodeinternedsize", lambda: 0)
    return count()


def _traces() -> tracemalloc.Snapshot | None:
    """What is traced; None where the time for that was up. Nothing is collected meanwhile: what a
    finalizer made then would not be traced."""
    if not tracemalloc.is_tracing():
        return None
    collects = gc.isenabled()
    gc.disable()
    try:
        return without_own(tracemalloc.take_snapshot())
    finally:
        if collects:
            gc.enable()


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


def _at(place: Place, size_bytes: float, things: float = 0.0) -> Held:
    return Held(size_bytes, things, lines={place: size_bytes})
