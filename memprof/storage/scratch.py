"""Dense buffers that are lent to active agents and patched, so that activation copies nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memprof.storage.constants import Difference
from memprof.storage.unflatten import Borrower


@dataclass(frozen=True, slots=True)
class _Loan:
    """A buffer in use, which equals the reference again when its patch is undone."""

    buffer: np.ndarray
    reference: np.ndarray
    changed: Difference


@dataclass(slots=True)
class Scratch:
    """Buffers that wait for the next agent, as many as were in use at once, by the reference array
    that they equal.

    Attributes:
        most: buffers that wait for each reference; None for any number.
    """

    most: int | None = None
    _free: dict[int, list[np.ndarray]] = field(default_factory=dict)
    _references: dict[int, np.ndarray] = field(default_factory=dict)

    def take(self, reference: np.ndarray) -> np.ndarray:
        """A writable array equal to `reference`."""
        key = id(reference)
        self._references[key] = reference  # alive, so that its identity stays its own
        try:
            return self._free.setdefault(key, []).pop()
        except IndexError:
            return reference.copy(order="K")

    def keep(self, reference: np.ndarray, buffer: np.ndarray) -> None:
        """Take back a buffer that equals its reference again."""
        self._references[id(reference)] = reference
        free = self._free.setdefault(id(reference), [])
        if self.most is None or len(free) < self.most:
            free.append(buffer)

    def clear(self) -> None:
        """Let go of all buffers that are not lent."""
        self._free.clear()
        self._references.clear()

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
        buffer = self._scratch.take(reference)
        changed.apply(buffer)
        self._loans.append(_Loan(buffer, reference, changed))
        buffer.flags.writeable = False  # so that no view of it can be made writable
        return buffer.view()

    def end(self) -> None:
        """Undo the patches and give the buffers back; one that somebody still looks at is theirs.

        Every view of a buffer holds a reference to it, which is how they are noticed.
        """
        self.end_unused()
        self._loans.clear()

    def end_unused(self) -> None:
        """Give back the buffers that nobody looks at any more, such as the prior that an agent has
        replaced by what it learned."""
        used = []
        for loan in self._loans:
            # The loan and getrefcount's own argument.
            if sys.getrefcount(loan.buffer) == 2:
                loan.buffer.flags.writeable = True
                loan.changed.undo(loan.buffer, loan.reference)
                self._scratch.keep(loan.reference, loan.buffer)
            else:
                used.append(loan)
        self._loans = used

    def held(self) -> Iterator[Any]:
        """What is lent, for the ledger: buffers, and what they are changed by."""
        for loan in self._loans:
            yield from (loan.buffer, loan.changed.positions, loan.changed.values)
