"""Which agents look for others of their model, and how often they took their turns together."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from typing import Any

LEAST = 8
"""Agents that are worth a cohort: fewer take less memory as records."""

_MOST_PATTERNS = 256
_MOST_AGENTS = 2**16
_UNTIL_RETRIED = 16  # calls


class Company:
    """What is known of agents that are no rows, as much of it as takes little memory.

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
        self._until: dict[int, int] = {}  # the call in which one may look again

    def may_look(self, index: int) -> bool:
        """Whether the agent may find company by now."""
        return self._until.get(index, 0) <= self.calls

    def found(self, pattern: Any, agents: Collection[int]) -> bool:
        """Whether enough agents of a pattern look for each other, these among them."""
        waiting = self._waiting.setdefault(pattern, set())
        waiting.update(agents)
        if len(waiting) >= LEAST:
            for index in self._waiting.pop(pattern):
                self._until.pop(index, None)
            return True
        if len(self._waiting) > _MOST_PATTERNS:
            del self._waiting[next(iter(self._waiting))]
        if len(self._until) > _MOST_AGENTS:
            self._until.clear()
        self._until |= dict.fromkeys(agents, self.calls + _UNTIL_RETRIED)
        return False
