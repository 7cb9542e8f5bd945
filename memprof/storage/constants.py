"""Arrays that are known never to change: interned by content, read-only, owned by memprof.

One array as another one, changed at few positions.
"""

from __future__ import annotations

import hashlib
import struct
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from memprof.storage.layout import LARGE_BYTES, described, is_compact, order_of, spread, strided
from memprof.storage.segments import Segments, Words, changes, equal, words_of

# Constants by the key of their content: the first few with one key under this key and the numbers
# after it, others under their digests. A constant is where it is found only if all bits agree, so
# keys that meet by chance cost a comparison and nothing else.
_by_key: WeakValueDictionary[int | bytes, np.ndarray] = WeakValueDictionary()
_by_identity: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()
# Constants with gaps: views of the constant that their memory is, by what they look like.
_with_gaps: WeakValueDictionary[tuple[object, ...], np.ndarray] = WeakValueDictionary()
_crowded: set[int] = set()
_segments: dict[int, tuple[weakref.ref[np.ndarray], Segments | None]] = {}
_equals: ContextVar[dict[int, tuple[np.ndarray, np.ndarray]] | None] = ContextVar(
    "equals", default=None
)

_SAMPLED_WORDS, _SAMPLED_BYTES = 64, 1024
# Constants with one key that are compared one by one before a digest of all bytes decides.
_MOST_ALIKE = 4


def constant(array: np.ndarray) -> np.ndarray:
    """The one read-only array with the content of `array`, for as long as anybody holds it.

    Arrays are equal when type, shape, strides and all bits are, so a constant computes
    bit-identical results. It is a copy: whoever holds `array` may go on writing to it.
    """
    if is_constant(array):
        return array
    if not is_compact(array):
        return _constant_with_gaps(array)
    noted = noted_equal(array)
    if noted is not array:
        return noted
    found, place = _found(array)
    if found is None:
        found = _immutable(array)
        _by_key[place] = found
        _by_identity[id(found)] = found
    note_equal(array, found)
    return found


def _immutable(array: np.ndarray) -> np.ndarray:
    """A copy of a compact array that nobody can make writable: its memory is Python's bytes."""
    if not array.size:
        copy = array.copy(order="K")
        copy.flags.writeable = False
        return copy
    order = order_of(array)
    stored = array if isinstance(order, str) else array.transpose(*order)
    return np.ndarray(array.shape, array.dtype, stored.tobytes(), 0, array.strides)


def _constant_with_gaps(array: np.ndarray) -> np.ndarray:
    memory = constant(spread(array))
    key = (id(memory), described(array.dtype), array.shape, array.strides)
    found = _with_gaps.get(key)
    if found is None:
        found = strided(memory, array.dtype, array.shape, array.strides)
        _with_gaps[key] = _by_identity[id(found)] = found
    return found


def adopt(array: np.ndarray) -> np.ndarray:
    """Make the constant of its content of a compact, read-only array that nobody can write to,
    such as a mapped file."""
    _, place = _found(array)
    _by_key[place] = array
    _by_identity[id(array)] = array
    return array


def known(array: np.ndarray) -> np.ndarray | None:
    """The constant with the content of a compact array, if somebody holds one."""
    return _found(array)[0]


def is_constant(array: np.ndarray) -> bool:
    """Whether `array` came from `constant`, so that facts about it may be kept by its identity."""
    return not array.flags.writeable and _by_identity.get(id(array)) is array


def of_constant(array: np.ndarray) -> bool:
    """Whether it is a constant, or shows the memory of one, so that nobody can write into it."""
    base = array.base
    return is_constant(array) or (type(base) is np.ndarray and is_constant(base))


def segments_of(array: np.ndarray) -> Segments | None:
    """The segments of a constant or of a view of all of it, found once; None for other arrays, and
    for constants that are small or not mostly zeros."""
    if array.nbytes < LARGE_BYTES:
        return None
    array = _whole(array)
    known = _segments.get(id(array))
    if known is None:
        if not is_constant(array):
            return None
        words = words_of(array)
        found = None if words is None else Segments.of(words)
        known = _segments[id(array)] = forgetting(array, _segments), found
    return known[1]


def all_constants() -> list[np.ndarray]:
    """All constants of this process that somebody holds."""
    return [*_by_identity.values()]


def all_segments() -> list[Segments]:
    """All segments kept for the constants of this process, for the ledger."""
    return [found for _, found in list(_segments.values()) if found is not None]


@contextmanager
def compared_once() -> Iterator[None]:
    """A block in which nobody writes into the arrays that are compared: what one was found to equal
    is known by its identity from then on, so that none is read twice."""
    token = _equals.set({})
    try:
        yield
    finally:
        _equals.reset(token)


