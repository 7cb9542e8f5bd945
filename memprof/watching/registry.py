"""The agents of a program that live, found as PyMDP's constructors end."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from types import FrameType
from typing import Any, Literal

from memprof.values.watch import Saving

Place = tuple[str, int]
BackendName = Literal["numpy", "jax"]
MANY_MORE = 1.25
"""So many times as many agents are news, whatever it costs to look at them."""
# Of the constructions of a kind in one stretch, so many readings are kept; evenly spread.
_MOST_READINGS = 64


@dataclass(slots=True)
class Built:
    """Constructions of one kind, one after the other, with nothing of PyMDP's in between.

    Attributes:
        agents: how many of the kind there were, reading by reading.
        private_bytes: of the process then.
    """

    agents: array[int] = field(default_factory=lambda: array("q"))
    private_bytes: array[int] = field(default_factory=lambda: array("q"))
    stride: int = 1

    def take(self, agents: int, read: Callable[[], int]) -> None:
        """Read, if it is this one's turn."""
        if agents % self.stride:
            return
        self.agents.append(agents)
        self.private_bytes.append(read())
        if len(self.agents) == _MOST_READINGS:
            kept = [place for place, n in enumerate(self.agents) if n % (2 * self.stride) == 0]
            self.agents = array("q", [self.agents[place] for place in kept])
            self.private_bytes = array("q", [self.private_bytes[place] for place in kept])
            self.stride *= 2


@dataclass(slots=True)
class Crowd:
    """The agents of one class that one line of the program builds.

    Attributes:
        built: how many were, ever.
        alive: by the address of each; numbers of agents in a batch are told when it is looked at.
        longest, latest: stretches of constructions.
        turn: of the registry, at the last construction.
        saving: what was measured with so many agents as `tried_with`.
    """

    backend: BackendName
    place: Place | None
    built: int = 0
    alive: dict[int, weakref.ref[Any]] = field(default_factory=dict)
    longest: Built = field(default_factory=Built)
    latest: Built = field(default_factory=Built)
    turn: int = -1
    saving: Saving | None = None
    tried_with: int = 0

    def agents(self) -> list[Any]:
        """Those that live, in the order in which they were built."""
        found = (each() for each in [*self.alive.values()])
        return [agent for agent in found if agent is not None]


class Registry:
    """Who lives. `on_death` is called when an agent goes, in whichever thread lets it go, while the
    others are still there."""

    def __init__(self, read: Callable[[], int], on_death: Callable[[], None]) -> None:
        self._read, self._on_death = read, on_death
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._put_back: list[Callable[[], None]] = []
        self.crowds: dict[tuple[type, Place | None], Crowd] = {}
        self.turn = 0
        """Goes up with whatever comes between two constructions of one kind."""

    @property
    def alive(self) -> int:
        return sum(len(crowd.alive) for crowd in [*self.crowds.values()])

    def watch(self, kind: type, backend: BackendName) -> None:
        """Take down every agent that the constructor of PyMDP's class `kind` ends with, also of
        classes derived from it."""
        build: Callable[..., None] = vars(kind)["__init__"]

        @wraps(build)
        def built(self: Any, *values: Any, **keywords: Any) -> None:
            build(self, *values, **keywords)
            registry.add(self, backend, sys._getframe(1))

        registry = self
        setattr(kind, "__init__", built)  # noqa: B010  # equinox has its own way to set
        self._put_back.append(lambda: setattr(kind, "__init__", build))

    def adopt(self, kind: type, backend: BackendName) -> None:
        """Take in those that lived before anybody watched, of whom no line is known."""
        for thing in gc.get_objects():
            if issubclass(type(thing), kind):
                self._take(thing, backend, None)

    def stop(self) -> None:
        """Leave PyMDP's classes as they were."""
        while self._put_back:
            self._put_back.pop()()

    def add(self, agent: Any, backend: BackendName, frame: FrameType | None) -> None:
        """One more agent, whose constructor `frame` called."""
        if os.getpid() != self._process:
            return  # a fork's are its own affair
        place = None if frame is None else _place_of(agent, frame)
        with self._lock:
            crowd = self._take(agent, backend, place)
            crowd.built += 1
            if crowd.turn != self.turn:
                crowd.latest = Built()
            self.turn += 1
            crowd.turn = self.turn
            crowd.latest.take(len(crowd.alive), self._read)
            if len(crowd.latest.agents) >= len(crowd.longest.agents):
                crowd.longest = crowd.latest

    def _take(self, agent: Any, backend: BackendName, place: Place | None) -> Crowd:
        crowd = self.crowds.setdefault((type(agent), place), Crowd(backend, place))
        key = id(agent)
        crowd.alive[key] = weakref.ref(agent, lambda _: self._gone(crowd, key))
        return crowd

    def _gone(self, crowd: Crowd, key: int) -> None:
        self._on_death()
        crowd.alive.pop(key, None)
        self.turn += 1


def users_line(frame: FrameType) -> Place | None:
    """The innermost line of the user's own code that runs; None where only libraries do."""
    return _place_of(None, frame)


def _place_of(agent: Any, frame: FrameType) -> Place | None:
    """The user's line that builds the agent: no constructor of a class derived from PyMDP's."""
    from memprof.instruments.source_lines import is_library, is_memprofs
    from memprof.upstream.installed import folder

    home = str(folder())
    for each in _outwards(frame):
        path = each.f_code.co_filename
        if is_library(path) or is_memprofs(path) or path.startswith(home):
            continue
        code = each.f_code
        own = agent is not None and code.co_name == "__init__" and code.co_argcount > 0
        if own and each.f_locals.get(code.co_varnames[0]) is agent:
            continue
        return path, each.f_lineno
    return None


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
