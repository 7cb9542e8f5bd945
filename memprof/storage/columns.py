"""One array of which every agent has a row, in chunks of one size: in memory, or in a file of
NumPy's form."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Blocks(NamedTuple):
    """A column in memory: an array per chunk, shape (size, *shape)."""

    shape: Shape
    dtype: np.dtype
    size: int
    arrays: list[np.ndarray]

    def block(self, chunk: int) -> np.ndarray:
        """The array of a chunk, to read and write."""
        return self.arrays[chunk]

    def resize(self, chunks: int) -> None:
        """Have so many chunks, and no more."""
        del self.arrays[chunks:]
        while len(self.arrays) < chunks:
            self.arrays.append(np.empty((self.size, *self.shape), self.dtype))


class File(NamedTuple):
    """A column in a file. A chunk is mapped while it is used, so that none stays in the memory of
    the process."""

    shape: Shape
    dtype: np.dtype
    size: int
    path: Path

    def block(self, chunk: int) -> np.ndarray:
        """The array of a chunk, to read and write."""
        shape = (self.size, *self.shape)
        if 0 in shape:  # nothing to map
            return np.empty(shape, self.dtype)
        start = len(npy_header((0, *self.shape), self.dtype)) + chunk * self._chunk_bytes
        return np.memmap(self.path, self.dtype, "r+", start, shape)

    def resize(self, chunks: int) -> None:
        """Have so many chunks, and no more."""
        header = npy_header((0, *self.shape), self.dtype)
        with self.path.open("ab") as file:
            if not file.tell():
                file.write(header)
            file.truncate(len(header) + chunks * self._chunk_bytes)

    def finish(self, rows: int) -> None:
        """Let the file say how many rows it has."""
        with self.path.open("r+b") as file:
            file.write(npy_header((rows, *self.shape), self.dtype))

    @property
    def _chunk_bytes(self) -> int:
        return self.size * row_bytes(self.shape, self.dtype)


Column = Blocks | File


def row_bytes(shape: Shape, dtype: np.dtype) -> int:
    """What a row of this shape takes."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def npy_header(shape: Shape, dtype: np.dtype) -> bytes:
    """What a .npy file of an array starts with; as long for any number of rows."""
    text = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(f"V{dtype.itemsize}") if _new(dtype) else dtype)
    what = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(text, what)
    return text.getvalue()


def _new(dtype: np.dtype) -> bool:
    """Whether it is of another library, such as bfloat16, for which the form has no name."""
    return dtype.kind == "V" or dtype.isbuiltin != 1


class Digest:
    """Of bytes that come one after the other."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, array: np.ndarray) -> None:
        flat = np.ascontiguousarray(array).reshape(-1)
        self._hash.update(flat.view(np.uint8).data)

    def text(self) -> str:
        return self._hash.hexdigest()
