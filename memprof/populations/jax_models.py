"""From a scenario's models to PyMDP's JAX agents, of one agent or of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from pymdp.agent import Agent

from memprof.errors import ScenarioError
from memprof.models.base import check_model
from memprof.populations.base import model_field, refused
from memprof.populations.jax_arguments import (
    DEFAULTS,
    LEAVES,
    LISTS,
    NUMBERS,
    Arguments,
    same,
    shown,
    with_factor_lists,
)
from memprof.values.population import PopulationSpec


class Models:
    """The models of a population's agents, in the precision that JAX computes in.

    Attributes:
        own: attributes of PyMDP's agent that are each agent's own: what it learns, and what differs
            from agent to agent.
    """

    def __init__(self, spec: PopulationSpec, first: dict[str, Any]) -> None:
        self._spec = spec
        arguments = {**first, **spec.agent}
        check_model(with_factor_lists(arguments), model_field(spec))
        self._arguments = Arguments(spec)
        self._first = self._arguments.of(0, arguments)
        self._others: list[dict[str, Any]] = []
        self._differing: set[str] = set()

    def take(self, arguments: Sequence[dict[str, Any]]) -> None:
        """Agents with models of their own, `arguments` one by one, in place of the first's.

        Raises:
            ScenarioError: PyMDP's batch has no place for a difference between them.
        """
        for agent, each in enumerate(arguments):
            self._others.append(self._arguments.of(agent, {**each, **self._spec.agent}))
        for name in NUMBERS:
            if any(name in other for other in self._others):
                default = np.asarray(DEFAULTS[name], jnp.zeros(0).dtype)
                for other in (self._first, *self._others):
                    other.setdefault(name, default)
        for agent, other in enumerate(self._others):
            for name in (*self._first, *(other.keys() - self._first.keys())):
                self._compare(agent, name, other)

    def _compare(self, agent: int, name: str, other: dict[str, Any]) -> None:
        """Note a difference between an agent and the first one, or refuse it."""
        default = DEFAULTS[name]
        mine, others = self._first.get(name, default), other.get(name, default)
        if same(mine, others):
            return
        if name in LEAVES and _shape(mine) == _shape(others):
            self._differing.add(name)
            return
        if name in LEAVES and mine is not None and others is not None:
            raise ScenarioError(
                model_field(self._spec),
                f"{name} has shape {_shape(others)} in agent {agent}, and {_shape(mine)} in agent "
                "0; expected one shape, which PyMDP's batch needs. Use backend: numpy, or a "
                "scenario for each shape",
            )
        raise ScenarioError(
            model_field(self._spec),
            f"{name} is {shown(mine)} for agent 0 and {shown(others)} for agent {agent}; expected "
            "one value for all, since agents of a batch run one program. Return the same value for "
            "every agent, or make a scenario for each",
        )

    @property
    def differing(self) -> frozenset[str]:
        """The keywords in which agents differ, but for what they learn."""
        return frozenset(self._differing)

    @property
    def own(self) -> tuple[str, ...]:
        learning = self._spec.learning
        own = self._differing | {*learning} | {f"p{letter}" for letter in learning if letter != "D"}
        if "H" in self._first and own & {"B", "H", "inductive_threshold"}:
            own |= {"I"}  # which PyMDP makes of these
        if "B" not in learning:
            own -= {"H"}  # and makes again when B is learned
        return tuple(sorted(own))

    @property
    def first(self) -> dict[str, Any]:
        """The first agent's keyword arguments of `Agent`."""
        return self._first

    def agent(self, agents: Sequence[int]) -> Agent:
        """PyMDP's agent for these agents, of `batch_size=len(agents)`.

        Raises:
            ScenarioError: PyMDP refuses the arguments.
        """
        arguments = dict(self._first)
        rows = [self._others[index] for index in agents] if self._differing else []
        for name in arguments.keys() & {*LEAVES}:
            value = arguments[name]
            if name in LISTS:  # a list of its own, since PyMDP writes into it
                arrays = map(np.stack, zip(*(row[name] for row in rows), strict=True))
                arguments[name] = list(map(jnp.asarray, arrays if rows else value))
            else:
                arguments[name] = jnp.asarray(
                    np.stack([row[name] for row in rows]) if rows else value
                )
        try:
            agent = Agent(**arguments, batch_size=len(agents))
        except Exception as error:
            failed = refused(self._spec, error, "refused its arguments")
            raise memory_error(error) or failed from None
        self._check_policies(agent)
        return agent

    def _check_policies(self, agent: Agent) -> None:
        """Arrays with an axis that is as long as the policies say, where PyMDP would not."""
        policies, steps = agent.policies.num_policies, agent.policies.horizon
        arrays = {f"C{index}": each for index, each in enumerate(self._first.get("C", ()))}
        if "E" in self._first:
            arrays["E"] = self._first["E"]
        for name, array in arrays.items():
            expected = (policies,) if name == "E" else (steps, array.shape[-1])
            if (name == "E" or array.ndim > 1) and array.shape != expected:
                raise ScenarioError(
                    model_field(self._spec),
                    f"{name} has shape {array.shape}; expected {expected}, for {policies} policies "
                    f"of {steps} steps",
                )


def _shape(value: Any) -> Any:
    if isinstance(value, list):
        return [each.shape for each in value]
    return None if value is None else value.shape


def memory_error(error: Exception) -> MemoryError | None:
    """What ran out of memory as Python says it, which JAX says in an error of its own; None for
    anything else."""
    if isinstance(error, MemoryError):
        return error
    if "RESOURCE_EXHAUSTED" in str(error):
        return MemoryError(str(error)).with_traceback(error.__traceback__)
    return None
