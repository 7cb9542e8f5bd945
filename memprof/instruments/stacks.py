"""Stacks of calls that allocated what is held, by the operation of the agent that led to them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

from memprof.instruments.source_lines import Place, function_at, is_library, short_path
from memprof.measurements import AllocationStack, Frame

T = TypeVar("T")
Stack = tuple[str, tuple[Place, ...]]
"""An operation and the lines below it, outermost first."""

OUTSIDE = "outside operations"
TOO_DEEP = "below too many calls"
OTHERS = "other stacks"

MOST_STACKS = 40
_MARK = "<operation "
_PACKAGE = Path(__file__).parents[1]
# What of memprof only leads from an operation to PyMDP, to a pass or to a model.
_LEADING = tuple(
    str(_PACKAGE / part)
    for part in ("instruments/", "populations/", "worker/", "models/base.py", "models/factory.py")
)


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
    rest = _total(gained, order[len(kept) :])
    found = [_named(stack, *_each(gained[stack], agents), folder) for stack in kept]
    if any(rest):
        found.append(AllocationStack(OTHERS, (), *_each(rest, agents)))
    return tuple(found)


def _each(total: tuple[int, int], agents: int) -> tuple[float, float]:
    return total[0] / agents, total[1] / agents


def _total(gained: Mapping[Stack, tuple[int, int]], stacks: Sequence[Stack]) -> tuple[int, int]:
    return sum(gained[each][0] for each in stacks), sum(gained[each][1] for each in stacks)


def _below_operation(traceback: tracemalloc.Traceback, most_frames: int) -> Stack:
    """The operation, and the lines from where it leaves what of memprof only leads to others."""
    # Outermost first. A comprehension is a frame of its own on the line of its function.
    places = [place for place, _ in groupby((frame.filename, frame.lineno) for frame in traceback)]
    marks = [number for number, (path, _) in enumerate(places) if path.startswith(_MARK)]
    if marks:
        operation = places[marks[0]][0][len(_MARK) : -1]
        below = [place for place in places[marks[0] :] if not place[0].startswith(_MARK)]
        return operation, _without_lead(below, lambda path: path.startswith(_LEADING))
    if len(traceback) >= most_frames:
        return TOO_DEEP, tuple(places)
    lead = _without_lead(places, lambda path: path.startswith(_LEADING) or is_library(path))
    return OUTSIDE, lead


def _without_lead(places: Sequence[Place], leads: Callable[[str], bool]) -> tuple[Place, ...]:
    """`places` from the first that does not lead to others; the last one where all do."""
    start = next((n for n, (path, _) in enumerate(places) if not leads(path)), len(places) - 1)
    return tuple(places[max(0, start) :])


def _named(stack: Stack, size: float, blocks: float, folder: str) -> AllocationStack:
    operation, places = stack
    frames = [
        Frame(short_path(path, folder), line, function_at(path, line)) for path, line in places
    ]
    return AllocationStack(operation, tuple(frames), size, blocks)
