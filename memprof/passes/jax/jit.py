"""Pass `jit` of JAX agents: one compiled step in place of PyMDP's calls one by one."""

from __future__ import annotations

from memprof.passes.jax.base import JaxPass


class Jit(JaxPass):
    """PyMDP's agent used as its README shows traces anew at every call, and JAX remembers all of
    it; compiled once, nothing is traced again."""

    compiles = True
