"""Pass `share`: equal arrays of different agents become one read-only array."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_not
from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.constants import Constants, noted_equal
from memprof.store.identity import links_of
from memprof.store.layout import plain
from memprof.upstream.attributes import MODEL


class Share(Pass):
    """Interns the arrays of agents' models by content, so that a population holds each distinct
    array once.

    Copy on write happens where PyMDP writes: its learning methods replace `agent.B` by a new array,
    which is the agent's own again. Code that writes into a shared array in place gets NumPy's
    "read-only" error instead of changing other agents; `agent.B[0] = agent.B[0].copy()` gives an
    agent its own copy. Containers (object arrays, lists) stay private for that reason. Arrays that
    an agent's own class has added may be written into, and are left alone, as is what these have in
    common with the model.
    """

    def build(self, agent: Any, index: int) -> None:
        constants, attributes = Constants(), vars(agent)
        users = links_of(agent, copied=True).users  # who builds holds what there was
        shared = {
            id(value): _shared(value, constants)
            for name, value in attributes.items()
            if name in MODEL and name not in users
        }
        for name, value in list(attributes.items()):
            if name not in users and shared.get(id(value), value) is not value:
                attributes[name] = shared[id(value)]  # whatever its class does when one is set

    def world_array(self, array: Any, first: Any) -> Any:
        return noted_equal(array)


def _shared(value: Any, constants: Constants) -> Any:
    """`value` with its arrays replaced by shared ones; `value` itself if there are none."""
    if type(value) is np.ndarray:
        if value.dtype == object:
            return _container(value, value.ravel().tolist(), constants, lambda e: _filled(value, e))
        return constants(value) if plain(value.dtype) and value.flags.aligned else value
    if type(value) in (list, tuple):
        return _container(value, value, constants, type(value))
    if type(value) is dict:
        return _container(
            value, value.values(), constants, lambda e: dict(zip(value, e, strict=True))
        )
    return value


def _container(
    value: Any, elements: Any, constants: Constants, rebuild: Callable[[list[Any]], Any]
) -> Any:
    shared = [_shared(element, constants) for element in elements]
    return rebuild(shared) if any(map(is_not, shared, elements)) else value


def _filled(like: np.ndarray, elements: list[Any]) -> np.ndarray:
    container = np.empty(len(elements), dtype=object)
    for position, element in enumerate(elements):
        container[position] = element
    container.flags.writeable = like.flags.writeable
    return container.reshape(like.shape)
