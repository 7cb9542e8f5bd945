"""What of an agent is one object with something else: an agent is a graph, not a tree.

Attributes are told apart by what it takes to bring them back as they were:

- a *tree*, whose lists, dicts and arrays belong to it alone, is compared with the template's;
- *linked* ones hold a list, dict or array more than once, or together: they are encoded in full,
  one after the other, with marks in place of what came before;
- *whole* ones hold what has no exact encoding, or what somebody else holds too (a mailbox, a world,
  a variable of the user's): they stay the objects that they are.

Whether somebody else holds an object is told by its count of references, less those found on the
way to it. PyMDP's own attributes are values: it replaces them and never writes into one, so that
variables that hold beliefs after a step mean nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memprof.store.constants import is_constant
from memprof.store.flatten import is_objects
from memprof.store.history import History
from memprof.store.layout import ATOMS, is_compact, is_nan, is_value, order_of, plain
from memprof.upstream.attributes import HISTORIES, LATEST, MODEL

_DEEPEST = 60  # levels of containers: waking takes three calls for each, where the user's stack is


@dataclass(frozen=True, slots=True)
class Links:
    """What the attributes of one agent have in common.

    Attributes:
        linked: attributes to be encoded in full, with marks.
        whole: attributes that stay as they are, each with its type and the reason.
        held: objects in them that somebody else holds too.
        bases: arrays, by identity, that several views in linked attributes look at.
    """

    linked: frozenset[str] = frozenset()
    whole: Mapping[str, str] = field(default_factory=dict)
    held: tuple[Any, ...] = ()
    bases: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Names:
    """The names of an agent's attributes, told apart once for all agents that have the same.

    Attributes:
        users: those that PyMDP does not set.
        histories: those that PyMDP appends to.
        changing: those that may differ from agent to agent.
    """

    users: tuple[str, ...]
    histories: tuple[str, ...]
    changing: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str], pymdps: Container[str], steady: Container[str] = ()) -> Names:
        """Of all names, in their order; `steady` are those that are compared at once."""
        every = tuple(names)
        return cls(
            tuple(name for name in every if name not in pymdps),
            tuple(name for name in HISTORIES if name in every),
            tuple(name for name in every if name not in steady),
        )


def links(
    state: Mapping[str, Any], names: Names, handed: Container[int] = (), copied: bool = False
) -> Links:
    """The links of an agent with the attributes `state`.

    Args:
        handed: arrays that memprof holds as well, by identity.
        copied: `state` is a copy of the attributes, which holds each of them once more.
    """
    users = [name for name in names.users if not is_value(state[name])]
    linked = _NONE
    for name in names.histories:
        if state[name] is not None:
            if held_elsewhere(state, name, references=copied):
                users.append(name)
            linked |= _linked_by_latest(state, name)
    linked |= _one_array(state, names)
    if not users:
        return Links(linked) if linked else NO_LINKS
    graph = _Graph(handed)
    for name in users:
        graph.visit(name, state[name], copied)
    if graph.held_elsewhere():  # or by PyMDP's attributes
        for name in state:
            if name not in users and not is_value(state[name]):
                graph.visit(name, state[name], copied)
    return graph.links(users, linked)


NO_LINKS = Links()


_NONE: frozenset[str] = frozenset()


def _linked_by_latest(state: Mapping[str, Any], name: str) -> frozenset[str]:
    """A history, and the attribute that its last entry is."""
    latest, entries = LATEST.get(name), state[name]
    if latest is None or type(entries) not in (list, History) or not entries:
        return _NONE
    last = entries.latest() if type(entries) is History else entries[-1]
    return frozenset((name, latest)) if last is not None and last is state.get(latest) else _NONE


def _one_array(state: Mapping[str, Any], names: Names) -> frozenset[str]:
    """Attributes that are one array, such as MMP's latest belief and the prior at first."""
    arrays = [value for value in map(state.get, names.changing) if type(value) is np.ndarray]
    numbers = [*map(id, arrays)]
    if len({*numbers}) == len(numbers):
        return _NONE
    return frozenset(name for name in names.changing if numbers.count(id(state[name])) > 1)


def held_elsewhere(state: Mapping[str, Any], name: str, references: int = 0) -> bool:
    """Whether somebody but the agent, and `references` of our own, holds the object that an
    attribute is."""
    return sys.getrefcount(state[name]) - references > _REFERENCES


def close_shared_containers(attributes: dict[str, Any]) -> dict[str, Any]:
    """Let a new agent that has an object array of its model in common with others, or with a
    variable of the user's, have a read-only copy of it; the attributes that were replaced.

    What is put into such a container would be everybody's without memprof, and one agent's with it.
    """
    shared = [
        name
        for name in MODEL
        if is_objects(attributes.get(name)) and held_elsewhere(attributes, name)
    ]
    originals = {name: attributes[name] for name in shared}
    for name, original in originals.items():
        copy = original.copy()
        copy.flags.writeable = False
        attributes[name] = copy
    return originals


