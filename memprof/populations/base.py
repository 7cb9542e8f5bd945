"""A population: N agents of one backend, with their environments and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from memprof.spec import PopulationSpec
from memprof.targets import load_target

T = TypeVar("T")

_BACKENDS = {
    "numpy": "memprof.populations.numpy_agents:NumpyPopulation",
    "fake": "memprof.populations.fake:FakePopulation",
}


class Probe(Protocol):
    """Watches the operations of agents: an instrument's hook into a population."""

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        """Call `function`, which is one `operation`, and return what it returns."""
        ...


class Behaviour(NamedTuple):
    """What an agent believed and did in one step: the values that equivalence compares."""

    beliefs: Any
    policies: Any
    action: Any


class Population(Protocol):
    """Agents that are built one by one and live step by step."""

    def __init__(self, spec: PopulationSpec, probe: Probe) -> None: ...

    def __len__(self) -> int: ...

    def build(self) -> None:
        """Build one more agent, its environment too, and apply the passes to it."""
        ...

    def step(self, agent: int, step: int) -> Behaviour:
        """Let one agent perceive, plan and act once."""
        ...

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """Everything the population holds, as (agent, component, object); agent -1 for none."""
        ...

    @property
    def file_bytes(self) -> int:
        """What the population takes in files on disk, under passes that keep it there."""
        ...

    @property
    def kept_whole(self) -> tuple[str, ...]:
        """Attributes that a pass could not encode exactly, with their types."""
        ...

    def close(self) -> None:
        """Let go of all agents."""
        ...


def population_class(backend: str) -> type[Population]:
    """The population class of a backend; imports the backend."""
    cls: type[Population] = load_target(_BACKENDS[backend])
    return cls


def step_seed(seed: int, agent: int, step: int) -> int:
    """32-bit seed of one agent's step (step -1: its construction), the same in every run."""
    return hash((seed, agent, step + 1)) & 0xFFFFFFFF
