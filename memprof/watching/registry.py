"""The agents of a program that live, found as PyMDP's constructors end; those that come otherwise,
such as copies, as PyMDP's methods work on them, and by searching."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, wraps
from types import FrameType
from typing import Any, Literal

from memprof.values.watch import Saving
from memprof.watching.cells import cell_of
from memprof.watching.tracebacks import leave_out

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
    """The agents of one class that one line of the program builds. A function that makes its class
    anew in each call makes one of that name.

    Attributes:
        cls: the first of that name.
        shares_name: whether the line builds agents of another module's class of that name, too.
        built: how many were, ever; each row of a batch counted.
        alive: by the address of each; numbers of agents in a batch are told when it is looked at.
        longest, latest: stretches of constructions.
        turn: of the registry, at the last construction.
        seen: whether anybody has looked at them.
        settled: whether a call of theirs tells nothing new.
        saving: what was measured with so many agents as `tried_with`.
    """

    backend: BackendName
    cls: type
    place: Place | None
    shares_name: bool = False
    built: int = 0
    alive: dict[int, weakref.ref[Any]] = field(default_factory=dict)
    longest: Built = field(default_factory=Built)
    latest: Built = field(default_factory=Built)
    turn: int = -1
    seen: bool = False
    settled: bool = False
    saving: Saving | None = None
    tried_with: int = 0

    def agents(self) -> list[Any]:
        """Those that live, in the order in which they were built."""
        found = (each() for each in [*self.alive.values()])
        return [agent for agent in found if agent is not None]


class Registry:
    """Who lives. `on_death` is called when an agent of a crowd goes, in whichever thread lets it
    go, while the others are still there; `on_kind` when there is the first agent of a kind; and
    `on_fork` for one that a fork of this process builds. There, `earlier` knows whom its parent
    had."""

    def __init__(
        self,
        read: Callable[[], int],
        on_death: Callable[[Crowd], None],
        on_kind: Callable[[], None],
        on_fork: Callable[[Any, FrameType], None],
        earlier: Registry | None = None,
    ) -> None:
        self._read, self._on_death = read, on_death
        self._on_kind, self._on_fork = on_kind, on_fork
        self._earlier = earlier
        self.inherited: set[int] = set()
        """Agents of the process of which this one is a fork, that worked here, too."""
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._put_back: list[Callable[[], None]] = []
        self._backends: dict[type, BackendName] = {}
        self._known: dict[int, Crowd] = {}
        self._crowds: dict[tuple[str, str, Place | None], Crowd] = {}
        self.turn = 0
        """Goes up with whatever comes between two constructions of one kind."""

    @property
    def crowds(self) -> list[Crowd]:
        """All kinds that there were until now."""
        return [*self._crowds.values()]

    @property
    def built(self) -> int:
        """Ever, of whatever kind."""
        return sum(crowd.built for crowd in self.crowds)

    @property
    def alive(self) -> int:
        return len(self._known)

    def crowd_of(self, agent: Any) -> Crowd | None:
        """That of an agent that lives."""
        return self._known.get(id(agent))

    def is_settled(self, agent: Any) -> bool:
        """Whether a call of this agent tells nothing new."""
        crowd = self._known.get(id(agent))
        return crowd is not None and crowd.settled

    def unsettle(self) -> None:
        """Whatever calls, it is news."""
        for crowd in self.crowds:
            crowd.settled = False

    def agents(self) -> int:
        """How many live, each row of a batch counted."""
        return sum(rows_of(each, crowd.backend) for crowd in self.crowds for each in crowd.agents())

    def watch(self, kind: type, backend: BackendName) -> None:
        """Take down every agent that the constructor of PyMDP's class `kind` ends with, also of
        classes derived from it."""
        build: Callable[..., None] = vars(kind)["__init__"]

        @wraps(build)
        def built(self: Any, *values: Any, **keywords: Any) -> None:
            try:
                build(self, *values, **keywords)
            except BaseException as error:
                leave_out(error)
                raise
            registry.add(self, sys._getframe(1))

        registry = self
        self._backends[kind] = backend
        setattr(kind, "__init__", built)  # noqa: B010  # equinox has its own way to set
        self._put_back.append(partial(put_back, kind, "__init__", built, build))

    def stop(self) -> None:
        """Leave PyMDP's classes as they were."""
        while self._put_back:
            self._put_back.pop()()

    def add(self, agent: Any, frame: FrameType) -> None:
        """One more agent, whose constructor `frame` called; or the same one, built anew."""
        if is_hollow(agent):
            return
        if os.getpid() != self._process:
            self._on_fork(agent, frame)
            return
        known = self._known.get(id(agent))
        if known is not None and known.place is not None:
            return
        place = _place_of(agent, frame)
        with self._lock:
            crowd = self._take(agent, place)
            if crowd is None:
                return
            is_first = not crowd.built
            crowd.built += rows_of(agent, crowd.backend)
            if crowd.turn != self.turn:
                crowd.latest = Built()
            self.turn += 1
            crowd.turn = self.turn
            crowd.latest.take(len(crowd.alive), self._read)
            if len(crowd.latest.agents) >= len(crowd.longest.agents):
                crowd.longest = crowd.latest
        if is_first:
            self._on_kind()

    def meet(self, agent: Any, like: Any = None) -> None:
        """One that no constructor made, such as a copy. It is of the kind of the one that it is
        made of; where that is not known, of the only kind of its class, if no more were built."""
        if id(agent) in self._known or os.getpid() != self._process or is_hollow(agent):
            return
        if self._is_inherited(agent):
            self.inherited.add(id(agent))
            return
        origin = self._known.get(id(like)) if type(like) is type(agent) else None
        with self._lock:
            name = _name_of(type(agent))
            places = {
                each.place for each in self.crowds if _name_of(each.cls) == name and each.place
            }
            only = next(iter(places)) if len(places) == 1 else None
            self._take(agent, only if origin is None else origin.place)

    def search(self) -> None:
        """Meet all that live, but for those that a constructor is only about to build."""
        kinds = {each for kind in self._backends for each in _derived(kind)}
        for thing in gc.get_objects() if self._backends else ():
            known = type(thing) in kinds and vars(thing).get("A") is not None
            if known and not self._is_inherited(thing):
                self.meet(thing)

    def _is_inherited(self, agent: Any) -> bool:
        earlier = self._earlier
        if earlier is None:
            return False
        crowd = earlier._known.get(id(agent))
        mine = crowd is not None and crowd.alive.get(id(agent), _nobody)() is agent
        return mine or earlier._is_inherited(agent)

    def _take(self, agent: Any, place: Place | None) -> Crowd | None:
        cls = type(agent)
        backend = next(
            (self._backends[each] for each in cls.__mro__ if each in self._backends), None
        )
        if backend is None:
            return None
        crowd = self._crowd(backend, cls, place)
        key = id(agent)
        if (earlier := self._known.get(key)) is not None:
            earlier.alive.pop(key, None)
        crowd.alive[key] = weakref.ref(agent, lambda _: self._gone(crowd, key))
        self._known[key] = crowd
        return crowd

    def _crowd(self, backend: BackendName, cls: type, place: Place | None) -> Crowd:
        name = _name_of(cls)
        found = self._crowds.get((*name, place))
        if found is None:
            others = [each for each in self.crowds if each.place == place]
            shares_name = any(each.cls.__qualname__ == cls.__qualname__ for each in others)
            found = self._crowds[*name, place] = Crowd(backend, cls, place, shares_name)
        return found

    def _gone(self, crowd: Crowd, key: int) -> None:
        self._on_death(crowd)
        crowd.alive.pop(key, None)
        self._known.pop(key, None)
        self.turn += 1