_PROBE: dict[str, Any] = {"name": []}
_REFERENCES = sys.getrefcount(_PROBE["name"])


@dataclass(slots=True)
class _Node:
    """An object that can be told from its copy: how often it was met, and in which attribute."""

    value: Any
    references: int
    attribute: str


class _Graph:
    """The objects of an agent, as far as they have an encoding."""

    def __init__(self, handed: Container[int]) -> None:
        self._handed = handed
        self._nodes: dict[int, _Node] = {}
        self._groups: dict[str, str] = {}
        self._linked: set[str] = set()
        self._opaque: dict[str, str] = {}
        self._bases: set[int] = set()
        probe = _Node([], 0, "")
        self._our_references = sys.getrefcount(probe.value)

    def visit(self, attribute: str, value: Any, copied: bool) -> None:
        """Walk through an attribute."""
        self._groups.setdefault(attribute, attribute)
        self._meet(attribute, value, 1 + copied)
        level = self._parts(attribute, value)
        for _ in range(_DEEPEST):
            if not level:
                return
            level = [
                part
                for each in level
                if self._meet(attribute, each)
                for part in self._parts(attribute, each)
            ]
        if level:
            self._opaque[attribute] = f"{type(value).__qualname__}, nested too deeply"

    def _meet(self, attribute: str, value: Any, references: int = 1) -> bool:
        """Count one more reference; whether it is the first."""
        node = self._nodes.get(id(value))
        if node is None:
            self._nodes[id(value)] = _Node(value, references, attribute)
            return True
        node.references += references
        self._linked |= {attribute, node.attribute}
        self._join(attribute, node.attribute)
        return False

    def _parts(self, attribute: str, value: Any) -> list[Any]:
        """The objects in a container that can be told from their copies."""
        kind = type(value)
        parts: Iterable[Any] | None = None
        if kind is list or kind is tuple:
            parts = value
        elif kind is dict:
            if all(is_value(key) and not is_nan(key) for key in value):
                parts = value.values()
        elif kind is History:
            parts = value.objects()
        elif kind is np.ndarray:
            parts = self._of_array(attribute, value)
        if parts is None:
            self._opaque.setdefault(attribute, kind.__qualname__)
            return []
        return [part for part in parts if type(part) not in ATOMS and not is_value(part)]

    def _of_array(self, attribute: str, array: np.ndarray) -> list[Any] | None:
        """What an array refers to; None where that cannot be encoded."""
        if array.dtype == object:
            if array.base is not None or not is_compact(array) or order_of(array) != "C":
                return None
            elements: list[Any] = array.ravel().tolist()
            return elements
        if not plain(array.dtype):
            return None
        base: Any = array.base
        if self._is_ours(array):
            return []
        if not array.flags.writeable:
            self._linked.add(attribute)  # the template's would be a copy that is not
        if base is None or type(base) is bytes:
            return []
        if type(base) is not np.ndarray or not plain(base.dtype):
            return None  # memory that is not NumPy's
        owner: Any = base.base
        if owner is not None and type(owner) is not bytes:
            return None
        self._bases.add(id(base))
        self._meet(attribute, base)
        return []

    def _join(self, left: str, right: str) -> None:
        self._groups[self._group(left)] = self._group(right)

    def _group(self, attribute: str) -> str:
        while self._groups[attribute] != attribute:
            attribute = self._groups[attribute]
        return attribute

    def held_elsewhere(self) -> list[_Node]:
        """Objects with more references than were found; and those of memprof's own, whose
        references say nothing, and which are in attributes of PyMDP's as well."""
        ours = self._our_references
        return [
            node
            for node in self._nodes.values()
            if sys.getrefcount(node.value) - ours > node.references
        ]

    def links(self, users: Collection[str], others: frozenset[str]) -> Links:
        """What was found, beside `others` that are linked; of PyMDP's attributes only what is
        linked with the user's."""
        theirs = {self._group(name) for name in users}
        held = [
            node
            for node in self.held_elsewhere()
            if self._group(node.attribute) in theirs and not self._is_ours(node.value)
        ]
        reasons = dict(self._opaque)
        for node in held:
            kind = type(node.value).__qualname__
            reasons.setdefault(node.attribute, f"{kind}, held elsewhere too")
        stay = {self._group(name) for name in reasons} & theirs
        whole = {
            name: reasons.get(name, "with what it shares")
            for name in self._groups
            if self._group(name) in stay
        }
        linked = frozenset(name for name in self._linked | others if name not in whole)
        bases = {
            number
            for number in self._bases
            if self._nodes[number].references > 1 and self._nodes[number].attribute in linked
        }
        return Links(linked, whole, tuple(node.value for node in held), frozenset(bases))

    def _is_ours(self, value: Any) -> bool:
        return type(value) is np.ndarray and (id(value) in self._handed or is_constant(value))
