"""Allocation stacks against modules whose allocations are known to the byte."""

from __future__ import annotations

import gc
import importlib.util
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from memprof.instruments.source_lines import UNKNOWN_FUNCTION, function_at
from memprof.instruments.traced import (
    MOST_STACKS,
    OTHERS,
    OUTSIDE,
    TOO_DEEP,
    NamedCalls,
)
from memprof.instruments.traced import stacks_between as found_between
from memprof.values.instruments import AllocationStack, Frame

SIZE = 100_000
EMPTY = bytearray().__sizeof__()
MAKER = f"""\
class Maker:
    held = []

    def make(self):
        self.held.append(bytearray({SIZE}))
        self.held.append(bytes({SIZE}))

    def twice(self):
        return [self.make() for _ in range(2)]


def build():
    Maker().twice()
"""


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], ModuleType]:
    def make(source: str) -> ModuleType:
        path = tmp_path / "maker.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("maker", path)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return make


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    yield
    tracemalloc.stop()


def between(work: Callable[[], Any], folder: Path, frames: int = 25) -> list[AllocationStack]:
    """What `work` leaves behind the second time; the total is that of the difference."""
    tracemalloc.start(frames)
    work()
    snapshots = []
    for _ in range(2):
        gc.collect()
        taken = tracemalloc.take_snapshot()
        mine = [tracemalloc.Filter(False, file) for file in (tracemalloc.__file__, __file__)]
        snapshots.append(taken.filter_traces(mine))
        if len(snapshots) == 1:
            work()
    tracemalloc.stop()
    found = found_between(*snapshots, 1, str(folder))
    first, second = (sum(trace.size for trace in each.traces) for each in snapshots)
    assert sum(stack.bytes_per_agent for stack in found) == second - first
    assert sum(stack.blocks_per_agent for stack in found) == len(snapshots[1].traces) - len(
        snapshots[0].traces
    )
    return list(found)


def test_what_is_held_stands_below_its_operation_and_the_functions_that_led_to_it(module, tmp_path):
    maker, probe = module(MAKER), NamedCalls()
    found = between(lambda: probe.call("build", maker.build), tmp_path)
    arrays, constants = found[:2]
    lead = (Frame("maker.py", 13, "build"), Frame("maker.py", 9, "Maker.twice"))
    assert arrays.operation == constants.operation == "build"
    assert constants.frames == (*lead, Frame("maker.py", 6, "Maker.make"))
    assert arrays.frames == (*lead, Frame("maker.py", 5, "Maker.make"))
    assert arrays.bytes_per_agent == pytest.approx(2 * SIZE, abs=2 * EMPTY + 100)
    assert arrays.bytes_per_agent >= constants.bytes_per_agent > 2 * SIZE
    assert constants.blocks_per_agent == 2


def test_each_operation_has_its_own(module, tmp_path):
    maker, probe = module(MAKER), NamedCalls()

    def live() -> None:
        probe.call("build", maker.build)
        for operation in ("infer_states", "wake", "infer_states"):
            assert probe.call(operation, lambda text: text * 2, operation) == operation * 2
            probe.call(operation, maker.build)

    sizes = dict.fromkeys(("build", "infer_states", "wake"), 0.0)
    for stack in between(live, tmp_path):
        if stack.operation in sizes:
            sizes[stack.operation] += stack.bytes_per_agent
    assert sizes["infer_states"] == pytest.approx(8 * SIZE, rel=0.01)
    assert sizes["build"] == pytest.approx(4 * SIZE, rel=0.01)
    assert sizes["wake"] == pytest.approx(4 * SIZE, rel=0.01)


def test_what_happens_in_no_operation_is_not_given_to_one(module, tmp_path):
    maker = module(MAKER)
    found = between(maker.build, tmp_path, frames=250)
    assert found[0].operation == OUTSIDE
    assert found[0].frames[-1].function == "Maker.make"


def test_a_stack_that_is_cut_off_above_is_said_to_be(module, tmp_path):
    maker, probe = module(MAKER), NamedCalls()
    found = between(lambda: probe.call("build", maker.build), tmp_path, frames=2)
    assert found[0].operation == TOO_DEEP
    assert [frame.function for frame in found[0].frames] == ["Maker.twice", "Maker.make"]


def test_the_smallest_of_many_stacks_are_one_and_the_total_stays(module, tmp_path):
    lines = "\n".join(f"    HELD.append(bytes({10_000 * n}))" for n in range(1, MOST_STACKS + 11))
    maker, probe = module(f"HELD = []\n\ndef build():\n{lines}\n"), NamedCalls()
    found = between(lambda: probe.call("build", maker.build), tmp_path)
    *named, others = found
    assert len(named) == MOST_STACKS
    assert named[0].frames[-1].line == MOST_STACKS + 13, "the largest comes first"
    assert (others.operation, others.frames) == (OTHERS, ())
    smallest = sum(10_000 * n + b"".__sizeof__() for n in range(1, 11))
    # And the list's own growth, and what the test's other threads allocate meanwhile.
    assert smallest <= others.bytes_per_agent < smallest + 9_000


def test_what_was_let_go_of_is_in_the_total(module, tmp_path):
    maker, probe = module(MAKER), NamedCalls()
    tracemalloc.start(25)
    probe.call("build", maker.build)
    first = tracemalloc.take_snapshot()
    maker.Maker.held.clear()
    kept = probe.call("act", bytes, 10 * SIZE)
    gained, *_, others = found_between(first, tracemalloc.take_snapshot(), 1, str(tmp_path))
    assert (gained.operation, gained.bytes_per_agent) == ("act", kept.__sizeof__())
    assert others.operation == OTHERS
    assert others.bytes_per_agent == pytest.approx(-4 * SIZE, rel=0.02)


FUNCTIONS = """\
import functools

def plain(): return []

class Outer:
    made = []

    @functools.cache
    def cached(
        self,
    ):
        '''Text.'''
        async def inner():
            return (lambda: [
                1,
            ])
        return inner
"""


def test_functions_are_found_by_their_lines(tmp_path):
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)
    expected = {
        1: "<module>", 3: "plain", 5: "<module>", 6: "<module>", 8: "<module>", 12: "Outer.cached",
        13: "Outer.cached", 14: "Outer.cached.inner", 15: "Outer.cached.inner",
        17: "Outer.cached", 99: "<module>",
    }  # fmt: skip
    assert {line: function_at(str(path), line) for line in expected} == expected


@pytest.mark.parametrize("source", [None, "", "def broken(:\n", "x = '\0'\n"])
def test_a_source_that_is_not_there_or_broken_names_no_function(tmp_path, source):
    path = tmp_path / f"{abs(hash(source))}.py"
    if source is not None:
        path.write_text(source)
    assert function_at(str(path), 1) == UNKNOWN_FUNCTION
    assert function_at("<frozen importlib._bootstrap>", 1) == UNKNOWN_FUNCTION
