"""What the agents of a shard find in worlds that are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from memprof.distributed.packing import Rows, parted_rows
from memprof.populations.joint_world import Surroundings


class Perceived(NamedTuple):
    """What agents of a shard perceive in a step, in the order of their own numbers.

    Attributes:
        rows: an index or a distribution for each modality.
        begun: those of whom an episode begins with it.
        new: those who came later and have their first turn.
    """

    rows: Rows
    begun: list[range]
    new: list[range]


class Told(Surroundings):
    """As `Surroundings`, of agents that were told what they perceive."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Nobody is there."""
        super().clear()
        self._perceived: dict[int, Sequence[Any]] = {}

    def tell(self, agents: Sequence[range], perceived: Perceived) -> None:
        """What these agents perceive next."""
        numbers = chain.from_iterable(agents)
        self._perceived = dict(zip(numbers, parted_rows(perceived.rows), strict=True))
        self.begun.update(chain.from_iterable(perceived.begun))
        self._new.update(chain.from_iterable(perceived.new))

    def tell_anything(self) -> None:
        """Let all agents perceive something that they know."""
        self._perceived = {agent: [0] * len(each) for agent, (each, _) in self.shapes.items()}

    def forget(self) -> None:
        """The step is over."""
        self._perceived = {}

    def observe(self, agent: int, action: Sequence[float] | None) -> Sequence[Any]:
        """What the agent was told."""
        return self._perceived[agent]
