"""What memprof has to know of a class of agents: where its agents keep what they are, and how a
store recognises it wherever it lives by then.
"""

from __future__ import annotations

import json
import sys
import weakref
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from types import FunctionType, MemberDescriptorType
from typing import Any, Self

from memprof.errors import StoreError, UsageError
from memprof.storage.untrusted import CREATE_AGAIN, parsed, shown
from memprof.upstream import installed
from memprof.upstream.attributes import set_by_pymdp
from memprof.upstream.installed import PACKAGE

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by an extension module


class StoredAgent:
    """What is left of an agent object whose state a population has stored.

    It becomes the agent again when that is activated, for whoever holds it.
    """

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_stored(name))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(_stored(name))

    def __delattr__(self, name: str) -> None:
        raise AttributeError(_stored(name))

    def __reduce_ex__(self, protocol: Any) -> Any:  # copies of it would be empty agents
        raise AttributeError(_stored("copy"))


def _stored(name: str) -> str:
    return (
        f"{name}: this agent is stored in a population; use `with population.activate(index) as "
        "agent:`, and that agent only inside the block"
    )


def is_stored(agent: Any) -> bool:
    """Whether a population, rather than the object itself, holds the agent's state."""
    return bool(getattr(type(agent), "_memprof_stored", False)) or type(agent) is StoredAgent


class AgentClass:
    """One class of agents.

    Attributes:
        kind: the class itself.
        pymdps: attributes that PyMDP sets.
    """

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.pymdps = set_by_pymdp(kind)
        self._slots = _slots(kind)
        self._stored = StoredAgent if not self._slots else _stored_class(kind)

    @property
    def copies(self) -> bool:
        """Whether `state` is a copy of the agent's own dict."""
        return bool(self._slots)

    def state(self, agent: Any) -> dict[str, Any]:
        """All attributes of an agent, including those in slots."""
        own: dict[str, Any] = object.__getattribute__(agent, "__dict__")
        if not self._slots:
            return own
        inside = {}
        for name, slot in self._slots.items():
            try:
                inside[name] = slot.__get__(agent, self.kind)
            except AttributeError:
                continue  # empty
        return {**inside, **own}

    def made(self, state: dict[str, Any], stored: Any = None) -> Any:
        """An agent with this state: `stored` itself, if that is what is left of it."""
        if stored is None:
            agent: Any = object.__new__(self.kind)
        else:
            agent = stored
            object.__setattr__(agent, "__class__", self.kind)
        for name, slot in self._slots.items():
            if name in state:
                slot.__set__(agent, state.pop(name))
        if state:
            own: dict[str, Any] = object.__getattribute__(agent, "__dict__")
            own.update({**state, **own})  # somebody may have kept the dict, and written to it
        return agent

    def is_kept(self, agent: Any) -> bool:
        """Whether somebody has a weak reference to the agent, or holds its dict."""
        own = object.__getattribute__(agent, "__dict__")
        return weakref.getweakrefcount(agent) > 0 or sys.getrefcount(own) > _REFERENCES

    def empty(self, agent: Any) -> None:
        """Take all attributes from an agent; whoever still holds it is told so when using it."""
        object.__getattribute__(agent, "__dict__").clear()
        for slot in self._slots.values():
            try:
                slot.__delete__(agent)
            except AttributeError:
                continue
        object.__setattr__(agent, "__class__", self._stored)


@lru_cache
def agent_class(kind: type) -> AgentClass:
    """The description of a class.

    Raises:
        UsageError: its agents hold more than their attributes, which would be lost at rest.
    """
    name = f"agents: {kind.__module__}.{kind.__qualname__}"
    problem = _problem(kind)
    if problem:
        raise UsageError(f"{name} {problem}")
    try:
        return AgentClass(kind)
    except Exception as error:
        raise UsageError(
            f"{name} has slots and cannot be derived from ({type(error).__name__}: {error}), "
            "which storing needs; remove the slots, or leave template and mmap out of passes"
        ) from error


def _references() -> int:
    """The reference count of an agent's dict that nobody else holds."""

    class Probe:
        pass

    own = object.__getattribute__(Probe(), "__dict__")
    return sys.getrefcount(own) + 1  # the agent's


_REFERENCES = _references()


def _problem(kind: type) -> str | None:
    """Why agents of this class cannot be stored as their attributes."""
    for base in kind.__mro__[:-1]:
        if not base.__flags__ & _HEAP_TYPE:
            return (
                f"also derives from {base.__qualname__}, whose contents are not attributes and "
                f"would be lost at rest; keep a {base.__qualname__} in an attribute, or leave "
                "template and mmap out of passes"
            )
    if hasattr(kind, "__del__"):
        return (
            "has __del__, which would be called at other times than without memprof, or never; "
            "use a method of another name, or leave template and mmap out of passes"
        )
    if kind.__basicsize__ != _expected_size(kind):
        return (
            "holds data of an extension module, which would be lost at rest; keep such an object "
            "in an attribute, or leave template and mmap out of passes"
        )
    return None


def _expected_size(kind: type) -> int:
    """Bytes of an instance of a class with these slots, and a dict if that has one."""
    names = [f"slot{number}" for number in range(len(_slots(kind)))]
    more = ["__dict__"] * bool(kind.__dictoffset__) + ["__weakref__"] * bool(kind.__weakrefoffset__)
    return type("Probe", (), {"__slots__": (*names, *more)}).__basicsize__


