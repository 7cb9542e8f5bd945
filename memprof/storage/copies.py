"""Exact copies of agents: independent of the agent in all that may change, and sharing the rest. Or
of what an agent holds, so that its arrays are all its own again."""

from __future__ import annotations

import copy
import random
from collections.abc import Collection, Container, Mapping
from operator import is_not
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from memprof.errors import UsageError
from memprof.storage.agent_class import agent_class
from memprof.storage.constants import of_constant
from memprof.storage.flatten import Flattener, NotStorable, is_objects
from memprof.storage.history import History
from memprof.storage.identity import Names, held_elsewhere, links
from memprof.storage.layout import copied, is_value
from memprof.storage.template_values import arrays_in, filled
from memprof.storage.unflatten import Reader

_UNCHANGING = (FunctionType, BuiltinFunctionType, ModuleType, type)
_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)
_REMEDY = "delete them from the agents first, and set them again in both populations"


def copy_of(agent: Any, kept: tuple[type, ...] = ()) -> Any:
    """The copy of an agent object, with its own arrays, lists and dicts, in which what is one
    object is one; constants are shared, as are values of the types in `kept`, which never change.

    Raises:
        UsageError: it holds what has no exact copy, or would be shared with the copy.
    """
    kind: type = type(agent)
    known = agent_class(kind)
    state = known.state(agent)
    found = links(state, Names.of(state, known.pymdps), copied=known.copies)
    whole = {name: state[name] for name in found.whole}
    same = {name: value for name, value in state.items() if type(value) in kept}
    same |= apart(whole, found.whole, references=1 + known.copies)
    flattener = Flattener(apart=True, bases=found.bases)
    rest = {name: value for name, value in state.items() if name not in same}
    try:
        layout = flattener.flatten(rest)
    except (NotStorable, RecursionError) as error:
        raise UsageError(f"agents: {error}: has no exact copy; {_REMEDY}") from None
    outside = tuple(own_array(array) for array in flattener.outside)
    made = Reader(flattener.data(), outside).unflatten(layout)
    return known.made({name: same.get(name, made.get(name)) for name in state})


def own_array(array: np.ndarray) -> np.ndarray:
    """A copy of an array; the array itself if nobody can write into it."""
    return array if of_constant(array) else copied(array)


def apart(
    whole: Mapping[str, Any], reasons: Mapping[str, str], references: int = 0
) -> dict[str, Any]:
    """For a copy, attributes that have no encoding, or that somebody else holds too: functions,
    classes and modules as they are, generators of random numbers in the same state.

    `references` are those to an attribute beside that in `whole`.

    Raises:
        UsageError: there are others.
    """
    found = {}
    for name in whole:  # not items, each of which the iterator would hold once more
        if isinstance(whole[name], _UNCHANGING):
            found[name] = whole[name]
        elif type(whole[name]) in _GENERATORS and not held_elsewhere(whole, name, references):
            found[name] = copy.deepcopy(whole[name])
    if others := whole.keys() - found.keys():
        what = ", ".join(
            f"{name} ({reasons.get(name, type(whole[name]).__qualname__)})"
            for name in sorted(others)
        )
        raise UsageError(
            f"agents: {what}: a copy would share it, or there is no exact one; {_REMEDY}"
        )
    return found


def own_again(
    attributes: dict[str, Any], shared: Collection[str], handed: Container[int] = ()
) -> None:
    """Let an agent have arrays of its own, as `Own`; but for those in `shared` attributes that are
    in no other one."""
    own = Own(handed)
    others = {name: value for name, value in attributes.items() if name not in shared}
    own(others)
    attributes.update(others)
    for name in shared:
        if name in attributes and own.has_met(attributes[name]):
            attributes[name] = own(attributes[name])


class Own:
    """What an agent holds with arrays of its own, which may be written into, in place of those that
    are constants or were lent (`handed`), and with lists in place of histories; what is one object
    stays one, and lists and dicts stay the objects that they are."""

    def __init__(self, handed: Container[int]) -> None:
        self._handed = handed
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if is_value(value):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = value, value  # which it may hold itself
            self._known[id(value)] = value, self._own(value)
        return self._known[id(value)][1]

    def has_met(self, value: Any) -> bool:
        """Whether a value, or an array in it, was in another one."""
        return id(value) in self._known or any(
            id(each) in self._known for each in arrays_in([value])
        )

    def _own(self, value: Any) -> Any:
        kind = type(value)
        if kind is History:
            return list(map(self, [*value]))
        if kind is list:
            value[:] = map(self, value)
        elif kind is dict:
            value.update({key: self(each) for key, each in value.items()})
        elif kind is tuple or is_objects(value):
            elements = [*value] if kind is tuple else value.ravel().tolist()
            own = list(map(self, elements))
            if any(map(is_not, own, elements)):
                return tuple(own) if kind is tuple else filled(value, own)
        elif kind is np.ndarray and (id(value) in self._handed or of_constant(value)):
            return copied(value)
        return value
