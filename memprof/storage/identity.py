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
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from memprof.storage.flatten import is_objects
from memprof.storage.graph import Graph
from memprof.storage.history import History
from memprof.storage.layout import is_value
from memprof.upstream.attributes import ARRAYS, HISTORIES, LATEST, MODEL, set_by_pymdp


class Links(NamedTuple):
    """What the attributes of one agent have in common.

    Attributes:
        linked: attributes to be encoded in full, with marks.
        whole: attributes that stay as they are, each with its type and the reason.
        opaque: attributes in `whole` that have no exact encoding.
        users: the user's attributes that are no values, and those that have an object in common
            with one.
        held: objects in the attributes that somebody else holds too.
        bases: arrays, by identity, that several views in linked attributes look at.
    """

    linked: frozenset[str] = frozenset()
    whole: Mapping[str, str] = MappingProxyType({})
    opaque: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    held: tuple[Any, ...] = ()
    bases: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Names:
    """The names of an agent's attributes, told apart once for all agents that have the same.

    Attributes:
        users: those that PyMDP does not set.
        histories: those that PyMDP appends to, each with the attribute that its last entry is
            after a step, if there is one.
        arrays: others of PyMDP's that may be arrays.
        changing: those that may differ from agent to agent.
    """

    users: tuple[str, ...]
    histories: tuple[tuple[str, str | None], ...]
    arrays: tuple[str, ...]
    changing: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str], pymdps: Container[str], steady: Container[str] = ()) -> Names:
        """Of all names, in their order; `steady` are those that are compared at once."""
        every = tuple(names)
        return cls(
            tuple(name for name in every if name not in pymdps),
            tuple((name, LATEST.get(name)) for name in HISTORIES if name in every),
            tuple(name for name in ARRAYS if name in every and name not in steady),
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
    linked: tuple[str, ...] = ()
    for name, latest in names.histories:
        entries = state[name]
        if entries is None:
            continue
        if sys.getrefcount(entries) - copied > _REFERENCES + 1:  # ours
            users.append(name)
        if latest is not None and _is_latest(entries, state.get(latest)):
            linked += name, latest
    entries = None
    arrays = [id(state[name]) for name in names.arrays if state[name] is not None]
    if len({*arrays}) < len(arrays):  # such as MMP's latest belief and the prior at first
        linked += tuple([name for name in names.arrays if arrays.count(id(state[name])) > 1])
    if not users:
        return _only_linked(linked) if linked else NO_LINKS
    graph = Graph(handed, state)
    for name in users:
        graph.visit(name, state[name], 1 + copied)
    if graph.held_elsewhere():  # or by PyMDP's attributes
        for name in state:
            if name not in users and not is_value(state[name]):
                graph.visit(name, state[name], 1 + copied)
    return _of_users(graph, users, frozenset(linked), state)


def links_of(agent: Any, handed: Container[int] = (), copied: bool = False) -> Links:
    """The links of any agent."""
    kind: type = type(agent)
    return links(vars(agent), Names.of(vars(agent), set_by_pymdp(kind)), handed, copied)


NO_LINKS = Links()


def _of_users(
    graph: Graph, users: Collection[str], others: frozenset[str], state: Mapping[str, Any]
) -> Links:
    """What a graph says of attributes of the user's, and of those of PyMDP's that are linked with
    them; beside `others`, which are linked."""
    theirs = {graph.group(name) for name in users}
    held = [
        node
        for node in graph.held_elsewhere()
        if graph.group(node.attribute) in theirs and not graph.is_ours(node.value)
    ]
    reasons = dict(graph.opaque)
    for node in held:
        kind = type(node.value).__qualname__
        reasons.setdefault(node.attribute, f"{kind}, held elsewhere too")
    stay = {graph.group(name) for name in reasons} & theirs
    lost = {graph.group(name) for name in graph.opaque} & theirs
    whole = {
        name: reasons.get(name, "with what it shares")
        for name in graph.attributes()
        if graph.group(name) in stay
    }
    whole |= {name: "float, a key" for name, value in state.items() if id(value) in graph.nans}
    linked = frozenset(name for name in graph.linked | others if name not in whole)
    bases = {
        number
        for number in graph.bases
        if graph.nodes[number].references > 1 and graph.nodes[number].attribute in linked
    }
    opaque = frozenset(name for name in graph.attributes() if graph.group(name) in lost)
    linked_with = frozenset(name for name in graph.attributes() if graph.group(name) in theirs)
    values = tuple(node.value for node in held)
    return Links(linked, whole, opaque, linked_with, values, frozenset(bases))


def _is_latest(entries: Any, value: Any) -> bool:
    """Whether the last entry of a history is this object."""
    if value is None or not isinstance(entries, list):
        return False
    last = entries.latest() if type(entries) is History else entries[-1] if entries else None
    return last is value


@lru_cache(maxsize=256)
def _only_linked(names: tuple[str, ...]) -> Links:
    return Links(frozenset(names))


def held_by_user(agent: Any) -> Collection[int]:
    """The objects in the attributes that an agent's own class has added, by identity."""
    kind: type = type(agent)
    state, pymdps = vars(agent), set_by_pymdp(kind)
    users = [name for name in state.keys() - pymdps if not is_value(state[name])]
    if not users:
        return ()
    graph = Graph(())
    for name in users:
        graph.visit(name, state[name])
    return graph.nodes.keys()


def held_elsewhere(state: Mapping[str, Any], name: str, references: int = 0) -> bool:
    """Whether somebody but the agent, and `references` of our own, holds the object that an
    attribute is."""
    return sys.getrefcount(state[name]) - references > _REFERENCES


def close_shared_containers(agent: Any) -> dict[str, Any]:
    """Let a new agent that has an object array of its model in common with others, or with a
    variable of the user's, have a read-only copy of it; the attributes that were replaced.

    What is put into such a container would be everybody's without memprof, and one agent's with it.
    Where the user's own attributes hold it too, the agent keeps it instead.
    """
    attributes = vars(agent)
    kind: type = type(agent)
    containers = [name for name in attributes if is_objects(attributes[name])]
    if not any(name in MODEL and held_elsewhere(attributes, name) for name in containers):
        return {}
    graph = Graph(())
    for name in [name for name in attributes if not is_value(attributes[name])]:
        graph.visit(name, attributes[name])
    pymdps = set_by_pymdp(kind)
    theirs = {graph.group(name) for name in graph.attributes() if name not in pymdps}
    shared = {
        id(node.value)
        for node in graph.held_elsewhere()
        if is_objects(node.value) and graph.group(node.attribute) not in theirs
    }
    shared &= {id(attributes[name]) for name in containers if name in MODEL}
    originals = {name: attributes[name] for name in containers if id(attributes[name]) in shared}
    copies: dict[int, np.ndarray] = {}
    for name, original in originals.items():
        if id(original) not in copies:
            copies[id(original)] = original.copy()
            copies[id(original)].flags.writeable = False
        attributes[name] = copies[id(original)]
    return originals


_PROBE: dict[str, Any] = {"name": []}
_REFERENCES = sys.getrefcount(_PROBE["name"])
