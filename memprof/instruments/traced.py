"""Instrument `tracemalloc`: the traced Python heap, by operation, source line and stack."""

from __future__ import annotations

import gc
import statistics
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from time import perf_counter
from types import FunctionType
from typing import Any, Self, TypeVar

from msgspec.structs import replace

from memprof.instruments import live, process
from memprof.instruments.source_lines import (
    PACKAGE,
    Place,
    by_line,
    function_at,
    is_library,
    is_memprofs_work,
    short_path,
    text_of,
)
from memprof.instruments.walker import walk
from memprof.populations import Population, population_class
from memprof.stats.lines import fewest_like_all
from memprof.values.instruments import AllocationStack, Details, Frame, LineHotspot, OperationMemory
from memprof.values.population import PopulationSpec

T = TypeVar("T")

Stack = tuple[str, tuple[Place, ...]]
"""An operation and the lines below it, outermost first."""

OUTSIDE = "outside operations"
TOO_DEEP = "below too many calls"
OTHERS = "other stacks"

MOST_STACKS = 40
_MARK = "<operation "
# With memprof's own work, what only leads from an operation to PyMDP, to a pass or to a model.
_LEADS = ("populations/", "upstream/jax_agent.py", "models/__init__.py", "models/factory.py")
_LEADING = tuple(PACKAGE + part for part in _LEADS)

