"""An explorer on a square grid, as PyMDP's GridWorldEnv: up, right, down, left, stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from memprof.models.base import GenerativeModel, object_array

_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))


def builder(size: int, folder: str) -> Callable[[int], GenerativeModel]:
    """Grid of `size` x `size` cells: the agent sees its cell and prefers the last one."""

    def build(agent: int) -> GenerativeModel:
        cells = size * size
        row, column = np.divmod(np.arange(cells), size)
        transitions = np.zeros((cells, cells, len(_MOVES)))
        for action, (down, right) in enumerate(_MOVES):
            target_row = np.clip(row + down, 0, size - 1)
            target_column = np.clip(column + right, 0, size - 1)
            transitions[target_row * size + target_column, np.arange(cells), action] = 1.0
        preferences = np.zeros(cells)
        preferences[-1] = 1.0
        return GenerativeModel(
            {
                "A": object_array([np.eye(cells)]),
                "B": object_array([transitions]),
                "C": object_array([preferences]),
                "D": object_array([np.full(cells, 1.0 / cells)]),
            }
        )

    return build
