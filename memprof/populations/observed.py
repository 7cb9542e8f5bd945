"""Observations of agents that take turns together: an index for each modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def indices_of(observations: Any, outcomes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Those of the observations that are an index for each modality, [agents, modalities]; and
    which ones they are.

    Args:
        observations: of each agent, as `OptimizedPopulation.act` takes them.
        outcomes: how many there are, of each modality.
    """
    if isinstance(observations, np.ndarray):
        seen = observations if observations.ndim > 1 else observations[:, np.newaxis]
        if seen.shape[1:] != (len(outcomes),):
            return np.empty((0, len(outcomes)), np.int64), np.zeros(len(seen), bool)
        within = np.all((seen >= 0) & (seen < outcomes), axis=1)
        return seen[within].astype(np.int64), within
    each = [[seen] if _is_index(seen) else seen for seen in observations]
    fits = np.array([_fits(seen, outcomes) for seen in each], bool)
    found = [[*seen] for seen, fit in zip(each, fits, strict=True) if fit]
    return np.array(found, np.int64).reshape(-1, len(outcomes)), fits


def _fits(seen: Any, outcomes: Sequence[int]) -> bool:
    if not isinstance(seen, (list, tuple, np.ndarray)) or getattr(seen, "ndim", 1) == 0:
        return False
    return len(seen) == len(outcomes) and all(
        _is_index(one) and 0 <= one < count for one, count in zip(seen, outcomes, strict=True)
    )


def _is_index(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and type(value) is not bool
