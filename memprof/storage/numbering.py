"""Numbers of agents that come and go, and the rows in which they are."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from memprof.errors import UsageError

_GONE = -1


class Numbering:
    """From the index of an agent, which is never reused, to its row, which may change."""

    def __init__(self) -> None:
        self._rows, self._indices = array("q"), array("q")

    @property
    def given(self) -> int:
        """How many indices were ever given."""
        return len(self._rows)

    def add(self, rows: range) -> range:
        """Agents come, in new rows; their indices."""
        first = len(self._rows)
        indices = range(first, first + len(rows))
        self._rows.extend(rows)
        self._indices.extend(indices)
        return indices

    def remove(self, index: int, last: int) -> None:
        """An agent has gone, and that of the last row has taken its place."""
        row, moved = self._rows[index], self._indices[last]
        self._indices[row], self._rows[moved] = moved, row
        self._indices.pop()
        self._rows[index] = _GONE

    def row(self, index: int) -> int:
        """The row of an agent.

        Raises:
            IndexError: there is none with this index, or no longer.
        """
        if not 0 <= index < len(self._rows):
            raise IndexError(
                f"agent {index}: there are {len(self._rows)}, numbered from 0"
                if self._rows
                else f"agent {index}: the population is empty"
            )
        if (row := self._rows[index]) == _GONE:
            raise IndexError(f"agent {index} was removed")
        return row

    def indices(self) -> np.ndarray:
        """Of all agents that are here, in order."""
        return np.flatnonzero(np.array(self._rows, dtype=np.int64) != _GONE)

    def rows(self, indices: Sequence[int] | None) -> np.ndarray:
        """The rows of these agents, or of all, in the order of their indices.

        Raises:
            IndexError: as for `row`.
        """
        if indices is not None:
            return np.array([self.row(int(index)) for index in indices], dtype=np.int64)
        rows = np.array(self._rows, dtype=np.int64)
        here: np.ndarray = rows[rows != _GONE]
        return here

    def in_rows(self) -> list[int]:
        """The indices of agents, in the order of their rows."""
        return list(self._indices)

    def copied(self) -> Numbering:
        """The same once more."""
        return Numbering.of(self.given, self._indices)

    @classmethod
    def of(cls, given: int, indices: Sequence[int]) -> Numbering:
        """That of agents in rows with these indices, of so many that were ever given."""
        found = cls()
        found._rows = array("q", [_GONE]) * given
        for row, index in enumerate(indices):
            found._rows[index] = row
        found._indices = array("q", indices)
        return found


def agents_due(indices: Iterable[Any]) -> list[int]:
    """The indices of agents whose turn it is.

    Raises:
        UsageError: somebody is named twice, or not by an index, as in a mask.
    """
    due = []
    for given in indices:
        try:
            index = None if isinstance(given, bool) else operator.index(given)
        except TypeError:
            index = None
        if index is None:
            raise UsageError(f"indices: expected those of agents, found {given!r}")
        due.append(index)
    if len({*due}) != len(due):
        raise UsageError("indices: an agent has one turn, and one of these is there twice")
    return due
