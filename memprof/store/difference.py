"""One array as another one, changed at few positions."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from memprof.store.constants import note_equal, same_bits, segments_of, surely_equal
from memprof.store.layout import LARGE_BYTES
from memprof.store.segments import changes

_COUNT = struct.Struct("<I")
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
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
        if end > len(data):
            raise ValueError(f"{count} changes, where there are {len(data) - values} bytes of them")
        return cls(positions, np.frombuffer(data[values:end], dtype)), end


@dataclass(frozen=True, slots=True, eq=False)
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
        if array.nbytes < LARGE_BYTES and same_bits(array, reference):
            return reference  # two calls of NumPy's, where `difference` takes a dozen
        changed = difference(array, reference)
        if changed is None:
            return array
        if not len(changed.positions):
            return reference
        return cls(reference, Difference(changed.positions.astype(np.uint32), changed.values))

    def __eq__(self, other: object) -> bool:
        """Whether both are the same changes of one reference."""
        return (
            isinstance(other, ChangedArray)
            and self.reference is other.reference
            and np.array_equal(self.changed.positions, other.changed.positions)
            and self.changed.values.tobytes() == other.changed.values.tobytes()
        )

    __hash__ = None  # type: ignore[assignment]  # equality by content

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
    if reference is not None and surely_equal(array, reference):
        return Difference(np.empty(0, np.int64), np.empty(0, array.dtype))
    left, most = _flat(array).view(bits), array.size * _MOST
    segments = None if reference is None else segments_of(reference)
    positions = None if segments is None else segments.changes(left)
    if positions is None:
        right = None if reference is None else _flat(reference).view(bits)
        positions = changes(left, right, most)
    if positions is None or len(positions) > most:
        return None
    if reference is not None and not len(positions):
        note_equal(array, reference)
    return Difference(positions, _flat(array)[positions])


def _flat(array: np.ndarray) -> np.ndarray:
    """A one-dimensional view of a contiguous array, in memory order."""
    return array.reshape(-1) if array.flags.c_contiguous else array.T.reshape(-1)
