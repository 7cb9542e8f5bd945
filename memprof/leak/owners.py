"""Names for what keeps objects alive: the attribute or variable that a container belongs to."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CellType, CodeType, FrameType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

from memprof.instruments.graph import (
    LruCache,
    attributes,
    everything,
    namespace,
    portions,
    referents_of,
)
from memprof.instruments.source_lines import PACKAGE
from memprof.leak.retained import Key
from memprof.values.leak import is_memprofs_own

_POPULATION = "the living population"
_PLAIN = (list, tuple, dict, set, deque, CellType)
_MOST_LINKS = 8
_MOST_REFERRERS = 6

Way = list[Any]
"""From a thing to what holds it, and on to what holds that."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a thing.

    Attributes:
        name: `Agent.prev_actions`, `service.SUBSCRIBERS`, `service.lookup (lru_cache)`; with its
            module, `memprof.storage.records.MemoryRecords._values`, where only memprof has one.
        kept_by: what keeps the owner alive, from whatever has the attribute upwards; what is
            memprof's own as one link.
        thing: whatever has the attribute.
    """

    name: str
    kept_by: tuple[str, ...]
    thing: Any = None


NOBODY = Owner("", ())


class Owners:
    """The living object graph, climbed from what is held to what holds it.

    A climb ends at a module, a class, a running function, or at `population`. `ignored` are the
    caller's own containers.
    """

    def __init__(self, population: object, ignored: Iterable[Any]) -> None:
        mine = {id(self), *map(id, ignored)}
        self._things = [thing for thing in everything() if id(thing) not in mine]
        self._modules = {
            id(module.__dict__): name
            for name, module in list(sys.modules.items())
            if issubclass(type(module), ModuleType)
        }
        self._classes = {
            id(namespace(kind)): kind for kind in self._things if issubclass(type(kind), type)
        }
        self._locals = dict(_running_locals())
        self._population = population

    def of(self, keys: Iterable[Key], holders: Mapping[int, Any]) -> dict[Key, Owner]:
        """The owner of each holder; `holders` has the things by their ids."""
        parents = self._parents(holders)
        ways = {key: self._way(each, parents) for key, each in holders.items()}
        return {key: self._owner(ways[key[0]], key[1]) for key in keys}

    def _parents(self, holders: Mapping[int, Any]) -> dict[int, list[Any]]:
        """What refers to each thing, upwards until every holder has a way to a root."""
        parents: dict[int, list[Any]] = {}
        frontier = dict(holders)
        for _ in range(_MOST_LINKS):
            frontier = {key: each for key, each in frontier.items() if not self._is_root(each)}
            parents.update(self._referrers(frontier))
            if all(self._is_root(self._way(each, parents)[-1]) for each in holders.values()):
                break
            above = [parent for key in frontier for parent in parents[key]]
            frontier = {id(each): each for each in above if id(each) not in parents}
        return parents

    def _referrers(self, targets: Mapping[int, Any]) -> dict[int, list[Any]]:
        """Some of what refers to each target, by the target's id."""
        found: dict[int, list[Any]] = {key: [] for key in targets}
        wanted = targets.keys()
        for portion in portions(self._things):
            if wanted.isdisjoint(map(id, referents_of(portion))):
                continue
            for thing in portion:
                for key in wanted & set(map(id, referents_of([thing]))):
                    if len(found[key]) < _MOST_REFERRERS and key != id(thing):
                        found[key].append(thing)
        return found

    def _way(self, thing: Any, parents: Mapping[int, list[Any]]) -> Way:
        """The shortest way from a thing to a root, or the longest if none leads to one."""
        way: Way = [thing]
        ways, seen = [way], {id(thing)}
        while ways:
            way = ways.pop(0)
            if self._is_root(way[-1]):
                return way
            for parent in parents.get(id(way[-1]), ()):
                if id(parent) not in seen:
                    seen.add(id(parent))
                    ways.append([*way, parent])
        return way

    def _is_root(self, thing: Any) -> bool:
        key = id(thing)
        return (
            key in self._modules
            or key in self._classes
            or key in self._locals
            or thing is self._population
            or issubclass(type(thing), type)
        )

    def _owner(self, way: Way, slot: str | None) -> Owner:
        """The first thing on the way that has a name for what is below it; one of memprof's own
        only where nobody else's has."""
        memprofs: Owner | None = None
        for place, thing in enumerate(way):
            name = self._name(thing, way[place - 1 :: -1] if place else [], slot)
            if name is not None:
                had_by = self._classes.get(id(thing), thing)
                owner = Owner(name, self._links(way[place:]), had_by)
                if not is_memprofs_own(name):
                    return owner
                memprofs = memprofs or owner
        return memprofs or Owner(next(iter(self._seen(way[0])[2]), "cell"), self._links(way[1:]))

    def _name(self, thing: Any, below: Way, slot: str | None) -> str | None:
        """What is directly below as `thing` calls it; None if that has no name there."""
        title, names, _ = self._seen(thing)
        if names is None:
            return title
        if below and below[0] is namespace(thing):  # what is below that has the name
            below = below[1:]
        nameless = "*" if self._is_root(thing) and thing is not self._population else None
        name = find_name(names, below, slot) or nameless
        return f"{title}{name}" if name else None

    def _links(self, way: Way) -> tuple[str, ...]:
        """What is on the way; memprof's own, with the containers that are its, as one."""
        links: list[str] = []
        memprofs, above = False, None
        for thing in reversed(way):
            if thing is self._population or is_memprofs_own(self._seen(thing)[0]):
                if not memprofs:
                    links.append(_POPULATION if thing is self._population else "memprof")
                memprofs = True
            elif not (thing is namespace(above) or (memprofs and type(thing) in _PLAIN)):
                links += reversed(self._seen(thing)[2])
                memprofs = False
            above = thing
        return tuple(reversed(links))[:_MOST_LINKS]

    def _seen(self, thing: Any) -> tuple[str, Mapping[str, Any] | None, tuple[str, ...]]:
        """A thing as a reader sees it: what comes before the names that it has for others, these
        names, None where none is needed, and what it is in a path."""
        key, kind = id(thing), type(thing)
        if key in self._locals:
            return self._locals[key], None, ("running function",)
        if key in self._modules:
            module = self._modules[key]
            return f"{module}.", thing, (f"module {module}",)
        if key in self._classes or issubclass(kind, type):
            owner, names = self._classes.get(key, thing), thing if key in self._classes else {}
            links = f"class {owner.__qualname__}", f"module {owner.__module__}"
            return f"{titled(owner)}.", names, links
        if issubclass(kind, FunctionType | LruCache):
            title, link = (
                f"{thing.__module__}.{thing.__qualname__}",
                f"function {thing.__qualname__}",
            )
            if issubclass(kind, LruCache):
                return f"{title} (lru_cache)", None, (link,)
            return f"{title}: ", _variables(thing), (link,)
        if issubclass(kind, GeneratorType | FrameType):
            code = thing.gi_code if issubclass(kind, GeneratorType) else thing.f_code
            link = f"{kind.__name__} {code.co_qualname}"
            return f"{_qualified(code)}: ", _variables(thing), (link,)
        method = issubclass(kind, MethodType)
        link = f"method {thing.__qualname__}" if method else kind.__qualname__
        shown = () if issubclass(kind, CellType) else (link,)
        return f"{titled(kind)}.", attributes(thing), shown


