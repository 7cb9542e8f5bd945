"""Pass `share` of JAX agents: one template agent, mapped over what is each agent's own."""

from __future__ import annotations

from memprof.passes.jax.base import JaxPass


class Share(JaxPass):
    """PyMDP's agent of `batch_size=N` holds A, B and the rest N times. Here one agent of
    `batch_size=1` is `vmap`ped over beliefs, actions and what it learns."""

    compiles = shares = True
