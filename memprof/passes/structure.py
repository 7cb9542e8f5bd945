"""The structure of PyMDP's matrices, and why computing from it alone gives the same bits.

All of it holds for numbers in [0, 2): there, 0 * x is +0.0, adding +0.0 changes no bit, and nothing
overflows. What is left of a sum are its nonzero terms, and their order and rounding decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_TWO: dict[np.dtype[Any], Any] = {
    np.dtype(np.float64): np.float64(2).view(np.uint64),
    np.dtype(np.float32): np.float32(2).view(np.uint32),
}
# The states that PyMDP's spm_MDP_G looks at, and what it adds inside the logarithm.
NEGLIGIBLE = np.exp(-16)
_FEW_ENTRIES = 2048


def in_range(array: np.ndarray) -> bool:
    """Whether all numbers are in [0, 2): no sign (so no -0.0), NaN or infinity. No temporary.

    Read as unsigned integers, exactly the bits of these numbers lie below those of 2.0.
    """
    two = _TWO.get(array.dtype)
    if two is None or array.size == 0:
        return False
    return bool(np.maximum.reduce(array.view(two.dtype), axis=None) < two)


@dataclass(frozen=True, slots=True)
class Entries:
    """The nonzero entries of a matrix of `height` rows; `values` is None when all are 1.0."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray | None
    height: int

    @classmethod
    def of(cls, matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Entries:
        values = matrix[rows, columns].astype(np.float64)
        return cls(rows, columns, None if (values == 1.0).all() else values, len(matrix))

    def product(self, vector: np.ndarray) -> np.ndarray:
        """matrix @ vector: each product rounded, then added from 0.0 on, in the entries' order."""
        terms = vector[self.columns]
        if self.values is not None:
            terms *= self.values
        return np.bincount(self.rows, terms, self.height)


def gathered(matrix: np.ndarray) -> Entries | None:
    """The entries, if matrix @ vector has the same bits however it is added up.

    That is so if each row has one entry (its product is rounded once, fused or not), or two that
    are 1.0 (their products are exact, and a + b is b + a).
    """
    if not in_range(matrix) or not 0 < np.count_nonzero(matrix) <= 2 * len(matrix):
        return None
    rows, columns = np.nonzero(matrix)
    entries = Entries.of(matrix, rows, columns)
    in_row = np.bincount(rows)[rows]
    ones = entries.values is None or (entries.values == 1.0)
    if not np.all((in_row == 1) | ((in_row == 2) & ones)):
        return None
    return entries


@dataclass(frozen=True, slots=True)
class Surprise:
    """What spm_MDP_G computes of A's columns, one per state: a state's outcomes, and sum p ln p."""

    outcomes: Entries
    certainty: np.ndarray

    @classmethod
    def of(cls, likelihood: np.ndarray) -> Surprise | None:
        """Of a likelihood whose entries are worth remembering: few, or few for its size."""
        if likelihood.ndim < 2 or not likelihood.flags.c_contiguous or not in_range(likelihood):
            return None
        if not 0 < np.count_nonzero(likelihood) <= max(_FEW_ENTRIES, likelihood.size // 8):
            return None
        matrix = likelihood.reshape(len(likelihood), -1)
        states, outcomes = np.nonzero(matrix.T)  # state by state, as PyMDP adds them
        certainty = np.array([_certainty(column) for column in matrix.T])
        return cls(Entries.of(matrix, outcomes, states), certainty)

    def under(self, states: np.ndarray) -> tuple[np.ndarray, np.float64]:
        """Expected outcomes and certainty: PyMDP's sums over states, with zeros left out or in."""
        certainty = np.add.accumulate(states * self.certainty)[-1] + 0.0
        return self.outcomes.product(states), certainty


def _certainty(column: np.ndarray) -> np.float64:
    outcomes = column.astype(np.float64)
    result: np.float64 = outcomes.dot(np.log(outcomes + NEGLIGIBLE))
    return result
