"""What a factory gives for JAX agents, whatever its form: rows of leaves that are each agent's own,
and the settings of the program that serves them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from memprof.errors import ScenarioError
from memprof.populations import model_field
from memprof.upstream.jax_agent import Agent
from memprof.values.population import PopulationSpec

_LEARNED = "ABD"  # by PyMDP or, D, by memprof


class Row(NamedTuple):
    """One agent.

    Attributes:
        leaves: attributes of PyMDP's agent in which it may differ from others, without an axis for
            a batch.
        world: A, B, D and the factors of A and B, as worlds and checks know them.
    """

    leaves: dict[str, Any]
    world: dict[str, Any]


class Given(Protocol):
    """What one call of a factory gave: an agent, or a batch.

    Attributes:
        form: what it is, in words.
        size: how many agents.
        settings: what all agents of a batch have in common, so that it can be compared.
        learning: what they learn.
    """

    form: str
    size: int
    settings: dict[str, Any]
    learning: tuple[str, ...]

    def row(self, index: int) -> Row:
        """One agent of the batch."""
        ...

    def agent(self) -> Agent:
        """PyMDP's agent of the first row alone."""
        ...


def learned(
    spec: PopulationSpec,
    settings: Mapping[str, Any],
    error: Callable[[str, str], ScenarioError],
) -> tuple[str, ...]:
    """What agents learn: what the scenario says, what they were told themselves, or both alike."""
    asked = [letter for letter in _LEARNED if settings.get(f"learn_{letter}")]
    for letter in _LEARNED if spec.learning else ():
        expected, found = letter in spec.learning, settings.get(f"learn_{letter}")
        if found is not None and bool(found) != expected:
            remedy = f"leave {letter} out of it" if expected else f"add {letter} to it"
            raise error(
                f"learn_{letter}",
                f"expected {expected}, as the scenario's learning: [{', '.join(spec.learning)}] "
                f"says, found {found}; leave the keyword out, or {remedy}",
            )
    return spec.learning or tuple(asked)


def memory_error(error: Exception) -> MemoryError | None:
    """What ran out of memory as Python says it, which JAX says in an error of its own; None for
    anything else."""
    if isinstance(error, MemoryError):
        return error
    if "RESOURCE_EXHAUSTED" in str(error):
        return MemoryError(str(error)).with_traceback(error.__traceback__)
    return None


def wrong(spec: PopulationSpec, agent: int, name: str, problem: str) -> ScenarioError:
    """A mistake in what the factory gave for an agent."""
    return ScenarioError(model_field(spec), f"{name} of agent {agent}: {problem}")


def plain(value: Any) -> Any:
    """NumPy's and JAX's numbers and arrays as Python's, in lists too."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
