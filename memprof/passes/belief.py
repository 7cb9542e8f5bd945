"""Pass `belief`: beliefs at rest without their smallest entries, within a stated bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.nested import with_arrays_changed

BOUND = 1e-6
"""Largest change of any later belief that may come of it."""

CUT = 1e-9
"""Largest probability that is cut from a belief at rest."""

_BELIEFS = ("qs", "latest_belief")


class Belief(Pass):
    """Prunes beliefs about states when an agent comes to rest.

    The smallest entries are set to zero as long as they sum to at most `CUT`, and the others are
    scaled up to sum to one. With pruned mass m, an entry changes by at most m / (1 - m), and the
    divergence of the pruned from the full posterior is -ln(1 - m) nats, both about 1e-9. What comes
    of it later is measured in every report and held to `BOUND`, which leaves room for a model that
    amplifies it.
    """

    packs = _BELIEFS

    def rest(self, agent: Any, index: int) -> None:
        attributes = vars(agent)
        for name in _BELIEFS:
            if name in attributes:
                attributes[name] = with_arrays_changed(attributes[name], prune)


def prune(distribution: np.ndarray) -> np.ndarray:
    """A distribution without its smallest entries, which sum to at most `CUT`.

    Anything that is no distribution is returned as it is.
    """
    if distribution.dtype != np.float64 or not distribution.size:
        return distribution
    flat = distribution.reshape(-1)
    if not (np.all(flat >= 0) and abs(flat.sum() - 1) < 1e-9):
        return distribution
    order = np.argsort(flat)
    cut = int(np.searchsorted(np.cumsum(flat[order]), CUT, side="right"))
    pruned = flat.copy()
    pruned[order[:cut]] = 0.0
    result: np.ndarray = (pruned / pruned.sum()).reshape(distribution.shape)
    return result
