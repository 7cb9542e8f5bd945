"""What belongs to one agent while it is active: dense buffers that are lent to it and patched, so
that activation copies nothing, and arrays whose encoding is known. Whether counts of references
tell, here, who holds an object: passes rest on it.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from memprof.errors import UsageError
from memprof.storage.agent_class import AgentClass
from memprof.storage.constants import Difference
from memprof.storage.flatten import Encoding, Handed
from memprof.storage.identity import Names, links
from memprof.storage.unflatten import Borrower


@dataclass(frozen=True, slots=True)
class _Loan:
    """A buffer in use; undoing its patch makes it equal to the reference again."""

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
        """Release all buffers that are not lent."""
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
        """What is lent, for the ledger: buffers and their patches."""
        for loan in self._loans:
            yield from (loan.buffer, loan.changed.positions, loan.changed.values)


@lru_cache
def check_references() -> None:
    """Try them on objects whose holders are known. Some Pythons count otherwise: 3.14 lends
    references that it does not count, free-threaded builds count some later.

    Raises:
        UsageError: an agent could be parted from what others hold of it.
    """
    wrong = [what for what, tells in _TRIALS.items() if not tells()]
    if wrong:
        raise UsageError(
            f"passes: {platform.python_implementation()} {platform.python_version()}: its "
            f"reference counts do not show what holds {', '.join(wrong)}, which passes need; use "
            "CPython 3.11, 3.12 or 3.13, or no passes"
        )


def _tells_attributes() -> bool:
    holders: tuple[Callable[[dict[str, Any]], Any], ...] = (
        lambda state: state["log"],
        lambda state: state["log"][0],
        lambda state: state["log"][1],
        lambda state: state["qs_hist"],
    )
    for holder in holders:
        state: dict[str, Any] = {"log": [[0.0], np.zeros(1)], "qs_hist": [[0.0]]}
        names = Names.of(state, ("qs_hist",))
        if links(state, names).whole:
            return False
        held = [holder(state)]
        if not links(state, names).whole:
            return False
        held.clear()
    return True


def _tells_dicts() -> bool:
    class Agent:
        def __init__(self) -> None:
            self.log: list[Any] = []

    agent, kind = Agent(), AgentClass(Agent)
    alone = not kind.is_kept(agent)
    held = [kind.state(agent)]
    kept = kind.is_kept(agent)
    held.clear()
    return alone and kept


def _tells_loans() -> bool:
    scratch = Scratch()
    loans = Loans(scratch)
    held = [loans.patched(np.zeros(2), Difference(np.array([0]), np.array([1.0])))]
    loans.end_unused()
    kept = not any(True for _ in scratch.buffers())
    held.clear()
    loans.end_unused()
    return kept and any(True for _ in scratch.buffers())


def _tells_handed() -> bool:
    handed, held = Handed(), [np.zeros(2)]
    handed.note(Encoding(held[0], ("a",), b""))
    handed.forget_unused()
    kept = bool(handed)
    held.clear()
    handed.forget_unused()
    return kept and not handed


_TRIALS: dict[str, Callable[[], bool]] = {
    "attributes": _tells_attributes,
    "the dict of an agent": _tells_dicts,
    "a buffer that was lent": _tells_loans,
    "an array that was handed out": _tells_handed,
}


@dataclass(frozen=True, slots=True)
class Activation:
    """One active agent: what was lent to it, and arrays whose encoding is known."""

    agent: Any
    loans: Loans
    handed: Handed

    def spare(self) -> None:
        """Give back what the agent no longer uses, though it stays active."""
        self.handed.forget_unused()
        self.loans.end_unused()

    def held(self) -> Iterator[Any]:
        """All that the active agent holds, for the ledger."""
        yield self.agent
        yield from self.loans.held()
        yield [(each.array, each.data) for each in self.handed.values()]

    def end(self) -> None:
        """Give back what was lent, once the agent holds it no longer."""
        self.handed.clear()
        self.loans.end()
