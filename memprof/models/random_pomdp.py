"""A POMDP with dense random likelihoods and transitions: nothing in it is sparse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from memprof.errors import ScenarioError
from memprof.models.base import GenerativeModel, object_array


def builder(
    num_obs: int | Sequence[int],
    num_states: int | Sequence[int],
    num_controls: int | Sequence[int],
    seed: int,
    folder: str,
) -> Callable[[int], GenerativeModel]:
    """One modality per entry of `num_obs`, one factor per entry of `num_states`."""
    observations, states, controls = map(_listed, (num_obs, num_states, num_controls))
    if len(controls) != len(states):
        raise ScenarioError(
            "model.num_controls",
            f"expected one number per factor of num_states ({len(states)}), found {len(controls)}",
        )

    def build(agent: int) -> GenerativeModel:
        random = np.random.default_rng(seed)

        def categorical(*shape: int) -> np.ndarray:
            weights = random.random(shape)
            weights /= weights.sum(axis=0)
            return weights

        return GenerativeModel(
            {
                "A": object_array([categorical(o, *states) for o in observations]),
                "B": object_array(
                    [categorical(s, s, u) for s, u in zip(states, controls, strict=True)]
                ),
                "C": object_array([random.normal(size=o) for o in observations]),
                "D": object_array([categorical(s) for s in states]),
            }
        )

    return build


def _listed(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)
