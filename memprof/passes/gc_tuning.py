"""Pass `gc`: the garbage collector leaves the agents alone, and takes a small share of the time."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any

from memprof.collector import somebody_froze
from memprof.passes.base import Pass
from memprof.store.scratch import Loans

_LARGEST_SHARE = 0.01
_COLLECTIONS = 8  # that a decision rests on
_LARGEST_THRESHOLD = 20_000  # objects; CPython's own is 700 to 2,000


class GcTuning(Pass):
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

    def build(self, agent: Any, index: int) -> None:
        _tuner.start(self)
        self._new_agents = True

    def wake(self, agent: Any, index: int, loans: Loans) -> None:
        if self._new_agents:
            self._new_agents = False
            _tuner.freeze()
        _tuner.resume()

    def rest(self, agent: Any, index: int) -> None:
        _tuner.pause()

    def close(self) -> None:
        _tuner.stop(self)


class _Tuner:
    """The one collector of the process, and the populations that it is tuned for."""

    def __init__(self) -> None:
        self._users: set[Pass] = set()
        self._thresholds = gc.get_threshold()
        self._freezes = True
        self._since: float | None = None
        self._forget()

    def start(self, user: Pass) -> None:
        if not self._users:
            self._thresholds = gc.get_threshold()
            self._freezes = not somebody_froze()
            self._since = None
            self._forget()
            gc.callbacks.append(self._collection)
        self._users.add(user)

    def stop(self, user: Pass) -> None:
        if user not in self._users:
            return
        self._users.remove(user)
        if not self._users:
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
