"""Rows of agents that step as arrays: a column for each array of which every agent has its own, in
chunks of one size, in memory or in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from memprof.storage.columns import Blocks, Column, File, Shape, row_bytes

Arrays = Mapping[str, np.ndarray]
Fill = Callable[[range], np.ndarray]


class Rows:
    """Rows of columns by name, one row per agent, without gaps.

    Args:
        size: rows of a chunk.
        folder: where each column is a file; None for memory.
    """

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self.size, self._folder = size, folder
        self._columns: dict[str, Column] = {}
        self._count = self._made = 0

    @classmethod
    def of(cls, size: int, columns: Mapping[str, Column], count: int, folder: Path) -> Rows:
        """Those that are in files already."""
        found = cls(size, folder)
        found._columns, found._count, found._made = {**columns}, count, len(columns)
        return found

    def __len__(self) -> int:
        return self._count

    @property
    def columns(self) -> Mapping[str, Column]:
        """By name."""
        return self._columns

    @property
    def row_bytes(self) -> int:
        """What one row takes."""
        return sum(row_bytes(each.shape, each.dtype) for each in self._columns.values())

    @property
    def file_bytes(self) -> int:
        """What all chunks take on disk."""
        return 0 if self._folder is None else self._chunks * self.size * self.row_bytes

    @property
    def _chunks(self) -> int:
        return -(-self._count // self.size)

    def add_column(self, name: str, shape: Shape, dtype: np.dtype, fill: Fill) -> None:
        """One more column; `fill` gives what is in some of its rows, or one row for all of them."""
        self._columns[name] = column = self._new(shape, dtype)
        column.resize(self._chunks)
        for chunk in range(self._chunks):
            rows = self._rows_of(chunk)
            column.block(chunk)[: len(rows)] = fill(rows)

    def _new(self, shape: Shape, dtype: np.dtype) -> Column:
        if self._folder is None:
            return Blocks(shape, dtype, self.size, [])
        while (path := self._folder / f"column-{self._made:04}.npy").exists():
            self._made += 1
        return File(shape, dtype, self.size, path)

    def _rows_of(self, chunk: int) -> range:
        return range(chunk * self.size, min(self._count, (chunk + 1) * self.size))

    def append(self, count: int, arrays: Arrays) -> range:
        """So many more rows, of every column; their numbers."""
        rows = range(self._count, self._count + count)
        self._resize(rows.stop)
        self.put(np.arange(rows.start, rows.stop), arrays)
        return rows

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """These rows of every column, to read: views where they are one whole chunk."""
        whole = rows[:1] + np.arange(self.size)
        if len(rows) == self.size and rows[0] % self.size == 0 and np.array_equal(rows, whole):
            chunk = int(rows[0]) // self.size
            return {name: column.block(chunk) for name, column in self._columns.items()}
        return {name: self._taken(column, rows) for name, column in self._columns.items()}

    def _taken(self, column: Column, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *column.shape), column.dtype)
        for chunk, places, inside in self._places(rows):
            found[places] = column.block(chunk)[inside]
        return found

    def put(self, rows: np.ndarray, arrays: Arrays) -> None:
        """Write these rows of some columns."""
        for name, array in arrays.items():
            for chunk, places, inside in self._places(rows):
                self._columns[name].block(chunk)[inside] = array[places]

    def _places(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """By chunk, where its rows are among these, and where in the chunk."""
        chunks = rows // self.size
        for chunk in np.unique(chunks):
            (places,) = np.nonzero(chunks == chunk)
            yield int(chunk), places, rows[places] % self.size

    def drop(self, row: int) -> int:
        """Take a row away; the last one takes its place, and was the one with the number that is
        given back."""
        last = self._count - 1
        if row != last:
            self.put(np.array([row]), self.take(np.array([last])))
        self._resize(last)
        return last

    def _resize(self, count: int) -> None:
        before, self._count = self._chunks, count
        if before != self._chunks:
            for column in self._columns.values():
                column.resize(self._chunks)

    def resized(self, size: int) -> Rows:
        """The same rows in chunks of another size; these are empty afterwards."""
        found = Rows(size, self._folder)
        found._count = self._count
        for name in [*self._columns]:  # one by one, so that only one is there twice
            self._copy(name, found)
            column = self._columns.pop(name)
            if isinstance(column, File):
                column.path.unlink()
        self._count = 0
        return found

    def in_memory(self, rows: np.ndarray | None = None) -> Rows:
        """A copy of these rows, or of all, in memory, in this order."""
        found = Rows(self.size)
        found._count = self._count if rows is None else len(rows)
        for name in self._columns:
            self._copy(name, found, rows)
        return found

    def _copy(self, name: str, to: Rows, which: np.ndarray | None = None) -> None:
        column = self._columns[name]

        def fill(rows: range) -> np.ndarray:
            places = np.arange(rows.start, rows.stop)
            return self._taken(column, places if which is None else which[places])

        to.add_column(name, column.shape, column.dtype, fill)

    def clear(self) -> None:
        """Hold nothing any more; files stay."""
        self._columns, self._count = {}, 0

    def column(self, name: str) -> Iterator[np.ndarray]:
        """A column's rows, chunk by chunk, to read."""
        for chunk in range(self._chunks):
            yield self._columns[name].block(chunk)[: len(self._rows_of(chunk))]

    def held(self, name: str) -> list[np.ndarray]:
        """What a column has in memory."""
        column = self._columns[name]
        return column.arrays if isinstance(column, Blocks) else []
