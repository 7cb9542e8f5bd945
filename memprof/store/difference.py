"""One array as another one, changed at few positions."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

_COUNT = struct.Struct("<I")
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
# Compared piece by piece, so that the comparison stays in the processor's cache.
_PIECE = 65536
# A position costs 4 bytes and a value its own size: beyond this share the array itself is smaller.
_MOST = 0.125


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an array differs from another, and what it holds there.

    Attributes:
        positions: ascending, int64, counted in memory order.
        values: of the array's type, one per position.
    """

    positions: np.ndarray
    values: np.ndarray

    def apply(self, array: np.ndarray) -> None:
        """Write the values into a writable, contiguous array like the one compared."""
        _flat(array)[self.positions] = self.values

    def undo(self, array: np.ndarray, reference: np.ndarray) -> None:
        """Give `array` the values of `reference` back."""
        _flat(array)[self.positions] = _flat(reference)[self.positions]

    def to_bytes(self) -> bytes:
        steps = np.diff(self.positions, prepend=0).astype("<u4")
        return b"".join((_COUNT.pack(len(steps)), steps.tobytes(), self.values.tobytes()))

    @classmethod
    def from_bytes(cls, data: bytes, start: int, dtype: np.dtype) -> tuple[Difference, int]:
        """The difference that begins at `start` of `data`, and where it ends."""
        count = _COUNT.unpack_from(data, start)[0]
        values = start + 4 + 4 * count
        positions = np.frombuffer(data, "<u4", count, start + 4).cumsum(dtype=np.int64)
        end = values + count * dtype.itemsize
        return cls(positions, np.frombuffer(data[values:end], dtype)), end


@dataclass(frozen=True, slots=True)
class ChangedArray:
    """A reference array in C order, changed at few positions, of which columns can be read."""

    reference: np.ndarray
    changed: Difference

    @classmethod
    def of(cls, array: np.ndarray, reference: np.ndarray) -> ChangedArray | np.ndarray:
        """`array` against `reference`; `reference` or `array` itself where one of them will do."""
        if array.dtype != reference.dtype or array.shape != reference.shape:
            return array
        if not (array.flags.c_contiguous and reference.flags.c_contiguous):
            return array
        changed = difference(array, reference)
        if changed is None:
            return array
        if not len(changed.positions):
            return reference
        return cls(reference, Difference(changed.positions.astype(np.uint32), changed.values))

    def column(self, index: tuple[int, ...]) -> np.ndarray:
        """`array[:, *index]`."""
        columns = self.reference[0].size
        number = int(np.ravel_multi_index(index, self.reference.shape[1:]))
        column: np.ndarray = np.moveaxis(self.reference, 0, -1)[index].copy()
        here = self.changed.positions % columns == number
        column[self.changed.positions[here] // columns] = self.changed.values[here]
        return column


def difference(array: np.ndarray, reference: np.ndarray | None) -> Difference | None:
    """How `array` differs from `reference` (None: from zeros), bit by bit; None if in too many
    places.

    Both are contiguous, of one type, shape and memory order, with at most 2**32 elements.
    """
    bits = _BITS.get(array.dtype.itemsize)
    if bits is None or array.size >= 2**32:
        return None
    left = _flat(array).view(bits)
    right = None if reference is None else _flat(reference).view(bits)
    most = int(array.size * _MOST)
    found: list[np.ndarray] = []
    total = 0
    for start in range(0, len(left), _PIECE):
        end = start + _PIECE
        places = np.flatnonzero(left[start:end] != (0 if right is None else right[start:end]))
        if len(places):
            total += len(places)
            if total > most:
                return None
            found.append(places + start)
    positions = np.concatenate(found) if found else np.empty(0, np.int64)
    return Difference(positions, _flat(array)[positions])


def _flat(array: np.ndarray) -> np.ndarray:
    """A one-dimensional view of a contiguous array, in memory order."""
    return array.reshape(-1) if array.flags.c_contiguous else array.T.reshape(-1)
