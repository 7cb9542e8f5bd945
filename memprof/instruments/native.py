"""Instrument `native`: allocations of native libraries that stay, by memray."""

from __future__ import annotations

import importlib.util
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from memprof.instruments import process
from memprof.instruments.traced import Place, is_library

_Kept = dict[Place, tuple[int, int]]


def is_installed() -> bool:
    """Whether memray, which comes with `memprof[native]`, can be used here."""
    return importlib.util.find_spec("memray") is not None


def kept_per_cycle(cycle: Callable[[], None], cycles: int) -> dict[Place, tuple[float, float]]:
    """Bytes and allocations that stay after each cycle, by the innermost line that is the user's,
    PyMDP's or a model's.

    Watches twice, first half as many cycles and then all: what is only replaced stays as often
    either way. Python's small objects are not seen.
    """
    few = max(1, cycles // 2)
    first = _kept(cycle, few)
    second = _kept(cycle, max(cycles, few + 1))
    more = max(cycles, few + 1) - few
    found = {}
    for place, (size, count) in second.items():
        size_before, count_before = first.get(place, (0, 0))
        if size > size_before and count > count_before:
            found[place] = ((size - size_before) / more, (count - count_before) / more)
    return found


def _kept(cycle: Callable[[], None], cycles: int) -> _Kept:
    """Bytes and allocations that are there after so many cycles, and were not before."""
    import memray

    sizes: Counter[Place] = Counter()
    counts: Counter[Place] = Counter()
    mapped = (memray.AllocatorType.MMAP, memray.AllocatorType.MUNMAP)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "allocations"
        with memray.Tracker(file, native_traces=False):
            for _ in range(cycles):
                cycle()
            process.settle()
        with memray.FileReader(file) as reader:
            for record in reader.get_leaked_allocation_records(merge_threads=True):
                place = _place(record.stack_trace())
                # Python's small-object allocator maps its arenas; what is in them is not native.
                if place is not None and record.allocator not in mapped:
                    sizes[place] += record.size
                    counts[place] += record.n_allocations
    return {place: (size, counts[place]) for place, size in sizes.items()}


def _place(stack: list[tuple[str, str, int]]) -> Place | None:
    """The innermost line of a stack that is no library's; None without Python code below it."""
    places = [(path, line) for _, path, line in stack]
    return next((place for place in places if not is_library(place[0])), next(iter(places), None))
