"""The job `sites`: which attributes and lines keep memory from cycle to cycle.

Runs after a clean worker has found that something grows, with instruments that would have spoiled
that finding. Three phases: cycles in which only the heap is read, and JAX listened to; cycles in
which the object graph and tracemalloc are watched; and, where neither sees what the heap gains,
cycles under memray.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from msgspec import structs

from memprof.instruments import source_lines
from memprof.instruments.line_tables import LineTables
from memprof.instruments.source_lines import (
    Place,
    UserLines,
    is_library,
    is_memprofs,
    short_path,
    text_of,
)
from memprof.leak.allowance import Allowance
from memprof.leak.causes import cause_of, interned_names, retracing
from memprof.leak.growths import (
    Growth,
    completed,
    held_growth,
    line_growth,
    name_growth,
    names_per_cycle,
    ring_growth,
    unaccounted,
    unseen_bytes,
)
from memprof.leak.held import total
from memprof.leak.openings import find_openings
from memprof.leak.owners import Owner
from memprof.leak.rings import Ring
from memprof.leak.watched import FEWEST_CYCLES, heap_growth, look_up, native_growth, watch
from memprof.leak.worker import Cycles, life_of
from memprof.upstream.attributes import HISTORIES
from memprof.values.leak import Attribution, Cause, Site, SiteLine, is_memprofs_own
from memprof.values.population import PopulationSpec
from memprof.values.requests import FindSites
from memprof.worker.job import Channel

# Frames from an allocation up to a line that is no library's: NumPy's and copy's own are few. Under
# JAX's eager loop each frame costs seconds per cycle, and as few cycles as possible have to do.
_FRAMES, _FRAMES_EAGER = 5, 1
_MOST_SITES, _MOST_LINES = 20, 5


def find_sites(request: FindSites, channel: Channel) -> Attribution:
    """Let the population live through the warm-up, and watch the cycles after it by each
    instrument."""
    spec, cycles = request.spec, max(request.count, FEWEST_CYCLES)
    time = Allowance(spec.effort.trace_seconds)
    life = life_of(spec, request.mode, request.history_steps, time)
    channel.progress("warm up", spec.agents)
    with LineTables():
        life.run()
    life.run(max(0, request.warm_up - 1))
    yours = UserLines(spec.model)
    if request.counts:
        channel.progress("openings", spec.agents)
    opened = find_openings(life, request.counts, cycles, spec, yours)
    if not request.heap:
        return Attribution(tuple(opened), 0.0, 0.0)
    found = _in_the_heap(life, spec, cycles, yours, time, channel)
    return structs.replace(found, sites=(*opened, *found.sites))


def _in_the_heap(
    life: Cycles,
    spec: PopulationSpec,
    cycles: int,
    yours: UserLines,
    time: Allowance,
    channel: Channel,
) -> Attribution:
    """What keeps more and more memory, as far as there is time to look."""
    time.begin()
    channel.progress("heap", spec.agents)
    heap, found = heap_growth(life, spec, cycles, time)
    channel.progress("object graph", spec.agents)
    eager = spec.loop == "eager"  # which traces at every step
    frames, most = (_FRAMES_EAGER, FEWEST_CYCLES) if eager else (_FRAMES, cycles)
    watched, seen = watch(life, most, frames, yours, time)
    left_out = [] if seen.lines else ["the lines that allocate what stays"]
    if seen.lines and not eager:
        channel.progress("stacks", spec.agents)
        look_up(life, yours, time)
    channel.progress("owners", spec.agents)
    held = [
        *held_growth(seen.held, seen.objects, life.population, watched),
        *ring_growth(seen.rings, watched),
    ]
    lines, names = line_growth(seen.lines, watched), names_per_cycle(seen.names, watched)
    held += name_growth(held, lines, names)
    held = completed(held, lines, heap - sum(each.gain.size_bytes for each in held))
    others = [*held, *unaccounted(held, lines, heap)]
    found += [each for each in others if not (found and _is_jaxs_own(each))]
    unseen = unseen_bytes(heap, found, lines) if seen.lines else 0.0
    if unseen and source_lines.memray_is_installed():
        channel.progress("native", spec.agents)
        native = native_growth(life, cycles, lines, time)
        left_out += ["native allocations"] if native is None else []
        found += native or []
    found = sorted(_memprofs_as_one(found), key=_rank)[:_MOST_SITES]
    why = partial(_cause, is_new=seen.objects.is_new, names=names, folder=spec.folder)
    return Attribution(
        sites=tuple(_site(each, spec.folder, yours, why) for each in found),
        native_bytes_per_cycle=unseen,
        heap_bytes_per_cycle=heap,
        left_out=tuple(left_out),
    )


def _is_jaxs_own(growth: Growth) -> bool:
    """Whether JAX's caches hold it: what they keep of its traces is counted with those."""
    return any(link.startswith("module jax") for link in growth.owner.kept_by) or all(
        is_library(path) for path, _ in growth.gain.lines
    )


def _memprofs_as_one(found: Iterable[Growth]) -> Iterator[Growth]:
    """What is memprof's own says nothing to those who did not write it."""
    memprofs: list[Growth] = []
    for growth in found:
        name, lines = growth.owner.name, growth.gain.lines
        if is_memprofs_own(name) or (not name and all(is_memprofs(path) for path, _ in lines)):
            memprofs.append(growth)
        else:
            yield growth
    if memprofs:
        gain = total(growth.gain for growth in memprofs)
        yield Growth(gain, memprofs[0].seen_by, Owner("memprof", ()))


def _rank(growth: Growth) -> tuple[bool, bool, float]:
    """The user's own come first, then agents' histories, which PyMDP is known for, and last what is
    memprof's own; of each kind the largest."""
    name = growth.owner.name
    of_pymdp = name.rpartition(".")[2] in HISTORIES
    return is_memprofs_own(name), of_pymdp, -growth.gain.size_bytes


def _cause(
    growth: Growth, name: str, is_new: Callable[[Any], bool], names: float, folder: str
) -> Cause | None:
    if growth.seen_by == "jax":
        return retracing(name)
    if growth.owner.name:
        return cause_of(growth.owner, growth.gain, is_new, folder)
    return interned_names(sys.version_info[:3], names, growth.gain)


def _site(
    growth: Growth,
    folder: str,
    yours: UserLines,
    why: Callable[[Growth, str], Cause | None],
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
