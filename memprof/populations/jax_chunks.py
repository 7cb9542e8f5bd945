"""How many JAX agents step together, and how many of these are computed at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.tree_util import tree_leaves

from memprof.upstream.jax_agent import Agent

MOST_PER_CHUNK = 1024
# What agents of one chunk may weigh while they are awake, and their temporary arrays of one group.
AWAKE_BYTES = 64 * 2**20
TEMPORARY_BYTES = 128 * 2**20


def grouped(agents: int, most: int, most_at_once: int) -> tuple[int, int]:
    """Agents per chunk, and those of it that are computed at once: even parts, and of a chunk whole
    groups."""
    size = even(agents, most)
    groups = -(-size // max(1, min(size, most_at_once)))
    width = -(-size // groups)
    return width * groups, width


def even(agents: int, most: int) -> int:
    """Agents per chunk of at most so many, all as large as the first."""
    return -(-agents // -(-agents // most))


def padded(rows: np.ndarray, size: int) -> np.ndarray:
    """The rows filled up with copies of the last one."""
    return np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1), "edge")


def temporary_bytes(agent: Agent, own: Any) -> int:
    """What one agent's step needs in passing: by XLA's account twice the transitions of its action
    or the likelihoods of its observation, and for learning some copies of the arrays that are its
    `own`."""
    arrays: list[int] = [array.nbytes for array in agent.A]
    arrays += [b.nbytes // b.shape[-1] for b in agent.B]
    learned: int = sum(array.nbytes for array in tree_leaves(own))
    return 2 * max(arrays) + 2 * learned
