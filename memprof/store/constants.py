"""Arrays that are known never to change: interned by content, read-only, owned by memprof."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakValueDictionary

import numpy as np

from memprof.store.layout import LARGE_BYTES, described, is_compact, order_of, spread, strided
from memprof.store.segments import Segments, Words, equal, words_of

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


class Constants:
    """Constants of one agent, in which arrays that are two objects stay two.

    Two factors whose priors are equal at first must not become one array: PyMDP copies priors with
    `copy.deepcopy`, which would keep them one, and then writes into one of them.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._used: set[int] = set()

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The constant for `array`; another view of it if another array of the agent has it."""
        known = self._known.get(id(array))
        if known is not None:
            return known[1]
        found = constant(array)
        if id(found) in self._used:
            found = found.view()
        self._used.add(id(found))
        self._known[id(array)] = array, found
        return found


def adopt(array: np.ndarray) -> np.ndarray:
    """Make the constant of its content of a compact, read-only array that nobody can write to,
    such as a mapped file."""
    _, place = _found(array)
    _by_key[place] = array
    _by_identity[id(array)] = array
    return array


def is_constant(array: np.ndarray) -> bool:
    """Whether `array` came from `constant`, so that facts about it may be kept by its identity."""
    return not array.flags.writeable and _by_identity.get(id(array)) is array


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
        known = _segments[id(array)] = _forgetting(array), found
    return known[1]


def all_segments() -> list[Segments]:
    """What is kept about the constants of this process, for the ledger."""
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
    """The constant that `note_equal` was told of; the array itself if there is none."""
    known = _equals.get()
    return known.get(id(array), (array, array))[1] if known else array


def surely_equal(array: np.ndarray, other: np.ndarray) -> bool:
    """Whether it takes no look at them to say that both have the same bits and layout: they share
    their memory, or it was noted."""
    array, other = _whole(array), _whole(other)
    return array is other or noted_equal(array) is other


def same_bits(array: np.ndarray, other: np.ndarray) -> bool:
    """Whether both have one type, shape and memory order, and the same bits; `other` is better the
    constant, if one of them is."""
    if (array.dtype, array.shape) != (other.dtype, other.shape):
        return False
    if surely_equal(array, other):
        return True
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


def _forgetting(array: np.ndarray) -> weakref.ref[np.ndarray]:
    """A weak reference that drops the entry before the array's id can be used again."""
    known, number = _segments, id(array)
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
    """Whether two compact arrays agree in everything; `content` is the second one's."""
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
