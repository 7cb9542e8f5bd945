"""What belongs to one agent while it is active."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from memprof.store.flatten import Handed
from memprof.store.scratch import Loans


@dataclass(frozen=True, slots=True)
class Activation:
    """One active agent: what was lent to it, and arrays whose encoding is known."""

    agent: Any
    loans: Loans
    handed: Handed

    def spare(self) -> None:
        """Give back what the agent has no more use for, though it stays active."""
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
