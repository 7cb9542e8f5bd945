"""An explorer in a maze of its own: a grid world with walls where no other agent has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from memprof.models.base import GenerativeModel
from memprof.models.grid_world import explorer, open_grid


def builder(size: int, walls: float, seed: int, folder: str) -> Callable[[int], GenerativeModel]:
    """Grid of `size` x `size` cells, a share `walls` of them walls; a move into a wall stays."""
    moves = open_grid(size)
    cells = np.arange(size * size)

    def build(agent: int) -> GenerativeModel:
        random = np.random.default_rng([seed, agent])
        free = np.ones(len(cells), dtype=bool)
        free[random.choice(len(cells), round(walls * len(cells)), replace=False)] = False
        targets = np.where(free[moves], moves, cells)
        return GenerativeModel(explorer(targets, cells[free]), Maze(moves, free))

    return build


class Maze:
    """One agent's maze. It is stored as its walls, a byte per cell, so that it does not keep the
    agent's own, far larger B alive.
    """

    __slots__ = ("cell", "free", "moves")

    def __init__(self, moves: np.ndarray, free: np.ndarray) -> None:
        self.moves = moves
        self.free = free
        self.cell = 0

    def reset(self) -> int:
        self.cell = int(np.random.choice(np.flatnonzero(self.free)))
        return self.cell

    def step(self, action: Sequence[float]) -> int:
        target = int(self.moves[int(action[0]), self.cell])
        if self.free[target]:
            self.cell = target
        return self.cell
