"""Which lines open what stays: descriptors, threads, child processes and whatever else is counted.

The user's code is followed line by line for some cycles. What is there after one of its lines, and
was not before, that line has opened, through whatever library.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import FrameType
from typing import Any

from memprof.catalogue.backends import BACKENDS
from memprof.instruments import process, resources
from memprof.instruments.graph import everything
from memprof.instruments.resources import Key
from memprof.instruments.source_lines import (
    Place,
    UserLines,
    is_library,
    is_memprofs_work,
    short_path,
    text_of,
)
from memprof.instruments.targets import Target, targets
from memprof.leak.allowance import Allowance
from memprof.leak.owners import NOBODY, Owner, Owners
from memprof.leak.worker import Cycles
from memprof.values.counts import COUNTS, CountName
from memprof.values.leak import Site, SiteLine
from memprof.values.population import PopulationSpec

_FEWEST_CYCLES = 2
"""What was opened in the first and is there after the second is not only replaced."""
_MOST_TARGETS = 3
Opened = dict[CountName, dict[Key, Place | None]]
"""What is there of what is counted, with its line; None where none is known."""


def find_openings(
    life: Cycles, names: Sequence[CountName], cycles: int, spec: PopulationSpec, yours: UserLines
) -> list[Site]:
    """Where those that grow of what is counted are opened, and what holds them; of each, the line
    with most per cycle first. What is opened in some cycles only is waited for, for `cycles` at the
    most."""
    seen_otherwise = {"uncollectable"}  # by the object graph
    if BACKENDS[spec.backend].compiles:
        seen_otherwise.add("programs")  # by JAX's events
    names = [name for name in names if name not in seen_otherwise]
    seconds = spec.effort.trace_seconds
    found = _opened(life, names, yours.own, cycles, seconds)
    unknown = [name for name in names if not any(found[name].places.values())]
    found |= _opened(life, unknown, _is_anybodys, cycles, seconds)
    groups = [
        (name, place, [key for key in lasting.places if lasting.places[key] == place])
        for name, lasting in found.items()
        for place, _ in Counter(lasting.places.values()).most_common()
    ]
    things = everything() if groups else []
    known = [targets(name, keys, things) for name, _, keys in groups]
    del things
    owners = _owners([[*each.values()] for each in known], life)
    return [
        _site(name, place, named.values(), len(keys) / found[name].cycles, owner, spec.folder)
        for (name, place, keys), named, owner in zip(groups, known, owners, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Lasting:
    """What some `cycles` open for good of a kind, and where."""

    places: dict[Key, Place | None]
    cycles: int
    again: bool

    @classmethod
    def of(cls, after: Sequence[dict[Key, Place | None]]) -> _Lasting:
        """From what was there after each cycle: of what came from the first that opened any to the
        last that did, which is not counted, as that may be replaced in the next."""
        stages = enumerate(pairwise([{}, *after]))
        came = [cycle for cycle, (before, there) in stages if there.keys() - before.keys()]
        again = len(came) > 1
        first, last = (came[0], came[-1]) if again else (0, len(after) - 1)
        places = {key: place for key, place in after[last - 1].items() if key in after[-1]}
        return cls(places, last - first, again)

    def decides(self) -> bool:
        """Whether it tells how often there is one."""
        return self.again and bool(self.places)


def _opened(
    life: Cycles,
    names: Sequence[CountName],
    own: Callable[[str], bool],
    cycles: int,
    seconds: float,
) -> dict[CountName, _Lasting]:
    """What cycles leave open for good, with its lines."""
    if not names:
        return {}
    # What these need is there before. Not all: to listen to what creates files makes every later
    # walk through all objects ten times as long.
    for name in names:
        resources.present(name)
    spare, openings = resources.Spare(), Openings(names, own, Allowance(seconds))
    process.settle()
    after: list[Opened] = []
    found: dict[CountName, _Lasting] = {}
    with openings:
        while len(after) < max(cycles, _FEWEST_CYCLES):
            _live(life, spare)
            process.settle()
            after.append(openings.found())
            if len(after) < _FEWEST_CYCLES:
                continue
            found = {name: _Lasting.of([each[name] for each in after]) for name in names}
            if openings.is_over() or all(each.decides() for each in found.values()):
                break
    spare.release()
    return found


def _owners(known: Sequence[Sequence[Target]], life: Cycles) -> list[Owner]:
    """Who holds the first thing of each; nobody where there is none, or nothing leads to a root."""
    things = [[each.thing for each in found if each.thing is not None] for found in known]
    first = [next(iter(each), None) for each in things]
    holders = {id(thing): thing for thing in first if thing is not None}
    if not holders:
        return [NOBODY] * len(known)
    owners = Owners(life.population, (first, holders, known, *known, things, *things))
    found = owners.of([(key, None) for key in holders], holders)
    named = (found.get((id(thing), None), NOBODY) for thing in first)
    return [owner if owner.kept_by else NOBODY for owner in named]


def _live(life: Cycles, spare: resources.Spare) -> None:
    """A cycle, or as much of it as there are descriptors and the like for."""
    try:
        life.run()
    except Exception as error:
        spare.release()
        if not any(resources.exhausted(error)):
            raise


def _is_anybodys(path: str) -> bool:
    """Whether it is PyMDP's, or whoever's opens what the user's own lines do not."""
    return not (is_memprofs_work(path) or is_library(path))


