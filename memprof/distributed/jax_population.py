"""A population of the user's own JAX agents over the shards of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from memprof.api.jax_checks import check_agent, check_keys, check_rows
from memprof.distributed.population import DistributedPopulation
from memprof.distributed.rows import gathered, sent


class DistributedJaxPopulation(DistributedPopulation):
    """As `DistributedPopulation`, for agents of PyMDP's JAX backend: `act` and `map` take what they
    take in `OptimizedJaxPopulation`.

    Actions do not depend on the number of shards. Beliefs may, in their last places, as those of
    batches of two sizes do.
    """

    _backend = "jax"

    def _check_new(self, agent: Any) -> None:
        check_agent(agent, size=1)

    def act(  # type: ignore[override]
        self, observations: Sequence[Any], key: Any, indices: Sequence[int] | None = None
    ) -> tuple[np.ndarray, Any]:
        """One turn of every agent; as of `OptimizedJaxPopulation.act`.

        Args:
            observations: per modality, of shape (agents, 1), or (agents, 1, outcomes).
            key: a key of JAX, split as for a batch of all agents whose turn it is.
            indices: the agents whose turn it is; all if omitted.

        Returns:
            Their actions, shape (agents, control factors), and the next key.

        Raises:
            as `DistributedPopulation.act`.
        """
        chosen = self._chosen(indices)
        due = self.indices() if chosen is None else np.array(chosen, np.int64)
        modalities = len(observations) if isinstance(observations, list | tuple) else 1
        observed = check_rows("observations", observations, len(due), modalities=modalities)
        plain, kind = _plain_key(key)
        actions = self._taken(
            "act_jax",
            due,
            lambda own, places: (_at(observed, places), own, plain, kind, len(due), places),
            chosen,
        )
        return actions, jax.random.split(key, len(due) + 1)[0]

    def map(  # type: ignore[override]
        self,
        step: Callable[[Any, Any, Any], tuple[Any, Any]],
        observations: Any,
        keys: Any,
        indices: Sequence[int] | None = None,
    ) -> Any:
        """The user's own step of every agent, in the agents' shards; as of
        `OptimizedJaxPopulation.map`.

        Args:
            step: `step(agent, observation, key) -> (agent, result)`.
            observations: arrays, or lists, tuples and dicts of arrays, of shape (agents, ...).
            keys: a key for each agent.
            indices: the agents; all if omitted.

        Returns:
            The results as NumPy arrays of shape (agents, ...).

        Raises:
            as `DistributedPopulation.act`.
        """
        chosen = self._chosen(indices)
        due = self.indices() if chosen is None else np.array(chosen, np.int64)
        observed = check_rows("observations", observations, len(due))
        plain, kind = _plain_key(check_keys(keys, len(due)))
        parts, function = self._parts(due, chosen), sent(step, "step")
        found = self._asked(
            "map_jax",
            {
                number: (function, _at(observed, places), own, plain[places], kind)
                for number, (own, places) in parts.items()
            },
        )
        if not parts:
            return None
        places = [places for _, places in parts.values()]
        leaves = [tree_leaves(found[number]) for number in parts]
        joined = [
            gathered(len(due), list(zip(places, each, strict=True)))
            for each in zip(*leaves, strict=True)
        ]
        form = jax.tree_util.tree_structure(found[next(iter(parts))])
        return jax.tree_util.tree_unflatten(form, joined)


def _plain_key(key: Any) -> tuple[np.ndarray, str | None]:
    """The numbers of a key, or of keys, and of JAX's new kind of them the name, else None."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jax.numpy.issubdtype(dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(key)), str(jax.random.key_impl(key))
    return np.array(key), None


def keys_of(plain: Any, kind: str | None) -> Any:
    """Keys of their numbers."""
    if kind is None:
        return jax.numpy.asarray(plain)
    return jax.random.wrap_key_data(jax.numpy.asarray(plain), impl=kind)


def _at(tree: Any, places: slice | np.ndarray) -> Any:
    return tree_map(lambda rows: np.array(rows[places]), tree)  # the caller may fill his own anew
