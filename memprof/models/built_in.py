"""The models that come with memprof, each as its `kind` is called: what makes an agent's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memprof.errors import ScenarioError
from memprof.models import GenerativeModel, object_array
from memprof.models.factory import builder as factory
from memprof.models.npz import builder as npz

__all__ = ["factory", "grid_world", "maze", "npz", "random_pomdp", "t_maze"]

_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # as PyMDP's GridWorldEnv: the last is to stay


def grid_world(size: int, folder: str, inductive: bool = False) -> Callable[[int], GenerativeModel]:
    """An explorer on `size` x `size` cells, who goes up, right, down, left, or stays; `inductive`
    makes the preferred cell a goal, PyMDP's H."""
    targets = _open_grid(size)

    def build(agent: int) -> GenerativeModel:
        arguments = _explorer(targets, np.arange(size * size))
        if inductive:
            arguments["H"] = object_array([arguments["C"][0].copy()])
        return GenerativeModel(arguments)

    return build


def _open_grid(size: int) -> np.ndarray:
    """The cell that each action leads to from each cell (actions x cells); off the grid stays."""
    row, column = np.divmod(np.arange(size * size), size)
    return np.stack(
        [
            np.clip(row + down, 0, size - 1) * size + np.clip(column + right, 0, size - 1)
            for down, right in _MOVES
        ]
    )


def _explorer(targets: np.ndarray, free: np.ndarray) -> dict[str, Any]:
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


def maze(size: int, walls: float, seed: int, folder: str) -> Callable[[int], GenerativeModel]:
    """A grid of each agent's own, a share `walls` of its cells walls, into which no move leads."""
    moves = _open_grid(size)
    cells = np.arange(size * size)

    def build(agent: int) -> GenerativeModel:
        random = np.random.default_rng([seed, agent])
        free = np.ones(len(cells), dtype=bool)
        free[random.choice(len(cells), round(walls * len(cells)), replace=False)] = False
        targets = np.where(free[moves], moves, cells)
        return GenerativeModel(_explorer(targets, cells[free]), _Maze(moves, free))

    return build


class _Maze:
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


def t_maze(reward_probability: float, folder: str) -> Callable[[int], GenerativeModel]:
    """PyMDP's T-maze, whose cue reveals a hidden reward condition: three modalities (location,
    reward, cue), two factors (location, reward condition)."""
    from memprof.upstream.numpy_agent import TMazeEnv  # imports PyMDP

    def build(agent: int) -> GenerativeModel:
        world = TMazeEnv(reward_probs=[reward_probability, 1.0 - reward_probability])
        preferences = [np.zeros(observations) for observations in world.num_obs]
        preferences[1][:] = (0.0, 3.0, -3.0)  # nothing, reward, loss
        start = np.zeros(world.num_locations)
        start[0] = 1.0
        conditions = world.num_reward_conditions
        return GenerativeModel(
            {
                "A": world.get_likelihood_dist(),
                "B": world.get_transition_dist(),
                "C": object_array(preferences),
                "D": object_array([start, np.full(conditions, 1.0 / conditions)]),
                "control_fac_idx": [0],
            }
        )

    return build


def random_pomdp(
    num_obs: int | Sequence[int],
    num_states: int | Sequence[int],
    num_controls: int | Sequence[int],
    seed: int,
    folder: str,
    concentration: float = 1.0,
    per_agent: bool = False,
) -> Callable[[int], GenerativeModel]:
    """Dense likelihoods and transitions, nothing in them sparse: one modality per entry of
    `num_obs`, one factor per entry of `num_states`.

    With `per_agent` each agent draws a model of its own, and all live in one world, the model that
    they would have had in common; so no environment keeps an agent's own arrays alive.
    """
    observations, states, controls = map(_listed, (num_obs, num_states, num_controls))
    if len(controls) != len(states):
        raise ScenarioError(
            "model.num_controls",
            f"expected one number per factor of num_states ({len(states)}), found {len(controls)}",
        )

    def draw(random: np.random.Generator) -> dict[str, Any]:
        def categorical(*shape: int) -> np.ndarray:
            weights = random.standard_gamma(concentration, shape)
            weights /= weights.sum(axis=0)
            return weights

        return {
            "A": object_array([categorical(o, *states) for o in observations]),
            "B": object_array(
                [categorical(s, s, u) for s, u in zip(states, controls, strict=True)]
            ),
            "C": object_array([random.normal(size=o) for o in observations]),
            "D": object_array([categorical(s) for s in states]),
        }

    if not per_agent:
        return lambda agent: GenerativeModel(draw(np.random.default_rng(seed)))
    world = draw(np.random.default_rng(seed))
    return lambda agent: GenerativeModel(draw(np.random.default_rng([seed, agent])), world=world)


def _listed(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)
