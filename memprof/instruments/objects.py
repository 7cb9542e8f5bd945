"""Instrument `pympler`: sizes and types of a population's Python objects; what is in the arrays of
agents, and which attributes hold more after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from pympler import asizeof, summary

from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls, live
from memprof.instruments.contents import contents
from memprof.instruments.graph import attributes
from memprof.instruments.held import reachable
from memprof.instruments.memory import nominal_bytes
from memprof.populations import AGENT, WORKING_SET, Population
from memprof.stats.growth import is_steady
from memprof.values.instruments import Details, GainRow, TypeRow
from memprof.values.population import PopulationSpec

_MOST_TYPES = 12
_MOST_AGENTS = 20
# Steps between two marks of what attributes hold: as many as agents live in about this time.
_FEWEST_STEPS, _MOST_STEPS = 2, 16
_RECORDS = ("records", WORKING_SET)


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
            # The last, since the agents live on for it.
            gains=gains(population, spec),
        )


def _roots(population: Population) -> list[Any]:
    return [thing for _, _, thing in population.holdings() if thing is not None]


def gains(population: Population, spec: PopulationSpec) -> tuple[GainRow, ...]:
    """Attributes that gain as much per step between the first two of three marks as between the
    last two, largest first, while some agents live on after the scenario's steps: whole episodes
    from mark to mark, or for about the effort's time.

    An object that several attributes lead to is the first one's. Agents of one batch (JAX) have no
    attributes of their own that could grow, and agents that end earlier are not watched.
    """
    agents, lived = range(min(_MOST_AGENTS, len(population))), spec.steps
    if not _held(population, agents):
        return ()
    try:
        start = perf_counter()
        live(population, agents, range(lived, lived + 1))
        each = perf_counter() - start
        in_time = int(spec.effort.gain_seconds / max(each, 1e-9))
        steps = spec.whole(max(_FEWEST_STEPS, min(_MOST_STEPS, in_time)))
        marks = [_held(population, agents)]
        for first in (lived + 1, lived + 1 + steps):
            live(population, agents, range(first, first + steps))
            marks.append(_held(population, agents))
    except (MemoryError, ScenarioError):
        return ()  # the scenario did not ask for so many steps
    one, two, three = marks
    rows = [
        GainRow(name, (three[name] - one[name]) / (2 * steps * len(agents)), len(agents), 2 * steps)
        for name in three
        if is_steady(two[name] - one[name], three[name] - two[name])
    ]
    return tuple(sorted(rows, key=lambda row: row.bytes_per_step, reverse=True))


def _held(population: Population, agents: range) -> Counter[str]:
    """Nominal bytes behind each attribute, over the agents."""
    named = list(_named(population, agents))
    seen: dict[int, Any] = {id(agent): agent for agent, _, _ in named}
    held: Counter[str] = Counter()
    for _, name, value in named:
        held[name] += sum(map(nominal_bytes, reachable([value], seen)))
    return held


def _named(population: Population, agents: range) -> Iterator[tuple[Any, str, Any]]:
    """What agents hold under a name, as (agent, name, value)."""
    for owner, component, root in population.holdings():
        if owner not in agents:
            continue
        if component in _RECORDS:
            yield None, component, root
        elif component == AGENT:
            for name, value in attributes(root).items():
                yield root, f"{type(root).__qualname__}.{name}", value
