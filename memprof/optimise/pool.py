"""Pass `pool`: PyMDP computes without its large temporaries, and remembers what is constant."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from memprof.optimise.base import Pass

if TYPE_CHECKING:
    from memprof.optimise.kernels import Kernels

_users: list[Pool] = []
_changing = threading.RLock()  # again in one thread: a population may be finalised within


class Pool(Pass):
    """Puts other functions in the place of PyMDP's own while a population with this pass is in use.

    They give the same bits: `memprof.optimise.known` says why, and each is compared with PyMDP's
    before it is trusted (`memprof.optimise.kernels`). Functions that memprof does not know, of
    another release or a user's, stay. Facts are remembered of arrays that never change only, so
    this pass does most after one that shares arrays. All populations of the process use the same
    functions.
    """

    def __init__(self) -> None:
        self._kernels: Kernels | None = None

    def install(self) -> None:
        from memprof.optimise.kernels import Kernels  # needs PyMDP, which others may import first

        with _changing:
            others = [user._kernels for user in _users if user._kernels is not None]
            _users.append(self)
            self._kernels = others[0] if others else Kernels()
            if not others:
                self._kernels.install()

    def close(self) -> None:
        with _changing:
            if self in _users:
                _users.remove(self)
            if self._kernels is not None and not _users:
                self._kernels.remove()
            self._kernels = None

    def not_replaced(self) -> dict[str, str]:
        """PyMDP's functions that were left as they are, or that a user replaced meanwhile, with
        what is not known of them."""
        return {} if self._kernels is None else self._kernels.not_replaced()
