"""Instrument `tracemalloc`: the traced Python heap, by operation, source line and stack."""

from __future__ import annotations

import gc
import linecache
import statistics
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any, Self, TypeVar

from memprof.analysis.mixtures import fewest_like_all
from memprof.instruments.base import Details
from memprof.instruments.source_lines import Place, place_of, short_path
from memprof.instruments.stacks import NamedCalls, stacks_between
from memprof.instruments.walker import walk_each
from memprof.measurements import LineHotspot, OperationMemory
from memprof.populations.base import Population, population_class
from memprof.spec import PopulationSpec

T = TypeVar("T")

# One frame is enough for sizes and slows least. Lines need the frames below NumPy's and copy's own,
# stacks all of them up to the operation.
_LINE_FRAMES, _STACK_FRAMES = 5, 25
_TRACED_STEPS = 2
_BRIEFLY_SECONDS = 5.0
_FURTHER_SECONDS = 15.0
_MOST_LINES = 25


class TracedHeap:
    """Reads `tracemalloc`, and splits transient peaks and retained bytes by operation.

    Peaks come from every call. Retained bytes come from a second agent built at the end, or from as
    many as stand for all where agents differ: there the collector runs around each call, because
    Python's free lists and uncollected cycles look retained until a full collection.
    """

    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}
        self._retained: dict[str, list[int]] = {}
        self._collecting = False
        self._zero = 0

    def __enter__(self) -> Self:
        tracemalloc.start()
        self._zero = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *exception: object) -> None:
        tracemalloc.stop()

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        if self._collecting:
            gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = function(*arguments)
        peak = tracemalloc.get_traced_memory()[1] - before
        self._peaks[operation] = max(peak, self._peaks.get(operation, 0))
        if self._collecting:
            gc.collect()
            retained = tracemalloc.get_traced_memory()[0] - before
            self._retained.setdefault(operation, []).append(retained)
        return result

    def read(self, population: Population) -> int:
        return tracemalloc.get_traced_memory()[0] - self._zero

    def details(self, population: Population, spec: PopulationSpec) -> Details:
        held = walk_each(population.holdings(), len(population)).nominal
        further = fewest_like_all(held[: max(2, spec.agents)])
        population.close()
        steps = _live_briefly(population, spec.steps)  # the first also pays for what all share
        gc.collect()
        gc.freeze()  # what is there already need not be looked at again and again
        self._collecting = True
        _some_more(population, steps, further)
        self._collecting = False
        gc.unfreeze()
        population.close()
        operations = tuple(
            OperationMemory(operation, len(kept), sum(kept), self._peaks[operation])
            for operation, kept in self._retained.items()
        )
        traced = _one_more(spec, further)
        return replace(traced, operations=operations, held_bytes=held)


def _one_more(spec: PopulationSpec, further: int) -> Details:
    """Lines and stacks that hold the memory of one further agent, the mean of so many as there is
    time for, in a second, smaller traced population.

    There are no stacks of JAX's agents: they are so deep that all their frames make the first steps
    take three times as long, and what Python holds for such an agent are JAX's caches.
    """
    stacked = spec.backend != "jax"
    tracemalloc.stop()
    gc.collect()
    tracemalloc.start(_STACK_FRAMES if stacked else _LINE_FRAMES)
    population = population_class(spec.backend)(spec, NamedCalls())
    steps = _live_briefly(population, min(spec.steps, _TRACED_STEPS))
    gc.collect()
    first = tracemalloc.take_snapshot()
    agents = _some_more(population, steps, further)
    gc.collect()
    second = tracemalloc.take_snapshot()
    tracemalloc.stop()
    held = walk_each(population.holdings(), 1 + agents).nominal[1:]
    population.close()
    first, second = without_own(first), without_own(second)
    return Details(
        lines=_lines(first, second, agents, spec.folder),
        stacks=stacks_between(first, second, agents, spec.folder) if stacked else (),
        further_agents=agents,
        further_bytes=statistics.fmean(held),
    )


def _lines(
    first: tracemalloc.Snapshot, second: tracemalloc.Snapshot, agents: int, folder: str
) -> tuple[LineHotspot, ...]:
    one, both = by_line(first), by_line(second)
    rows = []
    for place, (size, blocks) in both.items():
        size_of_one, blocks_of_one = one.get(place, (0, 0))
        if size > size_of_one:
            path, line = place
            rows.append(
                LineHotspot(
                    path=short_path(path, folder),
                    line=line,
                    text=linecache.getline(path, line).strip(),
                    bytes_per_agent=(size - size_of_one) / agents,
                    blocks_per_agent=(blocks - blocks_of_one) / agents,
                )
            )
    rows.sort(key=lambda row: row.bytes_per_agent, reverse=True)
    return tuple(rows[:_MOST_LINES])


def _live_briefly(population: Population, steps: int) -> int:
    """Build one more agent and let it live; fewer steps when they are slow. Returns how many."""
    agents = population.grow(len(population) + 1)
    start = perf_counter()
    for step in range(steps):
        for _ in population.live(agents, range(step, step + 1)):
            pass
        if perf_counter() - start > _BRIEFLY_SECONDS:
            return step + 1
    return steps


def _some_more(population: Population, steps: int, most: int) -> int:
    """Build some more agents, at least one and as many as there is time for, and let them live; how
    many."""
    start = perf_counter()
    for count in range(1, most + 1):
        _live_briefly(population, steps)
        if perf_counter() - start > _FURTHER_SECONDS:
            return count
    return most


def without_own(traces: tracemalloc.Snapshot) -> tracemalloc.Snapshot:
    """What is traced, without what tracing itself allocated."""
    own = [tracemalloc.Filter(False, file) for file in (tracemalloc.__file__, __file__)]
    return traces.filter_traces(own)


def by_line(traces: tracemalloc.Snapshot) -> dict[Place, tuple[int, int]]:
    """Live bytes and blocks by the innermost line that is the user's, PyMDP's or a model's."""
    found: dict[Place, tuple[int, int]] = {}
    for statistic in traces.statistics("traceback"):
        place = place_of(statistic.traceback)
        size, blocks = found.get(place, (0, 0))
        found[place] = (size + statistic.size, blocks + statistic.count)
    return found
