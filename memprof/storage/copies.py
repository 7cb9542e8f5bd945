"""Exact copies of agents: independent of the agent in all that may change, and sharing the rest."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from memprof.errors import UsageError
from memprof.storage.agent_class import agent_class
from memprof.storage.constants import of_constant
from memprof.storage.flatten import Flattener, NotStorable
from memprof.storage.identity import Names, held_elsewhere, links
from memprof.storage.layout import copied
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
