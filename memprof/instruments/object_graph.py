"""Instrument `pympler`: sizes and types of a population's Python objects, and what is in them."""

from __future__ import annotations

from typing import Any

from pympler import asizeof, summary

from memprof.instruments.base import Details, DirectCalls
from memprof.instruments.contents import contents
from memprof.instruments.gains import gains
from memprof.instruments.walker import reachable
from memprof.measurements import TypeRow
from memprof.populations.base import Population
from memprof.spec import PopulationSpec

_MOST_TYPES = 12


class ObjectGraph(DirectCalls):
    """`asizeof` over everything the population holds, each object once."""

    def read(self, population: Population) -> int:
        return int(asizeof.asizeof(*_roots(population)))  # type: ignore[no-untyped-call]

    def details(self, population: Population, spec: PopulationSpec) -> Details:
        rows = summary.summarize(reachable(_roots(population)))  # type: ignore[no-untyped-call]
        rows.sort(key=lambda row: row[2], reverse=True)
        return Details(
            types=tuple(TypeRow(name, count, size) for name, count, size in rows[:_MOST_TYPES]),
            contents=contents(population.holdings(), len(population)),
            gains=gains(population, spec.steps),  # the last, since the agents live on for it
        )


def _roots(population: Population) -> list[Any]:
    return [thing for _, _, thing in population.holdings() if thing is not None]
