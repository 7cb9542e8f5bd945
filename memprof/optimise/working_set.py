"""Pass `working_set`: agents stay active after use, within a budget of bytes."""

from __future__ import annotations

from memprof.optimise.base import Pass

DEFAULT_BUDGET_BYTES = 64 << 20


class StayActive(Pass):
    """Asks for a working set (`memprof.storage.working_set`) over records of the pass before it.

    Attributes:
        budget_bytes: what active agents may take together.
    """

    def __init__(self, working_set: int = DEFAULT_BUDGET_BYTES) -> None:
        self.budget_bytes = working_set
