"""Turns of JAX agents at rest, chunk by chunk: PyMDP's, or a step of the user's own."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import random as jr
from jax.tree_util import tree_map

from memprof.populations.jax_programs import Gathered, Step, UserStep, over_chunks, turn
from memprof.populations.jax_resting import Resting
from memprof.upstream.jax_agent import Agent, Mind, own_of


def keys_of(key: Any, agents: int) -> tuple[Any, Any]:
    """A key for each of so many agents, and the next key, as PyMDP's examples split one."""
    keys = jr.split(key, agents + 1)
    return _on_host(keys[1:]), keys[0]


def take_turns(resting: Resting, rows: np.ndarray, observed: Any, keys: Any) -> np.ndarray:
    """Agents perceive, plan, learn and act, each with a key of its own: their actions."""
    learned = _learned(resting.agent)
    resting.make_own(learned)
    resting.make_mindful()
    found = Gathered(len(rows))
    with found.counted():
        for place, some, (state, action) in over_chunks(
            resting,
            turn,
            (),
            rows,
            (observed, keys),
            lambda state, own: (state, *own),
        ):
            found.add(place, action)
            resting.put(some, state.mind, {name: state.leaves[name] for name in learned})
    actions: np.ndarray | None = found.result()
    if actions is None:
        return np.empty((0, Mind.first(resting.agent).action.shape[1]), np.int32)
    return actions


def _learned(agent: Agent) -> tuple[str, ...]:
    """The attributes that agents change when they act."""
    letters = [letter for letter in "AB" if getattr(agent, f"learn_{letter}")]
    if not letters or agent.learning_mode != "online":
        return ()
    return tuple(sorted(own_of(agent, (), letters)))


def _on_host(keys: Any) -> Any:
    """Arrays as NumPy's, but for keys of JAX's new kind, which NumPy does not have."""
    is_new = jax.numpy.issubdtype(keys.dtype, jax.dtypes.prng_key)
    return keys if is_new else np.asarray(keys)


class Steps:
    """Steps of the user's own, each traced once for observations of one form."""

    def __init__(self) -> None:
        self._traced: dict[Any, Step] = {}

    def run(
        self, resting: Resting, rows: np.ndarray, step: UserStep, observed: Any, keys: Any
    ) -> Any:
        """A step of these agents: its results; None of nobody.

        Raises:
            UsageError: it does not return the agent and a result, or changes a shape.
        """
        if not len(rows):
            return None
        traced = self._of(step, resting, tree_map(lambda x: x[:1], observed), keys[0])
        resting.make_own(traced.changed)
        found = Gathered(len(rows))
        with found.counted():
            for place, some, (changed, result) in over_chunks(
                resting,
                traced,
                (),
                rows,
                (observed, keys),
                lambda state, own: (state.leaves, *own),
            ):
                found.add(place, result)
                resting.put(some, None, changed)
        return found.result()

    def _of(self, step: UserStep, resting: Resting, observation: Any, key: Any) -> Step:
        form = (step, str(tree_map(lambda x: (x.shape[1:], x.dtype), observation)))
        if form not in self._traced:
            self._traced[form] = Step(step).traced(resting.agent, observation, key)
        return self._traced[form]
