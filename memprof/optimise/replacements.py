"""How kernels take the place of PyMDP's functions, of those that are known by their source."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

from memprof import upstream
from memprof.optimise.facts import Facts
from memprof.upstream.functions import Basis, name_of, replaced

REPLACED = [(upstream.load(module), name) for module, name in replaced()]


class Replacements:
    """Kernels, named as the functions that they replace, and what they remember of constants and of
    kinds of calls."""

    def __init__(self) -> None:
        self.facts = Facts()
        own = {name: beneath(getattr(home, name, None)) for home, name in REPLACED}
        self._own = SimpleNamespace(**own)
        self._kernels = {name: getattr(self, name) for name in own}
        ours = {id(function): self._kernels[name] for name, function in own.items()}
        self._rests_on = {name: Basis(function, ours) for name, function in own.items()}
        # Whether a kernel may still be used: somebody may change PyMDP at any time.
        self._stands = SimpleNamespace(**{n: basis.stands for n, basis in self._rests_on.items()})

    def install(self) -> None:
        """Take the place of each function that is known, wherever a module of PyMDP's has it."""
        known = {name: own for name, own in vars(self._own).items() if not self._unknown(name)}
        _put({own: self._kernels[name] for name, own in known.items()})

    def remove(self) -> None:
        """Put PyMDP's own back, but for names that stand for something else by now."""
        known = [name for name, basis in self._rests_on.items() if basis.unknown is None]
        _put({own: own for own in map(vars(self._own).get, known)})

    def replaced(self) -> list[str]:
        """The functions that kernels stand for."""
        left = self.not_replaced()
        return [*dict.fromkeys(name for _, name in REPLACED if name not in left)]

    def not_replaced(self) -> dict[str, str]:
        """Functions of which PyMDP's own, or a user's, runs, with what is not known of them."""
        found = {}
        for home, name in REPLACED:
            why, there = self._unknown(name), getattr(home, name, None)
            if why is None and there != getattr(self, name):
                why = name_of(there)
            if why is not None:
                found[name] = why
        return found

    def _unknown(self, name: str) -> str | None:
        return self._rests_on[name].unknown or self._rests_on[name].changed()


def beneath(function: Any) -> Any:
    """PyMDP's own function of a kernel: somebody may have put one back that he found earlier."""
    while isinstance(function, MethodType) and isinstance(function.__self__, Replacements):
        function = getattr(function.__self__._own, function.__name__)
    return function


def _put(functions: Mapping[Any, Any]) -> None:
    """Put a function in the place of each, or of its kernel, in all modules of PyMDP."""
    for module in upstream.loaded():
        for name, value in list(vars(module).items()):
            own = beneath(value)
            if isinstance(own, FunctionType) and own in functions:
                setattr(module, name, functions[own])
