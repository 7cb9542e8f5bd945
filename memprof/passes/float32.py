"""Pass `float32`: matrices and beliefs rest in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.constants import is_constant
from memprof.store.flatten import is_objects
from memprof.store.scratch import Loans

BOUND = 1e-5
"""Largest change of a belief that may come of it."""

_ROUNDED = ("A", "B", "C", "D", "E", "pA", "pB", "pD", "qs", "latest_belief", "q_pi", "G", "F")


class Float32(Pass):
    """Rounds an agent's arrays to single precision at rest, relative error at most 2**-24.

    PyMDP computes in double precision as ever: waking widens the arrays, the large ones into
    buffers that are lent from agent to agent. An array that PyMDP did not replace while the agent
    was active goes back to the rounded one, so errors do not add up. Arrays that agents share are
    left alone, as rounding them saves nothing.
    """

    def __init__(self) -> None:
        # Of active agents, by index: arrays handed out, with the rounded ones they came from.
        self._handed: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = {}

    def rest(self, agent: Any, index: int) -> None:
        handed = self._handed.pop(index, {})

        def rounded(array: np.ndarray) -> np.ndarray:
            if array.dtype != np.float64 or is_constant(array):
                return array
            known = handed.get(id(array))
            return known[1] if known and known[0] is array else _rounded(array)

        _replace(agent, rounded)

    def wake(self, agent: Any, index: int, loans: Loans) -> None:
        handed = self._handed[index] = {}

        def widened(array: np.ndarray) -> np.ndarray:
            if array.dtype != np.float32:
                return array
            wide = loans.widened(array)
            handed[id(wide)] = (wide, array)
            return wide

        _replace(agent, widened)


def _rounded(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _replace(agent: Any, change: Any) -> None:
    attributes = vars(agent)
    for name in _ROUNDED:
        if name in attributes:
            attributes[name] = _changed(attributes[name], change)


def _changed(value: Any, change: Any) -> Any:
    """Nested object arrays, new ones, with every array inside changed."""
    if is_objects(value):
        result = value.copy()
        flat = result.reshape(-1)
        for position, element in enumerate(value.ravel().tolist()):
            flat[position] = _changed(element, change)
        return result
    return change(value) if type(value) is np.ndarray else value
