"""Arrays that are known never to change: interned by content, read-only, owned by memprof."""

from __future__ import annotations

import hashlib
from weakref import WeakValueDictionary

import numpy as np

_by_content: WeakValueDictionary[bytes, np.ndarray] = WeakValueDictionary()
_by_identity: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()


def constant(array: np.ndarray) -> np.ndarray:
    """The one read-only array with the content of `array`, for as long as anybody holds it.

    Arrays are equal when dtype, shape, strides and all bytes are (BLAKE2b, 128 bits), so a constant
    computes bit-identical results. It is a copy: whoever holds `array` may go on writing to it.
    """
    if is_constant(array):
        return array
    layout = f"{array.dtype.str}{array.shape}{array.strides}".encode()
    content = hashlib.blake2b(layout, digest_size=16)
    content.update(np.ascontiguousarray(array).view(np.uint8).data)
    key = content.digest()
    found = _by_content.get(key)
    if found is None:
        found = array.copy(order="K")
        found.flags.writeable = False
        _by_content[key] = found
        _by_identity[id(found)] = found
    return found


def adopt(array: np.ndarray) -> np.ndarray:
    """Make a constant of a read-only array that nobody can write to, such as a mapped file."""
    _by_identity[id(array)] = array
    return array


def is_constant(array: np.ndarray) -> bool:
    """Whether `array` came from `constant`, so that facts about it may be kept by its identity."""
    return _by_identity.get(id(array)) is array