def _slots(kind: type) -> dict[str, MemberDescriptorType]:
    """The slots of a class by the name that they are stored under: the attribute's, with the class
    before it where another one has a slot of that name too."""
    found: dict[str, MemberDescriptorType] = {}
    for base in kind.__mro__:
        for name, slot in vars(base).items():
            if isinstance(slot, MemberDescriptorType):
                key = name if name not in found else f"{base.__qualname__}.{name}"
                found[key] = slot
    return found


def _stored_class(kind: type) -> type:
    """A class of stored agents that agents with slots can become: one of the same layout."""

    def refuse(agent: Any, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(agent, name)
        raise AttributeError(_stored(name))

    names = ("__getattr__", "__setattr__", "__delattr__", "__reduce_ex__")
    refusing = {name: vars(StoredAgent)[name] for name in names}
    members = {
        **refusing,
        "__getattribute__": refuse,
        "__slots__": (),
        "__module__": __name__,
        "_memprof_stored": True,
    }
    return type(kind)("StoredAgent", (kind,), members)


_MOST_BYTES = 1 << 18
_NAMED = 5
_LIBRARIES = frozenset((*sys.stdlib_module_names, PACKAGE))
"""What their classes have, a class does not owe to its author."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of agents: its name, what its author gave it, and the PyMDP beneath it.

    Attributes:
        place: module and qualified name, for people only: a script's class is in `__main__`, and
            in the script's module for those who import it.
        slots: as they are called inside, private ones with their class's name.
        attributes: names of methods, properties and other attributes of the class.
        pymdp: the version.
        digest: of its source, which decides: 1.0.0 to 1.0.4 have the same NumPy agent.
    """

    place: str
    name: str
    slots: tuple[str, ...]
    attributes: tuple[str, ...]
    pymdp: str
    digest: str

    @classmethod
    def of(cls, kind: type) -> Self:
        slots, attributes = set(), set()
        for base in kind.__mro__:
            if base.__module__.partition(".")[0] in _LIBRARIES:
                continue
            for name, value in vars(base).items():
                if type(value) is MemberDescriptorType:
                    slots.add(name)
                elif _is_authors(name, value):
                    attributes.add(name)
        place = f"{kind.__module__}:{kind.__qualname__}"
        names = tuple(sorted(slots)), tuple(sorted(attributes))
        return cls(place, kind.__name__, *names, installed.version(), installed.digest())

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, data: memoryview, folder: Path) -> Self:
        """The class that the bytes in a store describe."""
        try:
            if len(data) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
            value = parsed(bytes(data))
            if type(value) is not dict or (*value,) != cls.__slots__:
                raise ValueError(f"expected {', '.join(cls.__slots__)}")
            place, name, slots, attributes, *pymdp = value.values()
            if type(slots) is not list or type(attributes) is not list:
                raise ValueError("expected lists of slots and attributes")
            if any(type(each) is not str for each in (place, name, *slots, *attributes, *pymdp)):
                raise ValueError("expected names")
        except ValueError as error:
            raise StoreError(
                f"{shown(folder)}: the description of the agents' class is damaged ({error}): "
                f"{CREATE_AGAIN}"
            ) from error
        return cls(place, name, tuple(slots), tuple(attributes), *pymdp)

    def pymdps_own(self, folder: Path) -> type:
        """PyMDP's own class, if this is it. Others are never imported by the name in a store.

        Raises:
            UsageError: it is another.
        """
        from memprof.upstream.numpy_agent import Agent

        module = self.place.partition(":")[0]
        known = self.name == "Agent" and module.partition(".")[0] == PACKAGE
        if not known or self.slots or self.attributes:
            name = shown(self.name)
            raise UsageError(
                f"agent_class: {shown(folder)} holds agents of class {shown(self.place)}; give it, "
                f"or what has become of it: memprof.reopen(folder, {name})"
            )
        own: type = Agent
        return own

    def check(self, kind: type, folder: Path) -> None:
        """Whether `kind` is this class, or has become of it, under whatever name: it has all that
        was there; more is fine. And whether PyMDP's own part of it is the same."""
        found = type(self).of(kind)
        if found.digest != self.digest:
            version = shown(self.pymdp)
            raise StoreError(
                f"{shown(folder)}: holds agents of PyMDP {version}, found {found.pymdp}, whose "
                f"NumPy agent is another one; open it with PyMDP {version}, or {CREATE_AGAIN}"
            )
        lacks = ""
        for what, mine, others in (
            ("slots", self.slots, found.slots),
            ("attributes", self.attributes, found.attributes),
        ):
            missing = sorted({*mine} - {*others})
            if missing:
                more = ", ..." if len(missing) > _NAMED else ""
                lacks += f"the {what} {', '.join(missing[:_NAMED])}{more}, "
        if lacks:
            raise StoreError(
                f"{shown(folder)}: holds agents of class {shown(self.place)}, found "
                f"{found.place}, which lacks {shown(lacks.removesuffix(', '))}; open it with "
                "the class that it was made with"
            )


def _is_authors(name: str, value: object) -> bool:
    """Whether an attribute of a class was written by its author, and not by Python around it."""
    if name.startswith("__") and name.endswith("__"):
        return isinstance(value, FunctionType | classmethod | staticmethod | property)
    return name != "_abc_impl"
