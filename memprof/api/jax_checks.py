"""What a population of JAX agents takes: agents, observations, keys."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import dtypes
from jax.tree_util import keystr, tree_map_with_path

from memprof.errors import UsageError
from memprof.text import counted, shown
from memprof.upstream import is_agent
from memprof.upstream.installed import agent_of
from memprof.upstream.jax_agent import Agent

_OVER_WINDOWS = ("mmp", "vmp")
_SMOOTHING = ("ovf", "exact")


def check_agent(agent: Any, size: int | None = None) -> None:
    """Check that it is an agent of PyMDP's JAX backend, or a batch; of this size, if one is given.

    Raises:
        UsageError: it is not.
    """
    if is_agent(agent):
        raise UsageError(
            f"agents: expected agents of the JAX backend ({agent_of('jax')}) as the first one, "
            f"found one of the NumPy backend ({agent_of('numpy')}); make a population of each"
        )
    if not isinstance(agent, Agent):
        raise UsageError(
            f"agents: expected PyMDP agents ({agent_of('jax')}), found "
            f"{type(agent).__module__}.{type(agent).__qualname__}; hand over the agent itself, "
            "where it is an attribute of something"
        )
    if size is not None and agent.batch_size != size:
        raise UsageError(
            f"batch_size: expected an agent of batch_size={size}, found {agent.batch_size}; hand "
            "over agents one by one, or a batch to memprof.optimize"
        )


def check_turns(agent: Agent, what: str) -> None:
    """Check that agents can live by `act`, or by `rollout`.

    Raises:
        UsageError: they cannot.
    """
    algorithm = agent.inference_algo
    if algorithm in _OVER_WINDOWS:
        raise UsageError(
            f"inference_algo: {what} expected fpi, ovf or exact, found {algorithm}, which infers "
            "over a window of past observations; call it in a step of your own, with "
            "population.map"
        )
    if agent.learn_D:
        raise UsageError(
            f"learn_D: {what} expected False, found True, for which PyMDP's JAX agent has no "
            "update; set it to False, or learn D in a step of your own, with population.map"
        )
    learns = agent.learning_mode == "online" and (agent.learn_A or agent.learn_B)
    if what == "rollout" and learns and algorithm in _SMOOTHING:
        raise UsageError(
            f"inference_algo: rollout expected fpi of agents that learn online, found {algorithm}, "
            "which smooths over past beliefs; set learning_mode='offline', or use act"
        )


def check_rows(field: str, tree: Any, agents: int, modalities: int | None = None) -> Any:
    """Arrays with a row for each of so many agents, as NumPy's; of so many modalities.

    Raises:
        UsageError: there are more or fewer.
    """
    if modalities is not None:
        form = f"a list of {counted(modalities, 'array')}, one per modality"
        if not isinstance(tree, list | tuple):
            raise UsageError(
                f"{field}: expected {form}, found {shown(type(tree).__name__)}; put each modality "
                f"into an array of shape ({agents}, 1)"
            )
        if len(tree) != modalities:
            raise UsageError(
                f"{field}: expected {form}, found {len(tree)}; the first axis is that of agents "
                "inside each array"
            )
        tree = [np.asarray(each) for each in tree]

    def rows(path: Any, leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        if array.ndim == 0 or len(array) != agents:
            raise UsageError(
                f"{field}{keystr(path)}: expected a row for each of {counted(agents, 'agent')}, "
                f"found shape {array.shape}; put the axis of agents first"
            )
        return array

    return tree_map_with_path(rows, tree)


def check_keys(keys: Any, agents: int) -> Any:
    """Keys of JAX, one for each of so many agents.

    Raises:
        UsageError: there are more or fewer.
    """
    remedy = f"use jax.random.split(key, {agents})"
    found = keys if hasattr(keys, "dtype") else jnp.asarray(keys)
    is_new = jnp.issubdtype(found.dtype, dtypes.prng_key)
    if found.ndim != (1 if is_new else 2) or len(found) != agents:
        raise UsageError(
            f"keys: expected a key for each of {counted(agents, 'agent')}, found shape "
            f"{tuple(found.shape)}; {remedy}"
        )
    return found if is_new else np.asarray(found)
