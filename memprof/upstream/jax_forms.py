"""The forms in which PyMDP's JAX agent takes its arguments, read as its constructor reads them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from pymdp.distribution import Distribution, get_dependencies

# Axes of the arrays of one modality, or factor, that depends on a single factor.
_PLAIN_AXES = {"A": 2, "B": 3, "C": 1, "D": 1, "H": 1, "pA": 2, "pB": 3}

Lists = list[list[int]]


def listed(name: str, value: Any) -> list[Any]:
    """The arrays, or distributions, of each modality or factor; a plain array is that of one.

    Raises:
        TypeError: it holds no arrays.
    """
    if isinstance(value, Distribution):
        return [value]
    if hasattr(value, "distributions"):  # of a compiled model
        return list(value.distributions)
    if hasattr(value, "ndim") and value.dtype != object:
        return [value] if value.ndim <= _PLAIN_AXES.get(name, 0) else list(value)
    if not isinstance(value, list | tuple | np.ndarray):
        raise TypeError(f"no list of arrays: {type(value).__name__}")
    return list(value)


def data_of(each: Any) -> Any:
    """The array of a distribution, or what was given as one."""
    return each.data if isinstance(each, Distribution) else each


def factors_of(A: Sequence[Any], B: Sequence[Any]) -> tuple[Lists, Lists]:
    """Factors that each A and each B depends on, where nothing is said of it."""
    if isinstance(A[0], Distribution) and isinstance(B[0], Distribution):
        found: tuple[Lists, Lists] = get_dependencies(A, B)
        return found
    return [list(range(len(B))) for _ in A], [[factor] for factor in range(len(B))]


def flattened(array: np.ndarray, controls: int) -> np.ndarray:
    """An array of transitions that has an axis for each of so many controls, with one for all of
    their combinations."""
    kept = array.shape[: array.ndim - controls]
    return array.reshape(*kept, prod(array.shape[array.ndim - controls :]))
