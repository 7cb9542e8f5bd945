"""Rows of whole numbers, in memory that was reserved beforehand.

Whatever a worker notes while it measures has its place from the start: a list that grew along would
be measured as part of the agents.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

_UNKNOWN = -1


class Rows:
    """Up to `most` rows of `width` numbers, 0 or more; None for what is not known."""

    def __init__(self, most: int, width: int) -> None:
        self._values = array("q", [0]) * (most * width)
        self._width = width
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: Sequence[int | None]) -> None:
        """Keep one more row."""
        start = self._count * self._width
        self._values[start : start + self._width] = array(
            "q", [_UNKNOWN if value is None else value for value in row]
        )
        self._count += 1

    def __iter__(self) -> Iterator[list[Any]]:
        """All rows, in the order in which they came."""
        for start in range(0, self._count * self._width, self._width):
            values = self._values[start : start + self._width]
            yield [None if value == _UNKNOWN else value for value in values]
