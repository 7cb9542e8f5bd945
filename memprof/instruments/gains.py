"""Which attributes of agents hold more after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from memprof.analysis.retention import is_steady
from memprof.errors import ScenarioError
from memprof.evidence import GainRow
from memprof.instruments.retained import named_attributes
from memprof.instruments.walker import nominal_bytes, reachable
from memprof.populations.base import WORKING_SET, Population

_MOST_AGENTS = 20
# Steps between two marks: as many as these agents live in about this time.
_FEWEST_STEPS, _MOST_STEPS, _SECONDS = 2, 16, 0.4
_RECORDS = ("records", WORKING_SET)


def gains(population: Population, lived: int) -> tuple[GainRow, ...]:
    """Attributes that gain as much per step between the first two of three marks as between the
    last two, largest first, while some agents live on from the step `lived`.

    An object that several attributes lead to is the first one's. Agents of one batch (JAX) have no
    attributes of their own that could grow, and agents that end earlier are not watched.
    """
    agents = range(min(_MOST_AGENTS, len(population)))
    if not _held(population, agents):
        return ()
    try:
        start = perf_counter()
        _live(population, agents, range(lived, lived + 1))
        each = perf_counter() - start
        steps = max(_FEWEST_STEPS, min(_MOST_STEPS, int(_SECONDS / max(each, 1e-9))))
        marks = [_held(population, agents)]
        for first in (lived + 1, lived + 1 + steps):
            _live(population, agents, range(first, first + steps))
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


def _live(population: Population, agents: range, steps: range) -> None:
    for _ in population.live(agents, steps):
        pass


def _held(population: Population, agents: range) -> Counter[str]:
    """Nominal bytes behind each attribute, over the agents."""
    named = list(_attributes(population, agents))
    seen: dict[int, Any] = {id(agent): agent for agent, _, _ in named}
    held: Counter[str] = Counter()
    for _, name, value in named:
        held[name] += sum(map(nominal_bytes, reachable([value], seen)))
    return held


def _attributes(population: Population, agents: range) -> Iterator[tuple[Any, str, Any]]:
    """What agents hold under a name, as (agent, name, value)."""
    for owner, component, root in population.holdings():
        if owner not in agents:
            continue
        if component in _RECORDS:
            yield None, component, root
        elif component == "other agent objects":
            for name, value in named_attributes(root).items():
                yield root, f"{type(root).__qualname__}.{name}", value
