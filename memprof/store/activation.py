"""What belongs to one agent while it is active."""

from __future__ import annotations

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

    def end(self) -> None:
        """Give back what was lent, once the agent holds it no longer."""
        self.handed.clear()
        self.loans.end()