def titled(kind: type) -> str:
    """A class by its name; memprof's own with its module, to be known as such."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    return name if is_memprofs_own(name) else kind.__qualname__


def _qualified(code: CodeType) -> str:
    """A function by its name; memprof's own with its module."""
    if not code.co_filename.startswith(PACKAGE):
        return code.co_qualname
    module = code.co_filename.removeprefix(PACKAGE).removesuffix(".py").replace("/", ".")
    return f"memprof.{module}.{code.co_qualname}"


def find_name(names: Mapping[str, Any], below: Way, slot: str | None) -> str | None:
    """The name of the nearest thing below that has one; `slot` if there is nothing below."""
    if not below:
        return slot
    for thing in below:
        for name, value in names.items():
            if value is thing:
                return name
    return None


def _variables(thing: Any) -> dict[str, Any]:
    """A function's closure variables, defaults and attributes, or what a frame calls by name."""
    if issubclass(type(thing), FunctionType):
        code = thing.__code__
        defaults = thing.__defaults__ or ()
        arguments = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
        return {
            **dict(zip(code.co_freevars, thing.__closure__ or (), strict=True)),
            **dict(zip(arguments, defaults, strict=True)),
            **(thing.__kwdefaults__ or {}),
            **thing.__dict__,
        }
    frame = thing.gi_frame if issubclass(type(thing), GeneratorType) else thing
    return {} if frame is None else dict(frame.f_locals)


def _running_locals() -> Iterator[tuple[int, str]]:
    """Containers that running functions have variables for, by id; not memprof's own."""
    for frame in sys._current_frames().values():
        running: FrameType | None = frame
        while running is not None:
            if not running.f_globals.get("__name__", "").startswith("memprof."):
                for name, value in running.f_locals.items():
                    if type(value) in (list, dict, set):
                        yield id(value), f"{running.f_code.co_qualname}: {name}"
            running = running.f_back
