"""Pass `belief`: beliefs at rest without their smallest entries, within a stated bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.flatten import is_objects

BOUND = 1e-6
"""Largest change of any entry of a belief at rest, and largest probability that is cut."""

_BELIEFS = ("qs", "latest_belief")


class Belief(Pass):
    """Prunes and rounds beliefs about states when an agent comes to rest.

    The smallest entries are set to zero as long as they sum to at most half of `BOUND`; the others
    are scaled up to sum to one, and rounded to single precision (relative error 6e-8), which makes
    them compress well. With pruned mass m, an entry changes by at most m / (1 - m) < `BOUND`, and
    the divergence of the pruned from the full posterior is -ln(1 - m) < `BOUND` nats. What that
    does to beliefs and actions later on is measured in every report.
    """

    packs = _BELIEFS

    def rest(self, agent: Any, index: int) -> None:
        attributes = vars(agent)
        for name in _BELIEFS:
            if name in attributes:
                attributes[name] = _pruned(attributes[name])


def _pruned(value: Any) -> Any:
    """Nested object arrays with their distributions pruned; the user's arrays stay as they are."""
    if is_objects(value):
        result = value.copy()
        flat = result.reshape(-1)
        for position, element in enumerate(value.ravel().tolist()):
            flat[position] = _pruned(element)
        return result
    if type(value) is np.ndarray and value.dtype == np.float64 and value.size:
        return prune(value)
    return value


def prune(distribution: np.ndarray) -> np.ndarray:
    """A distribution without its smallest entries, which sum to at most half of `BOUND`.

    Anything that is no distribution is returned as it is.
    """
    flat = distribution.reshape(-1)
    if not (np.all(flat >= 0) and abs(flat.sum() - 1) < 1e-9):
        return distribution
    order = np.argsort(flat)
    cut = int(np.searchsorted(np.cumsum(flat[order]), BOUND / 2, side="right"))
    pruned = flat.copy()
    pruned[order[:cut]] = 0.0
    rounded = (pruned / pruned.sum()).astype(np.float32)
    result: np.ndarray = rounded.astype(np.float64).reshape(distribution.shape)
    return result
