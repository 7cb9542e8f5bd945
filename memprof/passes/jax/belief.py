"""Pass `belief` of JAX agents: beliefs at rest in half precision."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from memprof.passes.jax.base import JaxPass, State

# A belief near 1 is rounded by at most 2**-12; the posterior that follows may be off by more.
BOUND = 5e-3


class Belief(JaxPass):
    """float16 rounds a probability by at most 0.00025; beliefs below 3e-8 become zero."""

    def open(self, template: State) -> None:
        self._dtype = template.mind.qs[0].dtype

    def rest(self, state: State) -> Any:
        return _with_beliefs(state, jnp.float16)

    def wake(self, stored: Any) -> State:
        return _with_beliefs(stored, self._dtype)


def _with_beliefs(state: State, dtype: Any) -> State:
    qs = [jnp.asarray(q).astype(dtype) for q in state.mind.qs]
    return state._replace(mind=state.mind._replace(qs=qs))
