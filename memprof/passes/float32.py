"""Pass `float32`: an agent's own matrices, and its beliefs at rest, in single precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.constants import is_constant
from memprof.store.nested import with_arrays_changed
from memprof.store.scratch import Loans

BOUND = 1e-5
"""Largest change of a belief that may come of it."""

_MATRICES = ("A", "B", "pA", "pB")
_BELIEFS = ("qs", "latest_belief", "q_pi", "G", "F")


class Float32(Pass):
    """Rounds arrays to single precision, relative error at most 2**-24.

    Matrices are rounded when an agent is built, and those that it learns when it comes to rest;
    PyMDP multiplies them with beliefs in double precision, so its sums are double as ever. Beliefs
    are rounded at rest and doubles in use. Arrays that `share` has united before are left alone;
    named before `share`, this pass rounds and `share` unites what is rounded.
    """

    def build(self, agent: Any, index: int) -> None:
        _replace(agent, _MATRICES, _rounded)

    def rest(self, agent: Any, index: int) -> None:
        _replace(agent, (*_MATRICES, *_BELIEFS), _rounded)

    def wake(self, agent: Any, index: int, loans: Loans) -> None:
        _replace(agent, _BELIEFS, _widened)


def _rounded(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float64 or is_constant(array):
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _replace(
    agent: Any, names: tuple[str, ...], change: Callable[[np.ndarray], np.ndarray]
) -> None:
    attributes = vars(agent)
    for name in names:
        if name in attributes:
            attributes[name] = with_arrays_changed(attributes[name], change)
