"""Pass `sparse`: matrices that are mostly zeros rest as their other entries."""

from __future__ import annotations

from typing import Any

from memprof.passes.base import Pass
from memprof.store.constants import is_constant
from memprof.store.difference import ChangedArray
from memprof.store.layout import zeros


class Sparse(Pass):
    """An agent's own A, B and their priors at rest: positions and values of the nonzero entries.

    PyMDP's functions get dense arrays: waking scatters the entries into a buffer that holds zeros
    and is lent from agent to agent. (Sparse matrices in place of arrays would be mis-handled by
    `np.einsum` and `np.dot` without a word.) Arrays that agents share are left alone.
    """

    packs = ("A", "B", "pA", "pB")

    def world_array(self, array: Any, first: Any) -> Any:
        if is_constant(array):
            return array
        return ChangedArray.of(array, zeros(array.dtype.str, array.shape, "C"))
