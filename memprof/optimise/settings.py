"""Settings of the process: the passes `gc` and `lean_imports`, and how much freed memory the C
library keeps for the next array.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

from memprof import upstream
from memprof.optimise import Setting
from memprof.posix import somebody_froze
from memprof.values.measurements import Effect

_LARGEST_SHARE = 0.01
_COLLECTIONS = 8  # that a decision rests on
_LARGEST_THRESHOLD = 20_000  # objects; CPython's own is 700 to 2,000


class GcTuning(Setting):
    """Sets built agents aside (`gc.freeze`), and collects less often where it takes too long.

    Before new agents are first used, garbage is collected and all that lives is frozen, so that
    later collections walk only what came since. Reference counting frees frozen objects as ever; a
    cycle that is frozen and then dropped waits for `close`.

    The pauses of the collections that happen while agents are in use are measured. Whenever eight
    of them took more than 1 % of that time, the youngest generation's threshold doubles, up to
    20,000 objects: more garbage than that never waits for a young collection.

    The collector belongs to the process: it is tuned from the first agent of the first population
    with this pass, and put back when the last such population closes. Objects that somebody else
    has frozen stay so; this pass then freezes nothing.
    """

    def __init__(self) -> None:
        self._new_agents = False

    def built(self) -> None:
        _tuner.start(self)
        self._new_agents = True

    def resume(self) -> None:
        if self._new_agents:
            self._new_agents = False
            _tuner.freeze()
        _tuner.resume()

    def pause(self) -> None:
        _tuner.pause()

    def effect(self) -> Effect:
        if self not in _tuner.users:
            return Effect()
        return Effect(f"Python looks for garbage every {gc.get_threshold()[0]:,} new objects")

    def close(self) -> None:
        _tuner.stop(self)


class _Tuner:
    """The one collector of the process, and the populations that it is tuned for."""

    def __init__(self) -> None:
        self.users: set[Setting] = set()
        self._thresholds = gc.get_threshold()
        self._freezes = True
        self._since: float | None = None
        self._forget()

    def start(self, user: Setting) -> None:
        if not self.users:
            self._thresholds = gc.get_threshold()
            self._freezes = not somebody_froze()
            self._since = None
            self._forget()
            gc.callbacks.append(self._collection)
        self.users.add(user)

    def stop(self, user: Setting) -> None:
        if user not in self.users:
            return
        self.users.remove(user)
        if not self.users:
            gc.callbacks.remove(self._collection)
            gc.set_threshold(*self._thresholds)
            if self._freezes:
                gc.unfreeze()

    def freeze(self) -> None:
        if self._freezes:
            gc.collect()
            gc.freeze()

    def resume(self) -> None:
        """An agent's step begins: from here on, time and pauses count."""
        self._since = perf_counter()

    def pause(self) -> None:
        """The step is over; judge the collections so far when there are enough."""
        since, self._since = self._since, None  # another thread may pause at the same time
        if since is not None:
            self._used_seconds += perf_counter() - since
        if self._collections < _COLLECTIONS:
            return
        if self._paused_seconds > _LARGEST_SHARE * self._used_seconds:
            young, *older = gc.get_threshold()
            gc.set_threshold(max(young, min(2 * young, _LARGEST_THRESHOLD)), *older)
        self._forget()

    def _forget(self) -> None:
        self._used_seconds = self._paused_seconds = self._began = 0.0
        self._collections = 0

    def _collection(self, phase: str, info: dict[str, int]) -> None:
        if self._since is None:
            return
        if phase == "start":
            self._began = perf_counter()
        else:
            self._paused_seconds += perf_counter() - self._began
            self._collections += 1


_tuner = _Tuner()


_MOST_BYTES = 31 << 20
"""glibc takes arrays above 32 MiB from the kernel one by one, and learns nothing from them."""


def keep_freed(size: int) -> None:
    """Have glibc keep twice `size` bytes of freed memory, at most 62 MiB, for the next array.

    It gives back what is free at the end of its heap beyond twice the largest block that it has
    ever taken from the kernel and freed (mallopt(3), M_MMAP_THRESHOLD). An agent that comes to rest
    frees all that it learned at once: it would be given back, and every page of it cleared by the
    kernel again, for the next agent and for each temporary. So a block of that size is freed here,
    untouched, and takes no memory. Other C libraries don't notice.
    """
    np.empty(min(size, _MOST_BYTES), np.uint8)


class LeanImports(Setting):
    """Gives PyMDP stand-ins for heavy modules, which load the real ones when they are used.

    Only PyMDP's own names (`utils.plt`, `utils.sns`, `maths.special`) are stand-ins: they are in
    `sys.modules` no longer than PyMDP's import takes, so that all other code imports, and finds
    there, nothing but real modules. A module that is loaded before this pass is used as it is, and
    once PyMDP is loaded there is nothing left to do, so `close` has nothing to undo.
    """

    def install(self) -> None:
        if not upstream.is_loaded():
            with standing_in(*(name for name in upstream.DEFERRED if name not in sys.modules)):
                upstream.load()

    def effect(self) -> Effect:
        names = [name for name in upstream.DEFERRED if name not in sys.modules]
        return Effect(f"not imported: {', '.join(names) or 'nothing, all of it was before'}")


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
    for name in upstream.DEFERRED:
        if isinstance(sys.modules.get(name), StandIn):
            del sys.modules[name]
