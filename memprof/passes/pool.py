"""Pass `pool`: PyMDP computes without its large temporaries, and remembers what is constant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from memprof.passes.base import Pass

if TYPE_CHECKING:
    from memprof.passes.kernels import Kernels

_users: list[Pool] = []


class Pool(Pass):
    """Puts other functions in the place of PyMDP's own while a population with this pass is in use.

    They give the same bits: `memprof.passes.structure` says why, and each compares its first result
    for a constant with PyMDP's. Facts are remembered of arrays that never change only, so this pass
    does most after one that shares arrays. All populations of the process use the same functions.
    """

    def __init__(self) -> None:
        self._kernels: Kernels | None = None

    def install(self) -> None:
        from memprof.passes.kernels import Kernels  # needs PyMDP, which others may import first

        if _users:
            self._kernels = _users[0]._kernels
        else:
            self._kernels = Kernels()
            _replace(self._kernels.replacements)
        _users.append(self)

    def close(self) -> None:
        _users.remove(self)
        if self._kernels is not None and not _users:
            _replace({new: old for old, new in self._kernels.replacements.items()})
        self._kernels = None


def _replace(functions: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
    """Put each function's replacement wherever a module of PyMDP's holds it by name."""
    for module in [m for name, m in sys.modules.items() if name.startswith("pymdp.legacy")]:
        for name, value in list(vars(module).items()):
            if isinstance(value, FunctionType | MethodType) and value in functions:
                setattr(module, name, functions[value])
