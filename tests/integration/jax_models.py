"""Small JAX agents, and a world for them that needs nothing of PyMDP's."""

import jax.numpy as jnp
import numpy as np

from memprof.models.built_in import grid_world, random_pomdp, t_maze
from memprof.upstream.jax_agent import Agent

MODELS = {
    "t-maze": t_maze(0.98, ""),
    "grid-10": grid_world(10, ""),
    "coins": random_pomdp([3], [2], [2], 1, ""),  # small: soon compiled
}


def arrays_of(model):
    return {
        name: [jnp.asarray(array, jnp.float32) for array in MODELS[model](0).arguments[name]]
        for name in "ABCD"
    }


def agents(model, size, **keywords):
    """PyMDP's batch of so many."""
    arrays = arrays_of(model)
    if keywords.get("learn_A"):
        keywords["pA"] = [array + 0.5 for array in arrays["A"]]
    if model == "t-maze":
        keywords = {"control_fac_idx": [0], **keywords}
    return Agent(**arrays, batch_size=size, action_selection="stochastic", **keywords)


class World:
    """As many worlds as agents, drawn with NumPy from the model that they have."""

    def __init__(self, model, size):
        self._random, self._size = np.random.default_rng(5), size
        arguments = MODELS[model](0).arguments
        self._A, self._B = ([np.asarray(x, float) for x in arguments[n]] for n in "AB")
        self._places = [self._drawn(np.outer(d, np.ones(size))) for d in arguments["D"]]

    def observe(self, actions=None):
        """Per modality, shape (agents, 1)."""
        if actions is not None:
            self._places = [
                self._drawn(b[:, place, action])
                for b, place, action in zip(self._B, self._places, actions.T, strict=True)
            ]
        seen = [self._drawn(a[(slice(None), *self._places)]) for a in self._A]
        return [each[:, None].astype(np.int32) for each in seen]

    def _drawn(self, odds):
        return (self._random.random(self._size) < odds.cumsum(0) - 1e-9).argmax(0)
