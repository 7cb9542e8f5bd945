"""Layouts: what a value looks like, apart from the bytes of its numbers.

`flatten` splits a value into a layout, a nested tuple that the agents of a population have in
common and that is kept once, and its data; `unflatten` puts them together again with the same
types, bits, shapes and memory order. Nothing that is decoded is ever executed. The first entry of a
layout is its kind:

    n, b, i, I, f, c, s, y      None, bool, int, large int, float, complex, str, bytes
    l, t, o                     list, tuple, object array: runs of equal layouts, counts in the data
    d, k                        dict with keys that are strings, other dict
    g, a                        NumPy scalar, NumPy array
    h                           a History, with its limit if it has one
    r                           the n-th container before this one, once more
    =, x, z                     an array against its reference: the same, another at few positions,
                                or zero but for few positions
    p, e                        a large array compressed, or kept as it is, outside of the data
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

Layout = tuple[Any, ...]

# Arrays of so many bytes are compared with their reference; smaller ones are as cheap to keep.
COMPARED_BYTES = 4096
# Arrays of so many bytes are lent when decoded, and kept as they are when nothing smaller is exact.
LARGE_BYTES = 65536


def order_of(array: np.ndarray) -> str | tuple[int, ...]:
    """Memory order: "C", or the axes from the one with the largest stride to the smallest."""
    if array.flags.c_contiguous:
        return "C"
    return tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))


@cache
def dtype_of(description: str) -> np.dtype:
    """The type that `dtype.str` describes."""
    return np.dtype(description)


def plain(dtype: np.dtype) -> bool:
    """Whether `dtype.str` says all there is to say: no fields, no objects, nothing nested."""
    return dtype.fields is None and dtype.subdtype is None and not dtype.hasobject


@lru_cache(maxsize=64)
def zeros(description: str, shape: tuple[int, ...], order: str | tuple[int, ...]) -> np.ndarray:
    """The array of zeros in a given memory order; untouched, it takes no memory."""
    return arranged(np.zeros(stored_shape(shape, order), dtype_of(description)), order)


def arranged(stored: np.ndarray, order: str | tuple[int, ...]) -> np.ndarray:
    """The array whose axes lie in memory as `order` says, from one in C order."""
    return stored if order == "C" else stored.transpose(np.argsort([int(axis) for axis in order]))


def stored_shape(shape: tuple[int, ...], order: str | tuple[int, ...]) -> tuple[int, ...]:
    """Lengths of the axes from the one with the largest stride to the smallest."""
    return shape if order == "C" else tuple(shape[int(axis)] for axis in order)


def from_json(value: Any) -> Any:
    """A layout that went through JSON, with tuples in place of lists."""
    return tuple(from_json(item) for item in value) if isinstance(value, list) else value
