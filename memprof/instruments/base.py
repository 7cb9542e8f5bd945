"""What an instrument in a worker of its own looks like, and the probe of the clean worker."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol, Self, TypeVar

from memprof.populations.base import Population
from memprof.values.measurements import Details, OperationTime
from memprof.values.population import PopulationSpec

T = TypeVar("T")


class Instrument(Protocol):
    """Reads a population in a worker of its own; what it sees and is blind to is in the catalogue.

    A context manager: it is at work from entry, before the first agent, to exit. It is also the
    population's probe.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T: ...

    def read(self, population: Population) -> int:
        """Bytes of the population, as this instrument counts them."""
        ...

    def details(self, population: Population, spec: PopulationSpec) -> Details:
        """Asked once, after all readings; may close the population and build another."""
        ...


class DirectCalls:
    """The start of an instrument that needs no set-up, does not watch operations, and has nothing
    to say beyond its figure."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)

    def details(self, population: Population, spec: PopulationSpec) -> Details:
        return Details()


def live(population: Population, agents: range, steps: range) -> None:
    """Let agents live the steps, with nobody looking at what they do."""
    for _ in population.live(agents, steps):
        pass


class Stopwatch:
    """The clean worker's probe: time per operation, and the one in which memory ran out, as a note
    of the MemoryError."""

    def __init__(self) -> None:
        self._totals: dict[str, list[float]] = {}

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        start = perf_counter()
        try:
            result = function(*arguments)
        except MemoryError as error:
            error.add_note(operation)
            raise
        elapsed = perf_counter() - start
        total = self._totals.get(operation)
        if total is None:
            total = self._totals[operation] = [0, 0.0]
        total[0] += 1
        total[1] += elapsed
        return result

    def times(self) -> tuple[OperationTime, ...]:
        """Calls and seconds of every operation, in the order of first use."""
        return tuple(
            OperationTime(operation, int(calls), seconds)
            for operation, (calls, seconds) in self._totals.items()
        )
