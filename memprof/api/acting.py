"""`population.act` and `map`: whose turn it is, what each observes, and what they did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral
from typing import Any

import numpy as np

from memprof.errors import UsageError
from memprof.populations import Behaviour
from memprof.populations.batch_turns import TOGETHER, Turns
from memprof.populations.pending import each_alone
from memprof.populations.roster import Roster
from memprof.populations.seeds import AfterSeeds, Onwards, undisturbed
from memprof.populations.turn import take_turn
from memprof.storage.batch import Batch
from memprof.storage.in_place import InPlace
from memprof.storage.numbering import agents_due
from memprof.text import counted, shown
from memprof.values.population import Share

_LEARNED = {"A", "B", "D"}
_SEEDS = 2**32
Use = Callable[[int], AbstractContextManager[Any]]
"""What makes the agent with an index ready for use in a block."""


class Acting:
    """Lets the agents of a roster act: together where the way of storing them allows it.

    Attributes:
        share: which agents of a whole population these are, as messages name them.
    """

    def __init__(self, storage: InPlace, roster: Roster) -> None:
        self._roster = roster
        self.share = Share()
        self._together = Turns(storage) if isinstance(storage, Batch) else None

    def act(
        self,
        observations: Any,
        indices: Sequence[int] | None,
        learning: Collection[str],
        seeds: Sequence[int] | np.ndarray | None,
        use: Use,
    ) -> np.ndarray:
        """As `OptimizedPopulation.act`; `use` is its `activate`."""
        chosen, seen = self._due(observations, indices)
        if unknown := sorted({*learning} - _LEARNED):
            raise UsageError(f"learning: expected A, B or D, found {', '.join(map(repr, unknown))}")
        if seeds is None:
            return self._acted(chosen, seen, learning, None, use)
        after = AfterSeeds(_checked(seeds, len(chosen)), TOGETHER)
        with undisturbed():
            return self._acted(chosen, seen, learning, after, use)

    def _acted(
        self,
        chosen: Sequence[int],
        seen: Sequence[Any] | np.ndarray,
        learning: Collection[str],
        onwards: Onwards | None,
        use: Use,
    ) -> np.ndarray:
        if self._together is None or learning:
            places = each_alone(range(len(chosen)), onwards)
            return _rows([self._turn(chosen[at], seen[at], learning, use).action for at in places])
        with self._roster.acting(chosen) as waiting:

            def alone(place: int) -> Behaviour:
                waiting.discard(chosen[place])
                return self._turn(chosen[place], seen[place], (), use)

            taken = self._together.take(chosen, seen, alone, onwards)
            return _rows([action for some in taken for action in some.actions()])

    def map(
        self,
        step: Callable[[Any, Any], Any],
        observations: Any,
        indices: Sequence[int] | None,
        use: Use,
    ) -> list[Any]:
        """As `OptimizedPopulation.map`; `use` is its `activate`."""
        found = []
        for index, observation in zip(*self._due(observations, indices), strict=True):
            with use(index) as agent, self._named(index, observation):
                found.append(step(agent, observation))
        return found

    def _turn(self, index: int, observation: Any, learning: Collection[str], use: Use) -> Behaviour:
        """One agent's turn, taken alone."""
        with use(index) as agent:
            for letter in sorted(learning):
                if getattr(agent, f"p{letter}", None) is None:
                    raise UsageError(
                        f"learning: agent {self.share.index(index)} has no p{letter}, the counts "
                        f"of what it learns; build it with p{letter}, or leave {letter} out"
                    )
            single = isinstance(observation, Integral) or getattr(observation, "ndim", 1) == 0
            with self._named(index, observation):
                return take_turn(
                    agent,
                    [observation] if single else observation,
                    learning,
                    first=getattr(agent, "action", None) is None,
                )

    @contextmanager
    def _named(self, index: int, observation: Any) -> Iterator[None]:
        """A block whose errors name the agent that is in it."""
        try:
            yield
        except Exception as error:
            agent = self.share.index(index)
            error.add_note(f"agent {agent} of the population, observing {observation!r}")
            raise

    def _due(
        self, observations: Any, indices: Sequence[int] | None
    ) -> tuple[Sequence[int], Sequence[Any] | np.ndarray]:
        """The agents whose turn it is, each once, and what each observes."""
        everybody = indices is None and not isinstance(observations, Mapping)
        if everybody:
            chosen = self._roster.indices()
        else:
            chosen = agents_due(observations if indices is None else indices)
        seen = seen_by(observations, chosen)
        if everybody:
            return chosen, seen
        for index in chosen:
            self._roster.check_index(index)
            if index not in self._roster:
                raise IndexError(f"agent {index} was removed")
        return chosen, seen


def seen_by(observations: Any, chosen: Sequence[int]) -> Sequence[Any] | np.ndarray:
    """What each of these agents observes, by their indices or in their order.

    Raises:
        UsageError: there is none for one, or there are more.
    """
    if isinstance(observations, Mapping):
        for index in chosen:
            if index not in observations:
                raise UsageError(f"observations: there is none for agent {index}")
        return [observations[index] for index in chosen]
    if not isinstance(observations, Iterable) or getattr(observations, "ndim", 1) == 0:
        raise UsageError(f"observations: expected one for each agent, found {observations!r}")
    indices = isinstance(observations, np.ndarray) and observations.dtype.kind in "iu"
    seen: Any = observations if indices else [*observations]
    if len(seen) != len(chosen):
        agents = counted(len(chosen), "agent")
        raise UsageError(f"observations: expected one for each of {agents}, found {len(seen)}")
    return seen  # type: ignore[no-any-return]


def _checked(seeds: Sequence[int] | np.ndarray, agents: int) -> list[int]:
    """Seeds of `np.random`, one for each of so many agents."""
    found = np.asarray(seeds)
    if found.shape != (agents,):
        whose = counted(agents, "agent")
        raise UsageError(f"seeds: expected one for each of {whose}, found {shown(seeds)}")
    if agents and not (found.dtype.kind in "iu" and found.min() >= 0 and found.max() < _SEEDS):
        raise UsageError(
            f"seeds: expected whole numbers below 2**32, as np.random.seed takes; found "
            f"{shown(seeds)}"
        )
    return found.tolist()  # type: ignore[no-any-return]


def _rows(actions: list[np.ndarray]) -> np.ndarray:
    """Actions as an array with a row for each agent."""
    if len({len(action) for action in actions}) <= 1:
        return np.array(actions)
    rows = np.empty(len(actions), dtype=object)
    rows[:] = actions
    return rows