def note_equal(array: np.ndarray, other: np.ndarray) -> None:
    """Note, inside `compared_once`, that `array` has the bits and the layout of `other`; of use if
    that is a constant."""
    known = _equals.get()
    other = _whole(other)
    if known is not None and array.nbytes >= LARGE_BYTES and is_constant(other):
        known[id(array)] = array, other  # alive, so that its identity stays its own


def noted_equal(array: np.ndarray) -> np.ndarray:
    """The constant that `note_equal` recorded for the array; else the array itself."""
    known = _equals.get()
    return known.get(id(array), (array, array))[1] if known else array


def surely_equal(array: np.ndarray, other: np.ndarray) -> bool:
    """Whether both are known, without reading them, to have the same bits and layout: they share
    their memory, or it was noted."""
    array, other = _whole(array), _whole(other)
    return array is other or noted_equal(array) is other


def same_bits(array: np.ndarray, other: np.ndarray) -> bool:
    """Whether both have one type, shape and memory order, and the same bits, as do arrays in them,
    which are all that an object array may hold; `other` is better the constant, if one of them
    is."""
    if (array.dtype, array.shape) != (other.dtype, other.shape):
        return False
    if surely_equal(array, other):
        return True
    if array.dtype.char == "O":
        pairs = zip(array.ravel().tolist(), other.ravel().tolist(), strict=True)
        return all(type(a) is type(b) is np.ndarray and same_bits(a, b) for a, b in pairs)
    if array.nbytes < LARGE_BYTES or not (is_compact(array) and is_compact(other)):
        return array.strides == other.strides and array.tobytes() == other.tobytes()
    return _is_content(other, array, _compact(array))


def _whole(array: np.ndarray) -> np.ndarray:
    """The constant that this is a view of, if it is a view of all of it; else the array."""
    base = array.base
    if type(base) is not np.ndarray or not is_constant(base):
        return array
    alike = (array.dtype, array.shape, array.strides) == (base.dtype, base.shape, base.strides)
    return base if alike else array


def forgetting(array: np.ndarray, known: dict[int, Any]) -> weakref.ref[np.ndarray]:
    """A weak reference that drops the array's entry in `known` before its id can be reused."""
    number = id(array)
    return weakref.ref(array, lambda _: known.pop(number, None))


def _found(array: np.ndarray) -> tuple[np.ndarray | None, int | bytes]:
    """The constant with the content of a compact array, and the place that it has or may have."""
    content: bytes | Words
    if array.nbytes < LARGE_BYTES:
        content = array.tobytes("A")
        sample = content[:: max(1, len(content) // _SAMPLED_BYTES | 1)]
    else:
        content = _compact(array)
        sample = content[:: max(1, len(content) // _SAMPLED_WORDS)].tobytes()
    key = hash((array.dtype, array.shape, array.flags.c_contiguous, sample))
    free: int | None = None
    for place in range(key, key + _MOST_ALIKE):
        candidate = _by_key.get(place)
        if candidate is None:
            free = place if free is None else free
        elif _is_content(candidate, array, content):
            return candidate, place
    if free is None:
        _crowded.add(key)
    elif key not in _crowded:
        return None, free
    digest = _digest(array, content)
    candidate = _by_key.get(digest)
    if candidate is not None and _is_content(candidate, array, content):
        return candidate, digest
    return None, digest


def _is_content(candidate: np.ndarray, array: np.ndarray, content: bytes | Words) -> bool:
    """Whether two compact arrays are the same to the bit; `content` is the second one's."""
    if described(candidate.dtype) != described(array.dtype) or candidate.shape != array.shape:
        return False
    if candidate.strides != array.strides and array.size:
        return False
    if isinstance(content, bytes):
        return candidate.tobytes("A") == content
    segments = segments_of(candidate)
    return equal(content, _compact(candidate)) if segments is None else segments.equal(content)


def _digest(array: np.ndarray, content: bytes | Words) -> bytes:
    """BLAKE2b, 128 bits."""
    layout = f"{described(array.dtype)}{array.shape}{order_of(array)}".encode()
    digest = hashlib.blake2b(layout, digest_size=16)
    segments = None if isinstance(content, bytes) else Segments.of(content)
    if segments is not None:  # they say all there is to say, in few bytes
        digest.update(segments.starts.data)
        digest.update(segments.values.data)
    else:
        digest.update(content if isinstance(content, bytes) else content.data)
    return digest.digest()


def _compact(array: np.ndarray) -> Words:
    words = words_of(array)
    assert words is not None, "an array without gaps"
    return words


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