class Openings:
    """Follows lines that are `own` while it is entered, as long as it is allowed, and keeps after
    which of them each thing was there first."""

    def __init__(
        self, names: Sequence[CountName], own: Callable[[str], bool], time: Allowance
    ) -> None:
        self._own, self._time = own, time
        self._opened: Opened = {name: {} for name in names}
        self._old: dict[CountName, Collection[Key]] = {}
        self._stamps: dict[CountName, object] = {}
        self._latest: dict[int, Place | None] = {}
        self._turn = threading.RLock()

    def __enter__(self) -> Openings:
        self._old = {name: resources.present(name) or () for name in self._opened}
        self._time.begin()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def found(self) -> Opened:
        """What is there that was not at the start."""
        self._stamps.clear()
        self._look(None)
        return {name: dict(opened) for name, opened in self._opened.items()}

    def is_over(self) -> bool:
        """Whether the time is up."""
        return not self._time.left

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self._own(frame.f_code.co_filename):
            return None
        if self.is_over():
            sys.settrace(None)
            return None
        return self._follow(frame, "line", argument)

    def _follow(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "exception":
            return self._follow
        thread = threading.get_ident()
        self._look(self._latest.get(thread))
        self._latest[thread] = self._line(frame.f_back if event == "return" else frame)
        return self._follow

    def _line(self, frame: FrameType | None) -> Place | None:
        """The innermost line of the user's that is running."""
        while frame is not None and not self._own(frame.f_code.co_filename):
            frame = frame.f_back
        return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)

    def _look(self, place: Place | None) -> None:
        with self._turn:
            for name, opened in self._opened.items():
                before, now = self._stamps.get(name), resources.stamp(name)
                self._stamps[name] = now
                if before == now:
                    continue
                there = set(resources.present(name) or ()).difference(self._old[name])
                for key in opened.keys() - there:
                    del opened[key]
                for key in there - opened.keys():
                    opened[key] = place


def _site(
    name: CountName,
    place: Place | None,
    known: Iterable[Target],
    per_cycle: float,
    owner: Owner,
    folder: str,
) -> Site:
    lines: tuple[SiteLine, ...] = ()
    if place is not None:
        lines = (SiteLine(short_path(place[0], folder), place[1], text_of(place), 0.0),)
    return Site(
        owner=owner.name,
        lines=lines,
        type_name=COUNTS[name].one,
        bytes_per_cycle=0.0,
        objects_per_cycle=per_cycle,
        kept_by=owner.kept_by,
        seen_by="counts",
        yours=lines,
        counted=name,
        targets=tuple(sorted({each.called for each in known if each.called}))[:_MOST_TARGETS],
    )
