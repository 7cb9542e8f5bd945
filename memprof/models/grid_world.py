"""An explorer on a square grid, as PyMDP's GridWorldEnv: up, right, down, left, stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from memprof.models.base import GenerativeModel, object_array

_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))


def builder(size: int, folder: str, inductive: bool = False) -> Callable[[int], GenerativeModel]:
    """Grid of `size` x `size` cells; `inductive` makes the preferred cell a goal, PyMDP's H."""
    targets = open_grid(size)

    def build(agent: int) -> GenerativeModel:
        arguments = explorer(targets, np.arange(size * size))
        if inductive:
            arguments["H"] = object_array([arguments["C"][0].copy()])
        return GenerativeModel(arguments)

    return build


def open_grid(size: int) -> np.ndarray:
    """The cell that each action leads to from each cell (actions x cells); off the grid stays."""
    row, column = np.divmod(np.arange(size * size), size)
    return np.stack(
        [
            np.clip(row + down, 0, size - 1) * size + np.clip(column + right, 0, size - 1)
            for down, right in _MOVES
        ]
    )


def explorer(targets: np.ndarray, free: np.ndarray) -> dict[str, Any]:
    """An agent that sees its cell, starts on any of the `free` ones and prefers the last of them.

    Args:
        targets: the cell that each action leads to from each cell (actions x cells).
        free: indices of the cells that the agent can be on.
    """
    actions, cells = targets.shape
    transitions = np.zeros((cells, cells, actions))
    for action, target in enumerate(targets):
        transitions[target, np.arange(cells), action] = 1.0
    preferences = np.zeros(cells)
    preferences[free[-1]] = 1.0
    start = np.zeros(cells)
    start[free] = 1.0 / len(free)
    return {
        "A": object_array([np.eye(cells)]),
        "B": object_array([transitions]),
        "C": object_array([preferences]),
        "D": object_array([start]),
    }
