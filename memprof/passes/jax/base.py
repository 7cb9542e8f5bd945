"""What a pass is to a population of JAX agents: a form in which they are held and stepped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from memprof.passes.catalogue import PASSES
from memprof.targets import load_target


class Mind(NamedTuple):
    """What agents carry from one step to the next, a row per agent.

    Attributes:
        qs: posterior beliefs, per factor of shape (agents, 1, states).
        action: the last action, shape (agents, factors); -1 before the first.
    """

    qs: list[Any]
    action: Any


class State(NamedTuple):
    """All that is an agent's own: its mind, and `leaves`, the arrays of its PyMDP agent that differ
    from agent to agent, by attribute; a row per agent."""

    mind: Mind
    leaves: dict[str, list[Any]]


class JaxPass:
    """Decides how a population of JAX agents is held, never what PyMDP computes.

    Attributes:
        compiles: agents step by one compiled program.
        shares: what agents have in common is held once, in the template agent.
        chunks: agents step in chunks, and rest in between.
    """

    compiles = shares = chunks = False

    def open(self, template: State) -> None:
        """Told the state of the template agent, a single row, before any agent rests."""

    def rest(self, state: Any) -> Any:
        """The stored form of the state of agents that nobody uses."""
        return state

    def wake(self, stored: Any) -> Any:
        """Undo `rest`."""
        return stored


class JaxPlan:
    """The passes of one population, in order; but for the one that encodes agents at rest, after
    which there is nothing left for another to change."""

    def __init__(self, passes: Iterable[JaxPass]) -> None:
        self.passes = tuple(sorted(passes, key=lambda each: each.chunks))
        self.compiles = any(each.compiles for each in self.passes)
        self.shares = any(each.shares for each in self.passes)
        self.chunks = any(each.chunks for each in self.passes)
        self.rests = any(type(each).rest is not JaxPass.rest for each in self.passes)

    @classmethod
    def of(cls, names: Sequence[str]) -> JaxPlan:
        """New instances of the named passes."""
        return cls(load_target(PASSES[name].form("jax").target)() for name in names)

    def open(self, template: State) -> None:
        """Tell every pass the template."""
        for each in self.passes:
            each.open(template)

    def rest(self, state: State) -> Any:
        """The stored form of a state."""
        for each in self.passes:
            state = each.rest(state)
        return state

    def wake(self, stored: Any) -> State:
        """The state again."""
        for each in reversed(self.passes):
            stored = each.wake(stored)
        found: State = stored
        return found
