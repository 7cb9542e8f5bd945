"""Profile, optimise and benchmark the memory of populations of PyMDP (active inference) agents.

`optimize` keeps your own agents small, `watch` and `mark` look at them; everything else is in the
command `memprof`.
"""

from __future__ import annotations

__all__ = [
    "OptimizedPopulation",
    "PopulationMemory",
    "distribute",
    "mark",
    "optimize",
    "reopen",
    "thread_random",
    "watch",
]


def load_ipython_extension(shell: object) -> None:
    """`%load_ext memprof` in a notebook: gives it the cell magic `%%memprof`."""
    from memprof.run import magic

    magic.register(shell)


def __getattr__(name: str) -> object:
    """Load the API on first use: the command starts without NumPy and PyMDP."""
    if name == "thread_random":
        from memprof.populations import thread_random

        return thread_random.thread_random
    if name == "distribute":
        from memprof.distributed.distribute import distribute

        return distribute
    if name in ("mark", "watch"):
        from memprof.watching import watch

        return getattr(watch, name)
    if name == "OptimizedJaxPopulation":
        from memprof.api import jax_population  # imports JAX

        return jax_population.OptimizedJaxPopulation
    if name in __all__:
        from memprof import api

        return getattr(api, name)
    raise AttributeError(f"module 'memprof' has no attribute {name!r}")
