"""Pass `lean_imports`: the libraries that PyMDP only plots with load on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from memprof.passes.base import Pass

# What `import pymdp.legacy` loads and agents do not use: seaborn brings pandas and scipy.stats;
# only the log-evidence of Dirichlet priors takes a function from scipy.special.
_DEFERRED = ("matplotlib", "matplotlib.pyplot", "scipy.special", "seaborn")


class LeanImports(Pass):
    """Gives PyMDP stand-ins for heavy modules, which load the real ones when they are used.

    Only PyMDP's own names (`utils.plt`, `utils.sns`, `maths.special`) are stand-ins: they are in
    `sys.modules` no longer than PyMDP's import takes, so that all other code imports, and finds
    there, nothing but real modules. A module that is loaded before this pass is used as it is, and
    once PyMDP is loaded there is nothing left to do, so `close` has nothing to undo.
    """

    def install(self) -> None:
        if "pymdp.legacy" not in sys.modules:
            with standing_in(*(name for name in _DEFERRED if name not in sys.modules)):
                importlib.import_module("pymdp.legacy")


class StandIn(ModuleType):
    """Has all attributes of the module of its name, which it loads at the first of them.

    Safe from any thread: loading is Python's own import, under its own locks.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._real(), name)

    def __dir__(self) -> list[str]:
        return dir(self._real())

    def _real(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:  # used while PyMDP is still being imported
            _withdraw()
        return importlib.import_module(self.__name__)


@contextmanager
def standing_in(*names: str) -> Iterator[None]:
    """Whoever imports one of the modules in the meantime gets its stand-in."""
    for name in names:
        sys.modules[name] = stand_in = StandIn(name)
        parent, _, child = name.rpartition(".")
        if isinstance(package := sys.modules.get(parent), StandIn):
            vars(package)[child] = stand_in  # `import package.child as c` reads the attribute
    try:
        yield
    finally:
        _withdraw()


def _withdraw() -> None:
    """From now on an import of the modules is a real one."""
    for name in _DEFERRED:
        if isinstance(sys.modules.get(name), StandIn):
            del sys.modules[name]
