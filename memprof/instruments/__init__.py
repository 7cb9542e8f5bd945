"""Ways of reading memory: what an instrument in a worker of its own looks like, the probe of the
clean worker, and the trial of a reading before it is trusted."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Protocol, Self, TypeVar

from memprof.populations import Population
from memprof.posix import PAGE_BYTES
from memprof.text import format_size
from memprof.values.instruments import Details
from memprof.values.measurements import OperationTime
from memprof.values.population import PopulationSpec

T = TypeVar("T")

_LEAST, _MOST = 0.9, 1.5
"""Shares of the memory by which a reading may move: allocators round sizes up."""
_ATTEMPTS = 3
"""Other threads allocate, too; what sees nothing fails as often as it is tried."""


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
            error.add_note(f"during {operation}")
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


class Load(Protocol):
    """Memory that comes and goes, without taking any other: what a reading is tried with, which has
    to move by as much."""

    def take(self) -> None: ...

    def free(self) -> None: ...


class MappedPages:
    """So many bytes, mapped and touched, or `touched` in some places only."""

    def __init__(self, size: int, *, shared: bool = False, touched: range | None = None) -> None:
        self._size, self._shared = size, shared
        self._touched = range(0, size, PAGE_BYTES) if touched is None else touched
        self._memory: mmap.mmap | None = None

    def take(self) -> None:
        flags = getattr(mmap, "MAP_SHARED" if self._shared else "MAP_PRIVATE", None)
        self._memory = mmap.mmap(-1, self._size, *(() if flags is None else (flags,)))
        for place in self._touched:
            self._memory[place] = 1

    def free(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None


class SmallObjects:
    """So many small objects of Python."""

    BLOCK_BYTES = 144
    """What each takes, with its header and rounded up."""
    _BYTES = 100

    def __init__(self, count: int) -> None:
        self._objects: list[bytes | None] = [None] * count

    def take(self) -> None:
        for place in range(len(self._objects)):
            self._objects[place] = bytes(self._BYTES)

    def free(self) -> None:
        for place in range(len(self._objects)):
            self._objects[place] = None


def failures(
    read: Callable[[], Mapping[str, int | None]], load: Load, amount: int, unit: str = "B"
) -> dict[str, str]:
    """The readings that cannot be trusted to tell of `amount` more and less, and why."""
    found: dict[str, str] = {}
    for attempt in range(_ATTEMPTS):
        failed = _failures(read, load, amount, unit)
        found = failed if attempt == 0 else {n: why for n, why in failed.items() if n in found}
        if not found:
            break
    return found


def failure(read: Callable[[], int | None], load: Load, amount: int, unit: str = "B") -> str:
    """The same of a single reading; empty if it can be trusted."""
    return failures(lambda: {"": read()}, load, amount, unit).get("", "")


def _failures(
    read: Callable[[], Mapping[str, int | None]], load: Load, amount: int, unit: str
) -> dict[str, str]:
    before = read()
    load.take()
    during = read()
    load.free()
    after = read()
    found = {}
    for name, was in before.items():
        there, gone = during.get(name), after.get(name)
        if was is None or there is None or gone is None:
            found[name] = "this process has no such statistics"
            continue
        for moved, what in ((there - was, "allocated"), (there - gone, "freed")):
            if not _LEAST * amount <= moved <= _MOST * amount:
                known, seen = _shown(amount, unit), _shown(moved, unit)
                found[name] = f"when {known} were {what}, it moved by {seen}"
                break
    return found


def _shown(amount: int, unit: str) -> str:
    return format_size(amount) if unit == "B" else f"{amount:,} {unit}"
