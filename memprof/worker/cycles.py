"""The life of a population in equal cycles: what a leak check repeats."""

from __future__ import annotations

from dataclasses import replace

from memprof.instruments import process
from memprof.instruments.base import DirectCalls
from memprof.leak import Mode
from memprof.populations.base import Population, Probe
from memprof.spec import PopulationSpec


def bounded(spec: PopulationSpec, mode: Mode, history_steps: int | None) -> PopulationSpec:
    """The population whose agents, where they live on, keep so many steps of their past.

    PyMDP appends to an agent's histories for ever; the pass `history` lets go of what PyMDP never
    reads again, so that any other growth shows, however small it is.
    """
    if mode != "steps" or history_steps is None:
        return spec
    others = tuple(name for name in spec.passes if name != "history")
    return replace(spec, passes=("history", *others), history_steps=history_steps)


class Cycles:
    """One population after the other, or one that lives on.

    Attributes:
        population: the one that lives on; None in the mode `lifecycle`, between cycles.
        facts: what a reader must know of the backend, once a cycle has run.
    """

    def __init__(
        self,
        population_type: type[Population],
        spec: PopulationSpec,
        mode: Mode,
        probe: Probe | None = None,
    ) -> None:
        self.population: Population | None = None
        self.facts: dict[str, str] = {}
        self._type = population_type
        self._spec = spec
        self._mode = mode
        self._probe = probe or DirectCalls()
        self._lived = 0

    def run(self) -> None:
        """One cycle. What is garbage afterwards is not yet collected."""
        population = self.population or self._new()
        self._live(population, self._lived)
        if self._mode == "steps":
            self.population = population
            self._lived += self._spec.steps
        else:
            population.close()

    def close(self) -> None:
        """Let go of the population that lives on."""
        if self.population is not None:
            self.population.close()
            self.population = None

    def _new(self) -> Population:
        population = self._type(self._spec, self._probe)
        population.grow(self._spec.agents)
        self.facts = self.facts or population.facts()
        return population

    def _live(self, population: Population, first: int) -> None:
        agents = range(len(population))
        for step in range(first, first + self._spec.steps, population.stride):
            for _ in population.live(agents, range(step, step + population.stride)):
                pass
        process.clear_free_lists()
