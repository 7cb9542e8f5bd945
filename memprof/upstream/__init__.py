"""What memprof knows of PyMDP, and nothing else of memprof does.

Here are its modules by name; what imports PyMDP is `numpy_agent` and `jax_agent`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

PACKAGE = "pymdp"
LEGACY = f"{PACKAGE}.legacy"

DEFERRED = ("matplotlib", "matplotlib.pyplot", "scipy.special", "seaborn")
"""What importing them loads and agents do not use: seaborn brings pandas and scipy.stats; only the
log-evidence of Dirichlet priors takes a function from scipy.special."""


def is_loaded() -> bool:
    """Whether the modules of the NumPy agent are imported already."""
    return LEGACY in sys.modules


def load(name: str = "") -> ModuleType:
    """Import them all; the one of this name, such as `maths`."""
    return importlib.import_module(f"{LEGACY}.{name}" if name else LEGACY)


def loaded() -> list[ModuleType]:
    """Those that are imported."""
    return [module for name, module in sys.modules.items() if name.startswith(LEGACY)]


def is_agent(made: Any) -> bool:
    """Whether it is an agent of PyMDP's NumPy backend, which whoever made one has imported."""
    module = sys.modules.get(f"{LEGACY}.agent")
    return module is not None and isinstance(made, module.Agent)


def is_pymdps(name: str) -> bool:
    """Whether a module of this name is PyMDP's, of either backend."""
    return name.partition(".")[0] == PACKAGE
