"""Perception of many agents with several factors: PyMDP's fixed-point iteration, for all at once.

Each agent iterates for as long as PyMDP would let it. Sums are in another order than PyMDP's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Any

import numpy as np

from memprof.optimise.pool import TINY, dots
from memprof.optimise.sums import AllAtOnce, softmax


def fixed_point(
    likelihoods: Sequence[np.ndarray],
    A_factors: Sequence[Sequence[int]],
    prior: Sequence[np.ndarray],
    sums: AllAtOnce,
    settings: Mapping[str, Any],
) -> list[np.ndarray]:
    """What agents believe of each factor, [agents, states], as `run_vanilla_fpi_factorized` finds
    it.

    Args:
        likelihoods: the logarithm of the likelihood of what each observes, of each modality;
            [agents, states of its factors...].
        A_factors: the factors that each modality depends on.
        prior: logarithms, of each factor; [agents, states].
    """
    sums.exact = False
    parameters = settings["inference_params"]
    least, stops = parameters["dF_tol"], parameters["compute_vfe"]
    agents = len(prior[0])
    beliefs = [np.full(each.shape, 1.0) / each.shape[1] for each in prior]
    energy = _divergence(beliefs, prior)
    active = np.arange(agents if not stops or parameters["dF"] >= least else 0)
    for _ in range(parameters["num_iter"]):
        if not len(active):
            break
        rows = slice(None) if len(active) == agents else active
        now = [each[rows] for each in beliefs]
        seen, expected = [each[rows] for each in likelihoods], [each[rows] for each in prior]
        new = [
            softmax(_evidence(factor, seen, A_factors, now) + expected[factor])
            for factor in range(len(prior))
        ]
        for mine, found in zip(beliefs, new, strict=True):
            mine[rows] = found
        if stops:
            after = _divergence(new, expected) - _accuracy(seen, A_factors, new)
            change = np.abs(energy[rows] - after)
            energy[rows] = after
            sums.doubtful[active] |= np.abs(change - least) <= 1e-9
            active = active[change >= least]
    return beliefs


def _evidence(
    factor: int,
    likelihoods: Sequence[np.ndarray],
    A_factors: Sequence[Sequence[int]],
    beliefs: Sequence[np.ndarray],
) -> np.ndarray:
    """What the modalities say of a factor, under beliefs of the others."""
    found = np.zeros_like(beliefs[factor])
    for likelihood, factors in zip(likelihoods, A_factors, strict=True):
        if factor in factors:
            found += _summed(likelihood, factors, beliefs, left=[factor])
    return found


def _accuracy(
    likelihoods: Sequence[np.ndarray],
    A_factors: Sequence[Sequence[int]],
    beliefs: Sequence[np.ndarray],
) -> np.ndarray:
    """The expected logarithm of all likelihoods; [agents]."""
    each = [
        _summed(likelihood, factors, beliefs, left=[])
        for likelihood, factors in zip(likelihoods, A_factors, strict=True)
    ]
    found: np.ndarray = np.sum(each, axis=0)
    return found


def _summed(
    likelihood: np.ndarray,
    factors: Sequence[int],
    beliefs: Sequence[np.ndarray],
    left: Sequence[int],
) -> np.ndarray:
    """The likelihood summed over what is believed of its factors, but for those `left`."""
    agents, place = "z", dict(zip(factors, ascii_lowercase, strict=False))
    gone = [factor for factor in factors if factor not in left]
    axes = ["".join(place.values()), *(place[factor] for factor in gone)]
    given = ",".join(f"{agents}{each}" for each in axes)
    kept = "".join(place[factor] for factor in left)
    found: np.ndarray = np.einsum(
        f"{given}->{agents}{kept}", likelihood, *(beliefs[each] for each in gone)
    )
    return found


def _divergence(beliefs: Sequence[np.ndarray], prior: Sequence[np.ndarray]) -> np.ndarray:
    """Of beliefs from their prior, summed over factors; [agents]."""
    each = [
        dots(mine, np.log(mine + TINY)) - dots(mine, expected)
        for mine, expected in zip(beliefs, prior, strict=True)
    ]
    found: np.ndarray = np.sum(each, axis=0)
    return found