def _name_of(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _nobody() -> None:
    """Of whom no reference is kept."""


def users_line(frame: FrameType) -> Place | None:
    """The innermost line of the user's own code that runs; None where only libraries do."""
    return _place_of(None, frame)


def _derived(kind: type) -> Iterator[type]:
    yield kind
    derived: list[type] = type.__subclasses__(kind)
    for each in derived:
        yield from _derived(each)


def is_hollow(agent: Any) -> bool:
    """Whether it has no arrays: it is a stand-in, of which JAX makes programs, or was donated."""
    jax = sys.modules.get("jax")
    if jax is None:
        return False
    first = next(iter(jax.tree_util.tree_leaves(vars(agent).get("A"))), None)
    if isinstance(first, jax.core.Tracer):
        return True
    return isinstance(first, jax.Array) and first.is_deleted()


def rows_of(agent: Any, backend: BackendName) -> int:
    """How many agents an object is: the rows of a JAX batch."""
    if backend == "numpy":
        return 1  # whatever a class of one's own calls its batch
    size = getattr(agent, "batch_size", 1)
    return size if isinstance(size, int) and size > 0 else 1


def put_back(kind: type, name: str, ours: Any, found: Any) -> None:
    """Give a class its own method again, unless the program has put one there meanwhile."""
    if vars(kind).get(name) is ours:
        setattr(kind, name, found)


def _place_of(agent: Any, frame: FrameType) -> Place | None:
    """The user's line that builds the agent: no constructor of a class derived from PyMDP's."""
    from memprof.instruments.source_lines import is_library, is_memprofs
    from memprof.upstream.installed import folder

    home = str(folder())
    own = set() if agent is None else _constructors(type(agent))
    for each in _outwards(frame):
        file = each.f_code.co_filename
        path = cell_of(file) or file
        if is_library(path) or is_memprofs(path) or path.startswith(home):
            continue
        if id(each.f_code) in own:
            own.remove(id(each.f_code))  # further out it is another agent's, which builds this one
            continue
        return path, each.f_lineno
    return None


def _constructors(kind: type) -> set[int]:
    """The code of the constructors of a class, and of what is wrapped around them. A frame's own
    variables say more, but to read them changes what the program's `locals()` returned."""
    found = set()
    for each in kind.__mro__:
        build = vars(each).get("__init__")
        while build is not None:
            found.add(id(getattr(build, "__code__", None)))
            build = getattr(build, "__wrapped__", None)
    return found


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
