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
    key = _content(array)
    found = _by_content.get(key)
    if found is None:
        found = array.copy(order="K")
        found.flags.writeable = False
        _by_content[key] = found
        _by_identity[id(found)] = found
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
    """Make the constant of its content of a read-only array that nobody can write to, such as a
    mapped file."""
    _by_content[_content(array)] = array
    _by_identity[id(array)] = array
    return array


def is_constant(array: np.ndarray) -> bool:
    """Whether `array` came from `constant`, so that facts about it may be kept by its identity."""
    return _by_identity.get(id(array)) is array


def _content(array: np.ndarray) -> bytes:
    layout = f"{array.dtype.str}{array.shape}{array.strides}".encode()
    content = hashlib.blake2b(layout, digest_size=16)
    content.update(np.ascontiguousarray(array).view(np.uint8).data)
    return content.digest()
