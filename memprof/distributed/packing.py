"""What travels between processes in one message, of many agents: arrays where it is numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Joined = np.ndarray | list[Any]
"""Values of several agents: whole numbers and arrays of one form as one array, a row each."""
Rows = tuple[Joined, ...] | list[Any]
"""The same of sequences of values: joined column by column, where all have as many."""


def joined(values: Sequence[Any]) -> Joined:
    """Values as one, where that keeps what they are."""
    kinds = {type(each) for each in values}
    if kinds == {int} and all(-(2**63) <= each < 2**63 for each in values):
        return np.array(values, np.int64)
    if kinds == {np.ndarray} and len({(each.dtype, each.shape) for each in values}) == 1:
        first = values[0]
        if first.ndim and not first.dtype.hasobject:
            return np.stack(values)
    return [*values]


def parted(values: Joined) -> list[Any]:
    """What was joined; arrays are the reader's own, and none keeps the others alive."""
    if isinstance(values, list):
        return values
    return values.tolist() if values.ndim == 1 else [row.copy() for row in values]


def joined_rows(rows: Sequence[Sequence[Any]]) -> Rows:
    """Sequences of values, one for each agent."""
    if len({len(row) for row in rows}) != 1:
        return [*rows]
    return tuple(map(joined, zip(*rows, strict=True)))


def parted_rows(rows: Rows) -> list[list[Any]]:
    """What was joined, as lists."""
    if isinstance(rows, list):
        return rows
    return [[*row] for row in zip(*map(parted, rows), strict=True)]


def in_rows(numbers: Iterable[int]) -> list[range]:
    """Ascending numbers as stretches without gaps."""
    return merged(range(number, number + 1) for number in numbers)


def merged(stretches: Iterable[range]) -> list[range]:
    """Ascending stretches, those that are neighbours as one."""
    found: list[range] = []
    for each in stretches:
        if found and found[-1].stop == each.start:
            found[-1] = range(found[-1].start, each.stop)
        elif each:
            found.append(each)
    return found
