"""Dense buffers that are lent to active agents and patched, so that activation copies nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memprof.store.difference import Difference
from memprof.store.layout import LARGE_BYTES
from memprof.store.unflatten import Borrower


@dataclass(frozen=True, slots=True)
class _Loan:
    """A buffer in use; with a reference, one that equals it again when its patch is undone."""

    key: object
    buffer: np.ndarray
    reference: np.ndarray | None = None
    changed: Difference | None = None

    def undo(self) -> None:
        if self.reference is not None and self.changed is not None:
            self.changed.undo(self.buffer, self.reference)


@dataclass(slots=True)
class Scratch:
    """Buffers that wait for the next agent, as many as were in use at once; by what they hold."""

    _free: dict[object, list[np.ndarray]] = field(default_factory=dict)
    _references: dict[int, np.ndarray] = field(default_factory=dict)

    def like(self, reference: np.ndarray) -> tuple[object, np.ndarray]:
        """A writable array equal to `reference`, and the key under which it comes back."""
        key = id(reference)
        self._references[key] = reference  # alive, so that its identity stays its own
        free = self._take(key)
        return key, reference.copy(order="K") if free is None else free

    def wide(self, narrow: np.ndarray) -> tuple[object, np.ndarray]:
        """A writable float64 array of the same shape and order, its content undefined."""
        key = (narrow.shape, narrow.strides)
        free = self._take(key)
        return key, np.empty_like(narrow, np.float64) if free is None else free

    def _take(self, key: object) -> np.ndarray | None:
        try:
            return self._free.setdefault(key, []).pop()
        except IndexError:
            return None

    def keep(self, key: object, buffer: np.ndarray) -> None:
        """Take a buffer back."""
        self._free[key].append(buffer)

    def buffers(self) -> Iterator[Any]:
        """All buffers that are not lent, for the ledger."""
        for free in self._free.values():
            yield from free


class Loans(Borrower):
    """What one active agent has borrowed."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._loans: list[_Loan] = []

    def patched(self, reference: np.ndarray, changed: Difference) -> np.ndarray:
        """A read-only array like `reference`, changed, until `end`."""
        key, buffer = self._scratch.like(reference)
        changed.apply(buffer)
        self._loans.append(_Loan(key, buffer, reference, changed))
        return _read_only(buffer)

    def widened(self, narrow: np.ndarray) -> np.ndarray:
        """A read-only float64 array of the same values, until `end` if it is large."""
        if narrow.nbytes < LARGE_BYTES:
            return narrow.astype(np.float64)
        key, buffer = self._scratch.wide(narrow)
        np.copyto(buffer, narrow)
        self._loans.append(_Loan(key, buffer))
        return _read_only(buffer)

    def end(self) -> None:
        """Undo the patches and give the buffers back; one that somebody still looks at is theirs.

        Every view of a buffer holds a reference to it, which is how they are noticed.
        """
        for loan in self._loans:
            # The loan and getrefcount's own argument.
            if sys.getrefcount(loan.buffer) == 2:
                loan.undo()
                self._scratch.keep(loan.key, loan.buffer)
        self._loans.clear()


def _read_only(buffer: np.ndarray) -> np.ndarray:
    view = buffer.view()
    view.flags.writeable = False
    return view
