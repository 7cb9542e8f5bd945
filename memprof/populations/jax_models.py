"""From what a scenario's factory gives for each agent to PyMDP's JAX agent of many at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_map

from memprof.errors import ScenarioError
from memprof.populations import model_field
from memprof.populations.alike import alike
from memprof.populations.jax_arguments import Arguments
from memprof.populations.jax_given import Given, Row
from memprof.populations.jax_ready import Ready
from memprof.text import shown
from memprof.upstream.jax_agent import DEFAULTS, Agent, own_of, with_rows
from memprof.values.population import PopulationSpec


class Models:
    """What a population's agents are made of, in the precision that JAX computes in. Of an agent's
    own is kept what differs from that of the first one of the whole.

    Attributes:
        size: agents that the first call of the factory gave, more than one for a ready batch.
        template: PyMDP's agent of the first one alone.
        learning: what agents learn.
    """

    def __init__(self, spec: PopulationSpec, first: Any) -> None:
        """From what the factory gave first, keyword arguments or PyMDP's agent.

        Raises:
            ScenarioError: PyMDP would ignore or misread something, or cannot take it.
        """
        self._spec, self._share = spec, spec.share
        self._given = _given(spec, 0, first)
        self._first = self._given.row(0)
        self.size, self.learning = self._given.size, self._given.learning
        self.template: Agent = self._given.agent()
        self._own: list[dict[str, Any]] = []
        self._differing: set[str] = set()

    def take(self, made: Iterable[Any]) -> list[dict[str, Any]]:
        """More agents, from what the factory gave for each of them. What the worlds are made of
        that their models describe.

        Raises:
            ScenarioError: PyMDP's batch has no place for a difference between them.
        """
        worlds = []
        for each in made:
            agent = self._share.index(len(self._own))
            found = _given(self._spec, agent, each)
            if found.size != self.size:
                raise self._differs("batch_size", self.size, found.size, agent)
            row = found.row(0)
            for name in sorted(row.leaves.keys() & self._first.leaves.keys()):
                self._check_shapes(name, self._first.leaves[name], row.leaves[name], agent)
            self._compare_settings(agent, found)
            worlds.append(self._add(agent, found, row))
        return worlds

    def repeat(self, agents: int) -> list[dict[str, Any]]:
        """So many agents from the rows of the batch that the first call gave, in turn; the same."""
        numbers = self._share.indices(range(agents))
        return [self._add(n, self._given, self._given.row(n % self.size)) for n in numbers]

    def _compare_settings(self, agent: int, found: Given) -> None:
        if found.form != self._given.form:
            raise self._differs("the model", self._given.form, found.form, agent)
        mine, others = self._given.settings, found.settings
        for name in (*mine, *(others.keys() - mine.keys())):
            default = DEFAULTS.get(name)
            if not alike(mine.get(name, default), others.get(name, default)):
                raise self._differs(name, mine.get(name, default), others.get(name, default), agent)

    def _add(self, agent: int, found: Given, row: Row) -> dict[str, Any]:
        first, own = self._first.leaves, dict[str, Any]()
        for name in row.leaves.keys() - first.keys():
            first[name] = _held(self.template, name)
        left_out = first.keys() - row.leaves.keys()
        for name, value in {**row.leaves, **_default(left_out, found)}.items():
            if not alike(first[name], value):
                self._check_shapes(name, first[name], value, agent)
                own[name] = value
        self._own.append(own)
        self._differing |= own.keys()
        return row.world

    def _check_shapes(self, name: str, mine: Any, others: Any, agent: int) -> None:
        if mine is None or others is None:
            raise self._differs(name, mine, others, agent)
        if _shape(mine) != _shape(others):
            raise ScenarioError(
                model_field(self._spec),
                f"{name} has shape {_shape(others)} in agent {agent}, and {_shape(mine)} in agent "
                "0; expected one shape, which PyMDP's batch needs. Use backend: numpy, or a "
                "scenario for each shape",
            )

    def _differs(self, name: str, mine: Any, others: Any, agent: int) -> ScenarioError:
        return ScenarioError(
            model_field(self._spec),
            f"{name} is {shown(mine)} for agent 0 and {shown(others)} for agent {agent}; expected "
            "one value for all, since agents of a batch run one program. Return the same value for "
            "every agent, or make a scenario for each",
        )

    @property
    def differing(self) -> frozenset[str]:
        """The attributes in which agents differ, but for what they learn."""
        return frozenset(self._differing)

    @property
    def own(self) -> tuple[str, ...]:
        """Attributes of PyMDP's agent that are each agent's own: what it learns, and what differs
        from agent to agent."""
        return tuple(sorted(own_of(self.template, self._differing, self.learning)))

    @property
    def first(self) -> dict[str, Any]:
        """The first agent's arrays, by attribute of PyMDP's agent."""
        return self._first.leaves

    @property
    def world(self) -> dict[str, Any]:
        """What the world is made of that the first agent's model describes."""
        return self._first.world

    def agent(self, agents: Sequence[int]) -> Agent:
        """PyMDP's agent for these agents, of `batch_size=len(agents)`."""
        rows: dict[str, Any] = {}
        for name in self._differing:
            values = [self._own[agent].get(name, self._first.leaves[name]) for agent in agents]
            rows[name] = tree_map(lambda *each: jnp.asarray(np.stack(each)), *values)
        return with_rows(self.template, rows, len(agents))


def _given(spec: PopulationSpec, agent: int, made: Any) -> Given:
    """What a factory returned for this agent, keyword arguments or PyMDP's agent.

    Raises:
        ScenarioError: PyMDP would ignore or misread something, or cannot take it.
    """
    if isinstance(made, dict):
        return Arguments(spec, agent, {**made, **spec.agent})
    return Ready(spec, agent, made)


def _default(names: set[str], found: Given) -> dict[str, Any]:
    """What PyMDP makes of attributes of which the factory said nothing."""
    agent = found.agent() if names else None
    return {name: _held(agent, name) for name in names}


def _held(agent: Agent, name: str) -> Any:
    """An attribute of PyMDP's agent of one row, without the axis for a batch."""
    return tree_map(lambda x: np.asarray(x[0]), getattr(agent, name))


def _shape(value: Any) -> Any:
    return [each.shape for each in value] if isinstance(value, list) else value.shape