# One frame is enough for sizes and slows least. Lines need the frames below NumPy's and copy's own,
# stacks all of them up to the operation.
_LINE_FRAMES, _STACK_FRAMES = 5, 25
_TRACED_STEPS = 2
_FURTHER_TIMES = 3
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
            process.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = function(*arguments)
        peak = tracemalloc.get_traced_memory()[1] - before
        self._peaks[operation] = max(peak, self._peaks.get(operation, 0))
        if self._collecting:
            process.collect()
            retained = tracemalloc.get_traced_memory()[0] - before
            self._retained.setdefault(operation, []).append(retained)
        return result

    def read(self, population: Population) -> int:
        return tracemalloc.get_traced_memory()[0] - self._zero

    def details(self, population: Population, spec: PopulationSpec) -> Details:
        held = walk(population.holdings(), len(population)).nominal
        if population.rebuilds:
            return self._built_anew(population, spec, held)
        first = _first_agents(spec)
        further = fewest_like_all(held[: max(1 + first, spec.agents)], first)
        population.close()
        seconds = spec.effort.watch_seconds
        steps = _first_ones(population, first, spec.steps, seconds)
        with self._watching():
            _some_more(population, steps, further, seconds)
        population.close()
        traced = _one_more(spec, first, further)
        return replace(traced, operations=self._operations(), held_bytes=held)

    def _built_anew(
        self, population: Population, spec: PopulationSpec, held: Sequence[int]
    ) -> Details:
        """Calls of the same population once more; and lines that hold what the second half of its
        agents takes. Programs are compiled before, as far as they can be kept: they are no
        agent's."""
        agents, few, seconds = len(held), len(held) // 2, spec.effort.watch_seconds
        with self._watching():
            steps = _live_briefly(population, agents, spec.steps, seconds)
        tracemalloc.stop()
        for size in (few, agents):
            _live_briefly(population, size, steps, seconds)
        tracemalloc.start(_LINE_FRAMES)
        traces = []
        for size in (few, agents):
            _live_briefly(population, size, steps, seconds)
            process.collect()
            traces.append(tracemalloc.take_snapshot())
        population.close()
        first, second = map(without_own, traces)
        return Details(
            lines=_lines(first, second, agents - few, spec.folder),
            operations=self._operations(),
            held_bytes=tuple(held),
            further_agents=agents - few,
            further_bytes=statistics.fmean(held[few:]),
        )

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Take down what calls retain."""
        process.collect()
        gc.freeze()  # what is there already need not be looked at again and again
        self._collecting = True
        yield
        self._collecting = False
        gc.unfreeze()

    def _operations(self) -> tuple[OperationMemory, ...]:
        return tuple(
            OperationMemory(operation, len(kept), sum(kept), self._peaks[operation])
            for operation, kept in self._retained.items()
        )


def _first_agents(spec: PopulationSpec) -> int:
    """So many agents pay for what all share: the first for the model and, with passes, the second
    for what comparing it with the first leaves behind in caches."""
    return 2 if spec.passes else 1


def _one_more(spec: PopulationSpec, first: int, further: int) -> Details:
    """Lines and stacks that hold the memory of one agent after the `first`, the mean of `further`
    or of as many as there is time for, in a second, smaller traced population."""
    tracemalloc.stop()
    process.collect()
    tracemalloc.start(_STACK_FRAMES)
    population = population_class(spec)(spec, NamedCalls())
    seconds = spec.effort.watch_seconds
    steps = _first_ones(population, first, min(spec.steps, _TRACED_STEPS), seconds)
    process.collect()
    before = tracemalloc.take_snapshot()
    agents = _some_more(population, steps, further, seconds)
    process.collect()
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    held = walk(population.holdings(), first + agents).nominal[first:]
    population.close()
    before, after = without_own(before), without_own(after)
    return Details(
        lines=_lines(before, after, agents, spec.folder),
        stacks=stacks_between(before, after, agents, spec.folder),
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
                    text=text_of(place),
                    bytes_per_agent=(size - size_of_one) / agents,
                    blocks_per_agent=(blocks - blocks_of_one) / agents,
                )
            )
    rows.sort(key=lambda row: row.bytes_per_agent, reverse=True)
    return tuple(rows[:_MOST_LINES])


def _first_ones(population: Population, first: int, steps: int, seconds: float) -> int:
    """Build the first agents one after the other, as further ones are, and let them live; how many
    steps there was time for."""
    for agents in range(1, first + 1):
        steps = _live_briefly(population, agents, steps, seconds)
    return steps


def _live_briefly(population: Population, agents: int, steps: int, seconds: float) -> int:
    """Let there be so many agents, and the new ones live; fewer steps when they would take longer
    than so many seconds. Returns how many."""
    new = population.grow(agents)
    start, stride = perf_counter(), population.stride
    for step in range(0, steps, stride):
        live(population, new, range(step, step + stride))
        if perf_counter() - start > seconds:
            return step + stride
    return steps


def _some_more(population: Population, steps: int, most: int, seconds: float) -> int:
    """Build some more agents, at least one and as many as there is time for, and let them live; how
    many."""
    start = perf_counter()
    for count in range(1, most + 1):
        _live_briefly(population, len(population) + 1, steps, seconds)
        if perf_counter() - start > _FURTHER_TIMES * seconds:
            return count
    return most


def without_own(traces: tracemalloc.Snapshot) -> tracemalloc.Snapshot:
    """What is traced, without what tracing itself allocated."""
    own = [tracemalloc.Filter(False, file) for file in (tracemalloc.__file__, __file__)]
    return traces.filter_traces(own)


class NamedCalls:
    """A probe that leaves the name of the operation in the tracebacks of all that happens in it.

    tracemalloc remembers files and lines alone. So every operation is called through a function
    whose code claims to be from a file that is called like the operation.
    """

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        result: T = _through(operation)(function, *arguments)
        return result


@cache
def _through(operation: str) -> FunctionType:
    code = _call.__code__.replace(co_filename=f"{_MARK}{operation}>")
    return FunctionType(code, {}, operation)


def _call(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


def stacks_between(
    first: tracemalloc.Snapshot, second: tracemalloc.Snapshot, agents: int, folder: str
) -> tuple[AllocationStack, ...]:
    """What each of the `agents` holds in `second` beyond `first`, by stack, most bytes first.

    The bytes and blocks of all stacks are those of the difference: what is left out, and what was
    let go of between the two, is in a last one called `OTHERS`.
    """
    gained: dict[Stack, tuple[int, int]] = {}
    for change in second.compare_to(first, "traceback"):
        if change.size_diff or change.count_diff:
            stack = _below_operation(change.traceback, second.traceback_limit)
            size, blocks = gained.get(stack, (0, 0))
            gained[stack] = size + change.size_diff, blocks + change.count_diff
    order = sorted(gained, key=lambda stack: gained[stack], reverse=True)
    kept = [stack for stack in order[:MOST_STACKS] if gained[stack][0] > 0]
    sizes = [gained[stack] for stack in order]
    found = [
        AllocationStack(operation, _frames(places, folder), size / agents, blocks / agents)
        for (operation, places), (size, blocks) in zip(kept, sizes, strict=False)
    ]
    size, blocks = (sum(each) for each in zip((0, 0), *sizes[len(kept) :], strict=True))
    if size or blocks:
        found.append(AllocationStack(OTHERS, (), size / agents, blocks / agents))
    return tuple(found)


def _below_operation(traceback: tracemalloc.Traceback, most_frames: int) -> Stack:
    """The operation, and the lines from where it leaves what of memprof only leads to others."""
    # Outermost first. A comprehension is a frame of its own on the line of its function.
    places = [place for place, _ in groupby((frame.filename, frame.lineno) for frame in traceback)]
    marks = [number for number, (path, _) in enumerate(places) if path.startswith(_MARK)]
    if marks:
        operation = places[marks[0]][0][len(_MARK) : -1]
        below = [place for place in places[marks[0] :] if not place[0].startswith(_MARK)]
        return operation, _without_lead(below, _leads)
    if len(traceback) >= most_frames:
        return TOO_DEEP, tuple(places)
    return OUTSIDE, _without_lead(places, lambda path: _leads(path) or is_library(path))


def _leads(path: str) -> bool:
    return is_memprofs_work(path) or path.startswith(_LEADING)


def _without_lead(places: Sequence[Place], leads: Callable[[str], bool]) -> tuple[Place, ...]:
    """`places` from the first that does not lead to others; the last one where all do."""
    start = next((n for n, (path, _) in enumerate(places) if not leads(path)), len(places) - 1)
    return tuple(places[max(0, start) :])


def _frames(places: Iterable[Place], folder: str) -> tuple[Frame, ...]:
    return tuple(
        Frame(short_path(path, folder), line, function_at(path, line)) for path, line in places
    )
