"""What agents were built with and resets put back, where not all that they learn is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any

from memprof.populations import EVERYBODY, PUT_BACK
from memprof.storage.constants import same_bits
from memprof.storage.records import Numbered
from memprof.upstream.attributes import PRIORS


class AsBuilt:
    """The arrays of each agent, by attribute, in copies that nobody else has; equal ones are held
    once. `letters` are any of A, B and D: each with its prior counts.
    """

    def __init__(self, letters: Collection[str]) -> None:
        self._names = [name for letter in letters for name in (letter, PRIORS[letter])]
        self._first: dict[str, Any] = {}
        self._each = Numbered()

    def add(self, agent: Any) -> None:
        """One more agent, as it was built."""
        if not self._names:
            return
        mine = {name: getattr(agent, name) for name in self._names}
        self._first = self._first or deepcopy(mine)
        same = all(same_bits(array, self._first[name]) for name, array in mine.items())
        self._each.append(self._first if same else deepcopy(mine))

    def leave(self, agent: int) -> None:
        """Let go of what an agent was built with."""
        if self._names:
            del self._each[agent]

    def of(self, agent: int) -> Mapping[str, Any]:
        """What the agent was built with and is to have again, in copies of its own."""
        return deepcopy(self._each[agent]) if self._names else {}

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """As a population says it."""
        for agent, mine in self._each.items():
            if mine is not self._first:
                yield agent, PUT_BACK, mine
        yield EVERYBODY, PUT_BACK, self._first
