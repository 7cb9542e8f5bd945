"""Layouts: what a value looks like, apart from the bytes of its numbers.

`flatten` splits a value into a layout, a nested tuple that the agents of a population have in
common and that is kept once, and its data; `unflatten` puts them together again with the same
types, bits, shapes and strides. Nothing that is decoded is ever executed. The first entry of a
layout is its kind:

    n, i, I, f, c, s, y         None, int, large int, float, complex, str, bytes
    b                           bool
    l, t, o                     list, tuple, object array: runs of equal layouts, counts in the data
    d, k                        dict with keys that are strings, other dict
    g, S, Y                     NumPy scalar, np.str_, np.bytes_
    a                           NumPy array without gaps
    v                           NumPy array with gaps, or axes that run backwards or repeat
    w                           a view: of which array, from which byte on, with which strides
    F                           an array that is read-only
    h                           a History: the layout of its tail, its limit if it has one, what an
                                entry of the tail costs, and its last entries
    r                           the n-th container before this one, once more
    =, x, z                     an array against its reference: the same, another at few positions,
                                or zero but for few positions
    p, e                        a large array compressed, or kept as it is, outside of the data
    ~                           an attribute that is derived from others; with its digest in files
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

Layout = tuple[Any, ...]
Order = str | tuple[int, ...]

# Arrays of so many bytes are compared with their reference; smaller ones are as cheap to keep.
COMPARED_BYTES = 4096
# Arrays of so many bytes are lent when decoded, and kept as they are when nothing smaller is exact.
LARGE_BYTES = 65536

_NUMBERS = {  # of C's types that share a width, one goes by NumPy's name for it, others by C's
    char: np.dtype(char).str if np.dtype(np.dtype(char).str).char == char else f"={char}"
    for char in "?bBhHiIlLqQefdgFDG"
}
ATOMS = frozenset((type(None), bool, int, float, complex, str, bytes))
_TEXTS = (np.str_, np.bytes_)  # an empty one has a type without size
_VALUES = frozenset("nbiIfcsygSY")
_PLAIN_KINDS = frozenset("biufcmMSU")
_DESCRIPTION = re.compile(r"[<>|=]?[A-Za-z?]\d{0,10}(\[\w{1,10}\])?", re.ASCII)
_MOST_AXES = 64  # NumPy's own limit

# What it takes to decode one value and to encode it again, counted in small numbers.
_ATOM_COSTS = {
    **dict.fromkeys("nbif", 1),
    **dict.fromkeys("csyrgSY", 4),
    **dict.fromkeys("av=xzpe~", 16),
}
_OUTER_COSTS = {"d": 8, "k": 8, "F": 4, "w": 16, "h": 16}


def order_of(array: np.ndarray) -> Order:
    """Memory order: "C", or the axes from the one with the largest stride to the smallest."""
    if array.flags.c_contiguous:
        return "C"
    return tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))


def is_compact(array: np.ndarray) -> bool:
    """Whether shape and memory order say what the strides are: no gaps, nothing backwards.

    NumPy chooses its routines by strides, and with them the last bits of sums.
    """
    if array.size == 0:
        return True
    if array.ndim == 1:
        return bool(array.strides[0] == array.itemsize)
    order = order_of(array)
    axes = [*range(array.ndim)] if isinstance(order, str) else [*order]
    expected = array.itemsize
    for axis in reversed(axes):
        if array.strides[axis] != expected:
            return False
        expected *= array.shape[axis]
    return True


def reach(
    shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[int, int]:
    """Bytes before the first element of an array, and in all, from its lowest to its highest."""
    steps = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
    before = -sum(step for step in steps if step < 0)
    return before, before + sum(step for step in steps if step > 0) + dtype.itemsize


def strided(
    memory: np.ndarray, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray:
    """The array with these strides in all of the bytes of `memory`."""
    before, _ = reach(shape, strides, dtype)
    return np.ndarray(shape, dtype, memory, before, strides)


def spread(array: np.ndarray) -> np.ndarray:
    """The bytes that an array reaches over, with zeros in its gaps; uint8, shape (bytes,)."""
    _, size = reach(array.shape, array.strides, array.dtype)
    memory = np.zeros(size, np.uint8)
    strided(memory, array.dtype, array.shape, array.strides)[...] = array
    return memory


def copied(array: np.ndarray) -> np.ndarray:
    """A copy that may be written into, with the same strides."""
    if is_compact(array):
        return array.copy(order="K")
    return strided(spread(array), array.dtype, array.shape, array.strides)


def described(dtype: np.dtype[Any]) -> str:
    """The type in words that `dtype_of` reads: `dtype.str`, but for the C types that share one."""
    if dtype.isnative and dtype.char in _NUMBERS:
        return _NUMBERS[dtype.char]
    found = dtype.str
    return found if np.dtype(found).char == dtype.char else dtype.byteorder + dtype.char


@lru_cache(maxsize=1024)
def dtype_of(description: str) -> np.dtype[Any]:
    """The type that `described` has put into words.

    Raises:
        ValueError: it is none that has an encoding; made of bytes it would be no value.
    """
    known = _DESCRIPTION.fullmatch(description)
    dtype = np.dtype(description if known else object)
    if not plain(dtype):
        raise ValueError(f"arrays of {description} have no encoding")
    return dtype


def plain(dtype: np.dtype[Any]) -> bool:
    """Whether a few letters say all there is to say: no fields, no objects, nothing nested."""
    return dtype.kind in _PLAIN_KINDS and dtype.itemsize > 0 and dtype.metadata is None


def is_value(value: Any) -> bool:
    """Whether nothing can tell a value from its copy: numbers, words, and tuples of them."""
    kind = type(value)
    if kind is tuple:
        return all(map(is_value, value))
    if kind in ATOMS or kind in _TEXTS:
        return True
    return isinstance(value, np.generic) and plain(value.dtype)


def is_nan(key: Any) -> bool:
    """Whether a dict finds a key by its identity alone."""
    return bool(key != key)  # noqa: PLR0124


@lru_cache(maxsize=64)
def zeros(description: str, shape: tuple[int, ...], order: Order) -> np.ndarray:
    """The array of zeros in a given memory order; untouched, it takes no memory.

    Raises:
        ValueError: there is no such order.
    """
    if order != "C" and sorted(order) != [*range(len(shape))]:
        raise ValueError(f"axes in the order {order}")
    return arranged(np.zeros(stored_shape(shape, order), dtype_of(description)), order)


def size_of(description: str, shape: tuple[int, ...]) -> int:
    """Bytes of an array."""
    if len(shape) > _MOST_AXES:
        raise ValueError(f"{len(shape)} axes")
    return prod(shape) * dtype_of(description).itemsize


def arranged(stored: np.ndarray, order: Order) -> np.ndarray:
    """The array whose axes lie in memory as `order` says, from one in C order."""
    return stored if order == "C" else stored.transpose(np.argsort([int(axis) for axis in order]))


def stored_shape(shape: tuple[int, ...], order: Order) -> tuple[int, ...]:
    """Lengths of the axes from the one with the largest stride to the smallest."""
    return shape if order == "C" else tuple(shape[int(axis)] for axis in order)


@lru_cache(maxsize=4096)
def has_containers(layout: Layout) -> bool:
    """Whether a tuple of this layout holds anything that can change."""
    return any(
        has_containers(inner) if inner[0] == "t" else inner[0] not in _VALUES
        for inner in layout[1:]
    )


def cost(layout: Layout) -> int:
    """What it takes to decode one value of a layout, counted in small numbers; without the elements
    of lists, tuples and object arrays, and a history's entries that are bytes."""
    kind = layout[0]
    known = _ATOM_COSTS.get(kind)
    if known is not None:
        return known
    if kind in "lto":
        return (16 if kind == "o" else 4) + len(layout)
    if kind == "I":
        return 4 + len(layout[1]) // 4
    if kind == "d":
        inner = [value for _, value in layout[1:]]
    elif kind == "k":
        inner = [each for pair in layout[1:] for each in pair]
    else:
        inner = [*(layout[5:] if kind == "h" else layout[1:2])]
    return _OUTER_COSTS[kind] + sum(map(cost, inner))


def from_json(value: Any) -> Any:
    """A layout that went through JSON, with tuples in place of lists."""
    if type(value) is not list:
        return value
    return tuple([from_json(item) if type(item) is list else item for item in value])
