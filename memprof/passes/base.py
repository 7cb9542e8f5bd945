"""What a pass is: one optimisation that is applied to each agent as it is built."""

from __future__ import annotations

from typing import Any, Protocol


class Pass(Protocol):
    """Changes how an agent's state is stored, never what PyMDP computes.

    An instance belongs to one population and may keep state across its agents; what it keeps is
    charged to the population's ledger.
    """

    def apply(self, agent: Any, index: int) -> None:
        """Optimise a newly built agent in place."""
        ...
