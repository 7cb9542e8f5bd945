"""Instrument `tracemalloc`: the traced Python heap, by operation and by source line."""

from __future__ import annotations

import gc
import linecache
import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any, Self, TypeVar

from memprof.instruments.base import Details, DirectCalls
from memprof.instruments.source_lines import Place, place_of, short_path
from memprof.measurements import LineHotspot, OperationMemory
from memprof.populations.base import Population, population_class
from memprof.spec import PopulationSpec

T = TypeVar("T")

# One frame is enough for sizes and slows least. Lines need the frames below NumPy's and copy's own.
_LINE_FRAMES = 5
_LINE_STEPS = 2
_BRIEFLY_SECONDS = 5.0
_MOST_LINES = 25


class TracedHeap:
    """Reads `tracemalloc`, and splits transient peaks and retained bytes by operation.

    Peaks come from every call. Retained bytes come from a second agent built at the end: there the
    collector runs around each call, because Python's free lists and uncollected cycles look
    retained until a full collection.
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
        population.close()
        _live_briefly(population, spec.steps)  # the first agent also pays for what all share
        gc.collect()
        gc.freeze()  # what is there already need not be looked at again and again
        self._collecting = True
        _live_briefly(population, spec.steps)
        self._collecting = False
        gc.unfreeze()
        population.close()
        operations = tuple(
            OperationMemory(operation, len(kept), sum(kept), self._peaks[operation])
            for operation, kept in self._retained.items()
        )
        return Details(operations=operations, lines=_lines(spec))


def _lines(spec: PopulationSpec) -> tuple[LineHotspot, ...]:
    """Lines that hold the memory of one further agent, in a second, smaller traced population."""
    tracemalloc.stop()
    gc.collect()
    tracemalloc.start(_LINE_FRAMES)
    population = population_class(spec.backend)(spec, DirectCalls())
    steps = _live_briefly(population, min(spec.steps, _LINE_STEPS))
    gc.collect()
    first = tracemalloc.take_snapshot()
    _live_briefly(population, steps)
    gc.collect()
    second = tracemalloc.take_snapshot()
    population.close()
    one, both = by_line(first), by_line(second)
    rows = []
    for place, (size, blocks) in both.items():
        size_of_one, blocks_of_one = one.get(place, (0, 0))
        if size > size_of_one:
            path, line = place
            rows.append(
                LineHotspot(
                    path=short_path(path, spec.folder),
                    line=line,
                    text=linecache.getline(path, line).strip(),
                    bytes_per_agent=size - size_of_one,
                    blocks_per_agent=blocks - blocks_of_one,
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


def by_line(snapshot: tracemalloc.Snapshot) -> dict[Place, tuple[int, int]]:
    """Live bytes and blocks by the innermost line that is the user's, PyMDP's or a model's."""
    found: dict[Place, tuple[int, int]] = {}
    own = [tracemalloc.Filter(False, file) for file in (tracemalloc.__file__, __file__)]
    for statistic in snapshot.filter_traces(own).statistics("traceback"):
        place = place_of(statistic.traceback)
        size, blocks = found.get(place, (0, 0))
        found[place] = (size + statistic.size, blocks + statistic.count)
    return found
