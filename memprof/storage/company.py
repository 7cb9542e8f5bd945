"""Which agents look for others of their model, and how often they took their turns together."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Collection
from typing import Any

LEAST = 8
"""Agents that are worth a cohort: fewer take less memory as records."""

NO_COMPANY = f"fewer than {LEAST} are alike in model and attributes"

_MOST_PATTERNS = 256
_UNTIL_RETRIED = 64  # calls


class Company:
    """What is known of agents that are no rows; a few bytes for each.

    Attributes:
        calls: how often turns were taken.
        together: turns that were taken together.
        alone: turns that PyMDP took one by one, by why: a clause.
        refused: patterns whose agents have to take them so, the last ones: it stays known.
    """

    def __init__(self) -> None:
        self.calls = self.together = 0
        self.alone: Counter[str] = Counter()
        self.refused: deque[Any] = deque(maxlen=_MOST_PATTERNS)
        self._waiting: dict[Any, set[int]] = {}  # agents of a pattern, too few
        self._reasons: list[str] = []
        self._why = array("H")  # of each agent, the number of its reason
        self._until = array("q")  # and the call in which it may look again

    def why(self, index: int) -> str | None:
        """Why the agent has to take its turn alone; None where that is to be found out."""
        if index >= len(self._until) or self._until[index] <= self.calls:
            return None
        return self._reasons[self._why[index]]

    def dismiss(self, indices: Collection[int], why: str) -> None:
        """These agents take their turns alone, for some calls."""
        if why not in self._reasons:
            self._reasons.append(why)
        missing = max(indices, default=0) + 1 - len(self._until)
        if missing > 0:
            self._why.frombytes(bytes(missing * self._why.itemsize))
            self._until.frombytes(bytes(missing * self._until.itemsize))
        number = self._reasons.index(why)
        for index in indices:
            self._why[index], self._until[index] = number, self.calls + _UNTIL_RETRIED

    def found(self, pattern: Any, agents: Collection[int]) -> bool:
        """Whether enough agents of a pattern look for each other, these among them; else they are
        dismissed."""
        waiting = self._waiting.setdefault(pattern, set())
        waiting.update(agents)
        if len(waiting) < LEAST:
            self.dismiss(agents, NO_COMPANY)
            if len(self._waiting) > _MOST_PATTERNS:
                del self._waiting[next(iter(self._waiting))]
            return False
        for index in self._waiting.pop(pattern):
            if index < len(self._until):
                self._until[index] = 0
        return True
