"""Pass `template` of JAX agents: they rest on the host as exact differences from the template."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from memprof.passes.jax.base import JaxPass, State
from memprof.store.block import Block


class Template(JaxPass):
    """Agents step in chunks; between their steps a chunk is one block of encoded rows."""

    compiles = shares = chunks = True

    def open(self, template: State) -> None:
        rows, self._structure = jax.tree_util.tree_flatten(template)
        self._rows = [np.array(row[0]) for row in rows]

    def rest(self, state: State) -> Any:
        arrays = [np.asarray(array) for array in jax.tree_util.tree_leaves(state)]
        return Block.of(arrays, self._rows_for(arrays))

    def wake(self, stored: Any) -> State:
        arrays = stored.arrays(self._rows_for([dtype for _, dtype in stored.layout]))
        state: State = jax.tree_util.tree_unflatten(self._structure, arrays)
        return state

    def _rows_for(self, arrays: list[Any]) -> list[np.ndarray]:
        """The template's rows in the precision in which agents rest."""
        return [
            row.astype(getattr(array, "dtype", array))
            for row, array in zip(self._rows, arrays, strict=True)
        ]
