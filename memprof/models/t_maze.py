"""PyMDP's T-maze: locations, a hidden reward condition, and a cue that reveals it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from memprof.models.base import GenerativeModel, object_array


def builder(reward_probability: float, folder: str) -> Callable[[int], GenerativeModel]:
    """Three modalities (location, reward, cue), two factors (location, reward condition)."""
    from pymdp.legacy.envs import TMazeEnv

    def build(agent: int) -> GenerativeModel:
        maze = TMazeEnv(reward_probs=[reward_probability, 1.0 - reward_probability])
        preferences = [np.zeros(observations) for observations in maze.num_obs]
        preferences[1][:] = (0.0, 3.0, -3.0)  # nothing, reward, loss
        start = np.zeros(maze.num_locations)
        start[0] = 1.0
        conditions = maze.num_reward_conditions
        return GenerativeModel(
            {
                "A": maze.get_likelihood_dist(),
                "B": maze.get_transition_dist(),
                "C": object_array(preferences),
                "D": object_array([start, np.full(conditions, 1.0 / conditions)]),
                "control_fac_idx": [0],
            }
        )

    return build
