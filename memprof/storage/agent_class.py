"""What memprof has to know of a class of agents: where its agents keep what they are."""

from __future__ import annotations

import sys
import weakref
from functools import lru_cache
from types import MemberDescriptorType
from typing import Any

from memprof.errors import UsageError
from memprof.upstream.attributes import set_by_pymdp

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
    """Whether an agent's state is in a population, and not in the object."""
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
        """All attributes of an agent, those in slots too."""
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
    """What there is to know of a class.

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
            f"{name} has slots and cannot be derived from ({type(error).__name__}: {error}), which "
            "storing takes; leave the slots out, or template and mmap out of passes"
        ) from error


def _references() -> int:
    """References to the dict of an agent that nobody else holds."""

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
                f"derives from {base.__qualname__} as well, whose contents are not attributes and "
                f"would be lost at rest; keep a {base.__qualname__} in an attribute, or leave "
                "template and mmap out of passes"
            )
    if hasattr(kind, "__del__"):
        return (
            "has __del__, which would be called, or never be, at other times than without memprof; "
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
