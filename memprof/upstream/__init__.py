"""What memprof knows of PyMDP, and nothing else of memprof does.

Here are its modules by name; what imports PyMDP is `numpy_agent` and `jax_agent`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from memprof.upstream.installed import PACKAGE, package_of

DEFERRED = ("matplotlib", "matplotlib.pyplot", "pandas", "scipy.special", "seaborn")
"""What importing them loads and agents do not use: pandas, which reads tables in 0.0.7.1; seaborn,
which brings pandas and scipy.stats; only the log-evidence of Dirichlet priors takes a function from
scipy.special."""


def is_loaded() -> bool:
    """Whether the modules of the NumPy agent are imported already."""
    return package_of("numpy") in sys.modules


def load(name: str = "") -> ModuleType:
    """Import them all; the one of this name, such as `maths`."""
    package = package_of("numpy")
    return importlib.import_module(f"{package}.{name}" if name else package)


def loaded() -> list[ModuleType]:
    """Those that are imported."""
    package = package_of("numpy")
    return [module for name, module in sys.modules.items() if f"{name}.".startswith(f"{package}.")]


def is_agent(made: Any) -> bool:
    """Whether it is an agent of PyMDP's NumPy backend, which whoever made one has imported."""
    module = sys.modules.get(f"{package_of('numpy')}.agent")
    return module is not None and isinstance(made, module.Agent)


def is_env(made: Any) -> bool:
    """Whether it is a `pymdp.envs.env.Env`, the world of JAX agents, or a user's of this kind."""
    module = sys.modules.get(f"{PACKAGE}.envs.env")
    return module is not None and isinstance(made, module.Env)


def is_jax_agent(made: Any) -> bool:
    """Whether it is one of its JAX backend."""
    module = sys.modules.get(f"{PACKAGE}.agent")
    return module is not None and isinstance(made, module.Agent) and not is_agent(made)


def is_pymdps(name: str) -> bool:
    """Whether a module of this name is PyMDP's, of either backend."""
    return name.partition(".")[0] == PACKAGE
