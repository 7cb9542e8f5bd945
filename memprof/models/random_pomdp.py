"""A POMDP with dense random likelihoods and transitions: nothing in it is sparse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memprof.errors import ScenarioError
from memprof.models.base import GenerativeModel, object_array


def builder(
    num_obs: int | Sequence[int],
    num_states: int | Sequence[int],
    num_controls: int | Sequence[int],
    seed: int,
    folder: str,
    concentration: float = 1.0,
    per_agent: bool = False,
) -> Callable[[int], GenerativeModel]:
    """One modality per entry of `num_obs`, one factor per entry of `num_states`.

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
