"""A generator of random numbers for every thread, behind the functions of `np.random`.

PyMDP samples and breaks ties through them, and they all draw from one generator: two threads that
seed it and draw from it at once get each other's numbers.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

_ALIASES = {"seed": "seed", "ranf": "random_sample", "sample": "random_sample"}
"""Functions of `np.random` that are no methods, and the method that each stands for."""

_process: Any = np.random.mtrand._rand
_lock = threading.Lock()
_blocks = 0


class _Own(threading.local):
    def __init__(self) -> None:
        self.generator: Any = np.random.RandomState()


_own = _Own()


@contextmanager
def thread_random() -> Iterator[None]:
    """Until the block ends, `np.random.seed`, `random`, `choice` and so on are each thread's own.

    What a thread seeds and draws is what it would get if it were alone: the same bits, whatever
    the others do. The thread that comes first goes on with the process's generator; every other
    starts from fresh entropy until it seeds its own. Functions that a module imported by name
    count too; generators that somebody holds as an object (`np.random.default_rng()`, a
    `RandomState`, `np.random.get_bit_generator()`) stay what they are.

    Blocks may be nested, and open in several threads at once; the last to end puts all back.
    """
    global _blocks, _own  # noqa: PLW0603  # as there is one np.random for the process
    with _lock:
        if _blocks == 0:
            _own = _Own()
            _own.generator = _process
            _replace(_OWN)
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                _replace(_PROCESSES)
                _own = _Own()  # lets go of the threads' generators


def _dispatching(function: Callable[..., Any], method: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def draw(*arguments: Any, **keywords: Any) -> Any:
        # Whoever got hold of this function may still call it after the block.
        generator = _own.generator if _blocks else _process
        return getattr(generator, method)(*arguments, **keywords)

    return draw


def _methods() -> Iterator[tuple[Callable[..., Any], str]]:
    """The functions of `np.random` that use the process's generator, and their methods' names."""
    for name, value in vars(np.random).items():
        if name in _ALIASES:
            yield value, _ALIASES[name]
        elif getattr(value, "__self__", None) is _process:
            yield value, name


_PAIRS = [(function, _dispatching(function, method)) for function, method in _methods()]
_OWN = {id(function): draw for function, draw in _PAIRS}
_PROCESSES = {id(draw): function for function, draw in _PAIRS}


def not_numpys(names: Iterable[str]) -> str | None:
    """The first of these functions of `np.random` that is neither NumPy's own nor a thread's."""
    known = (*_OWN, *_PROCESSES)
    return next((name for name in names if id(getattr(np.random, name)) not in known), None)


def _replace(functions: Mapping[int, Callable[..., Any]]) -> None:
    """Put each function's replacement wherever a module holds it; by identity, which asks nothing
    of objects that load something when they are asked."""
    for module in list(sys.modules.values()):
        if type(module) is not ModuleType:
            continue
        for name, value in list(vars(module).items()):
            if id(value) in functions and module.__name__ != __name__:
                setattr(module, name, functions[id(value)])
