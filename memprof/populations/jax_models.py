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
from memprof.spec import PopulationSpec

# What NumPy agents and JAX agents call by different names.
_JAX_NAMES = {"A_factor_list": "A_dependencies", "B_factor_list": "B_dependencies"}
_LISTS = ("A", "B", "C", "D", "H", "pA", "pB")
_ARRAYS = (*_LISTS, "E")


class Models:
    """The models of a population's agents, in the precision that JAX computes in.

    Attributes:
        own: attributes of PyMDP's agent that are each agent's own: what it learns, and what differs
            from agent to agent.
    """

    def __init__(self, spec: PopulationSpec, first: dict[str, Any]) -> None:
        self._spec = spec
        arguments = {**first, **spec.agent}
        check_model(arguments, model_field(spec))
        self._first = self._converted(arguments)
        self._others: list[dict[str, Any]] = []
        self._differing: set[str] = set()

    def take(self, arguments: Sequence[dict[str, Any]]) -> None:
        """Agents with models of their own, `arguments` one by one, in place of the first's."""
        self._others = [self._converted({**each, **self._spec.agent}) for each in arguments]
        self._differing = {
            name
            for name in _ARRAYS
            if name in self._first
            and any(not _equal(self._first[name], other.get(name)) for other in self._others)
        }

    @property
    def differ(self) -> bool:
        """Whether agents differ in anything but what they learn."""
        return bool(self._differing)

    @property
    def own(self) -> tuple[str, ...]:
        learning = self._spec.learning
        own = self._differing | {*learning} | {f"p{letter}" for letter in learning if letter != "D"}
        if "H" in self._first and own & {"B", "H"}:
            own = (own - {"H"}) | {"I"}
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
        for name in arguments.keys() & {*_ARRAYS}:
            value = arguments[name]
            if name in _LISTS:  # a list of its own, since PyMDP writes into it
                arrays = map(np.stack, zip(*(row[name] for row in rows), strict=True))
                arguments[name] = list(map(jnp.asarray, arrays if rows else value))
            else:
                arguments[name] = jnp.asarray(
                    np.stack([row[name] for row in rows]) if rows else value
                )
        try:
            return Agent(**arguments, batch_size=len(agents))
        except Exception as error:
            failed = refused(self._spec, error, "refused its arguments")
            raise memory_error(error) or failed from None

    def _converted(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments of `Agent`, arrays in JAX's precision, still NumPy's."""
        precision = jnp.zeros(0).dtype
        converted = {_JAX_NAMES.get(name, name): value for name, value in arguments.items()}
        converted.pop("pD", None)
        for letter in self._spec.learning:
            if converted.get(letter) is None:
                raise ScenarioError("learning", f"{letter} cannot be learned: the model has none")
            converted[f"learn_{letter}"] = True
            if letter != "D":
                converted.setdefault(f"p{letter}", converted[letter])
        if "H" in converted:
            converted.setdefault("use_inductive", True)
        for name in _ARRAYS:
            if converted.get(name) is None:
                converted.pop(name, None)
            elif name in _LISTS:
                converted[name] = [np.asarray(each, precision) for each in converted[name]]
            else:
                converted[name] = np.asarray(converted[name], precision)
        return converted


def memory_error(error: Exception) -> MemoryError | None:
    """What ran out of memory as Python says it, which JAX says in an error of its own; None for
    anything else."""
    if isinstance(error, MemoryError):
        return error
    if "RESOURCE_EXHAUSTED" in str(error):
        return MemoryError(str(error)).with_traceback(error.__traceback__)
    return None


def _equal(left: Any, right: Any) -> bool:
    if not isinstance(left, list):
        return np.array_equal(left, right)
    return len(left) == len(right) and all(map(np.array_equal, left, right))
