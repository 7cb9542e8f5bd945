"""What the user's program itself holds: variables of modules, and attributes of classes.

Nothing of it is an agent's, but it may grow with agents: a table in a class, a registry, what a
function remembers.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from memprof.instruments.graph import namespace
from memprof.instruments.held import kind_of
from memprof.instruments.source_lines import is_users
from memprof.populations import PROGRAM


def program_holdings() -> Iterator[tuple[int, str, Any]]:
    """As a population gives its own: `module.VARIABLE`, `Class.attribute`, and functions by what
    they keep between calls, of every module that is neither installed nor memprof's."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if type(module) is ModuleType else None
        if file and is_users(file):
            yield from _of_module(name, module)


def _of_module(name: str, module: ModuleType) -> Iterator[tuple[int, str, Any]]:
    for value in list(vars(module).values()):
        if issubclass(type(value), type) and value.__module__ == name:
            yield from _of_names(value.__qualname__, namespace(value), name)
    yield from _of_names(name, vars(module), name)


def _of_names(title: str, names: Mapping[str, Any], module: str) -> Iterator[tuple[int, str, Any]]:
    for name, value in list(names.items()):
        if name.startswith("__") and name.endswith("__"):
            continue
        kept = value
        if type(value) is FunctionType and value.__module__ == module:
            kept = [each for each in gc.get_referents(value) if type(each) is not str]
        if kind_of(type(kept)).owns(kept):
            yield PROGRAM, f"{title}.{name}", kept
