"""Splitting a value into its layout and its data; see `memprof.store.layout`."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memprof.errors import MemprofError
from memprof.store.compression import compressed
from memprof.store.difference import difference
from memprof.store.layout import COMPARED_BYTES, LARGE_BYTES, Layout, order_of, plain

_COUNT = struct.Struct("<I")
_INT = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")


class NotStorable(MemprofError):
    """A value of a type that has no exact encoding: it has to be kept whole."""


class Handed(dict[int, tuple[np.ndarray, Layout, bytes]]):
    """Arrays that decoding handed out, by identity, with the encoding that they had: read-only
    ones, which are as they were, and ones that are kept outside of the data, whatever they hold."""

    def forget_unused(self) -> None:
        """Let go of the arrays that the agent has let go of."""
        for key in list(self):
            # The entry, and getrefcount's own argument.
            if sys.getrefcount(self[key][0]) == 2:
                del self[key]

    def outside(self) -> Iterator[np.ndarray]:
        """The arrays that are in the record as they are in the agent."""
        return (array for array, layout, _ in self.values() if layout[0] == "e")


@dataclass(slots=True)
class Flattener:
    """Collects the data of values; `outside` are the arrays that are kept as they are.

    Attributes:
        handed: arrays whose encoding is known.
        thorough: compare small arrays with their references too, not only by identity.
        keeps_outside: large arrays may stay outside of the data.
        maps: all arrays that are worth comparing stay outside, to be memory-mapped.
    """

    handed: Handed = field(default_factory=Handed)
    thorough: bool = False
    keeps_outside: bool = False
    maps: bool = False
    parts: list[bytes] = field(default_factory=list)
    outside: list[np.ndarray] = field(default_factory=list)
    _seen: dict[int, int] = field(default_factory=dict)

    def flatten(self, value: Any, reference: Any = None) -> Layout:
        """The layout of `value`; its data is appended to `parts`.

        Raises:
            NotStorable: a type without exact encoding.
        """
        write = WRITERS.get(type(value))
        if write is not None:
            return write(self, value, reference)
        if isinstance(value, np.generic) and plain(value.dtype):
            self.parts.append(value.tobytes())
            return ("g", value.dtype.str)
        raise NotStorable(f"{type(value).__module__}.{type(value).__qualname__}")

    def data(self) -> bytes:
        return b"".join(self.parts)

    def put_outside(self, array: np.ndarray) -> Layout:
        """Keep an array as it is."""
        self.outside.append(array)
        return ("e", len(self.outside) - 1)

    def again(self, value: Any) -> bool:
        """Whether this very container was flattened before; then a mark is all that is needed."""
        number = self._seen.get(id(value))
        if number is None:
            self._seen[id(value)] = len(self._seen)
            return False
        self.parts.append(_COUNT.pack(number))
        return True

    def mark(self) -> tuple[int, int, int]:
        """The present place, for `size_since` and `back_to`."""
        return len(self.parts), len(self.outside), len(self._seen)

    def size_since(self, mark: tuple[int, int, int]) -> int:
        """Bytes that were added since `mark`, data and arrays outside of it."""
        parts, outside, _ = mark
        return sum(map(len, self.parts[parts:])) + sum(a.nbytes for a in self.outside[outside:])

    def back_to(self, mark: tuple[int, int, int]) -> None:
        """Forget what was added since `mark`."""
        parts, outside, seen = mark
        del self.parts[parts:], self.outside[outside:]
        for identity in list(self._seen)[seen:]:
            del self._seen[identity]

    def runs(self, kind: tuple[Any, ...], elements: list[Any], references: Any) -> Layout:
        """Elements as runs of equal layouts, so that a growing list keeps its layout."""
        layouts: list[Layout] = []
        counts: list[int] = []
        place = len(self.parts)
        self.parts.append(b"")
        if type(references) is not list or len(references) != len(elements):
            references = [None] * len(elements)
        for element, reference in zip(elements, references, strict=True):
            layout = self.flatten(element, reference)
            if layouts and layouts[-1] == layout:
                counts[-1] += 1
            else:
                layouts.append(layout)
                counts.append(1)
        self.parts[place] = struct.pack(f"<{len(counts)}I", *counts)
        return (*kind, *layouts)


def _write_none(self: Flattener, value: None, reference: Any) -> Layout:
    return ("n",)


def _write_bool(self: Flattener, value: bool, reference: Any) -> Layout:
    return ("b", value)


def _write_int(self: Flattener, value: int, reference: Any) -> Layout:
    if -(2**63) <= value < 2**63:
        self.parts.append(_INT.pack(value))
        return ("i",)
    return ("I", hex(value))


def _write_float(self: Flattener, value: float, reference: Any) -> Layout:
    self.parts.append(_FLOAT.pack(value))
    return ("f",)


def _write_complex(self: Flattener, value: complex, reference: Any) -> Layout:
    self.parts.append(_COMPLEX.pack(value.real, value.imag))
    return ("c",)


def _write_str(self: Flattener, value: str, reference: Any) -> Layout:
    text = value.encode("utf-8", "surrogatepass")
    self.parts += (_COUNT.pack(len(text)), text)
    return ("s",)


def _write_bytes(self: Flattener, value: bytes, reference: Any) -> Layout:
    self.parts += (_COUNT.pack(len(value)), value)
    return ("y",)


def _write_list(self: Flattener, value: list[Any], reference: Any) -> Layout:
    if self.again(value):
        return ("r",)
    return self.runs(("l",), value, reference)


def _write_tuple(self: Flattener, value: tuple[Any, ...], reference: Any) -> Layout:
    known = list(reference) if type(reference) is tuple else None
    return self.runs(("t",), list(value), known)


def _write_dict(self: Flattener, value: dict[Any, Any], reference: Any) -> Layout:
    if self.again(value):
        return ("r",)
    known = reference if type(reference) is dict else {}
    if all(type(key) is str for key in value):
        return ("d", *((k, self.flatten(v, known.get(k))) for k, v in value.items()))
    return ("k", *((self.flatten(k), self.flatten(v, known.get(k))) for k, v in value.items()))


def _write_array(self: Flattener, value: np.ndarray, reference: Any) -> Layout:
    if self.again(value):
        return ("r",)
    if value is reference:
        return ("=",)
    if value.dtype == object:
        known = reference.ravel().tolist() if is_objects(reference) else None
        return self.runs(("o", value.shape), value.ravel().tolist(), known)
    if not plain(value.dtype):
        raise NotStorable(f"NumPy array of {value.dtype}")
    if self.maps and value.nbytes >= COMPARED_BYTES:
        return self.put_outside(value)
    known_encoding = self.handed.get(id(value))
    if known_encoding is not None and known_encoding[0] is value:
        _, layout, data = known_encoding
        if layout[0] == "e":
            return self.put_outside(value)
        self.parts.append(data)
        return layout
    if self.thorough or value.nbytes >= COMPARED_BYTES:
        found = _against(self, value, reference)
        if found is not None:
            return found
    if value.nbytes >= LARGE_BYTES:
        return _write_large(self, value)
    self.parts.append(_bytes(value))
    return ("a", value.dtype.str, value.shape, order_of(value))


def _write_large(self: Flattener, value: np.ndarray) -> Layout:
    """Compressed, where a sample of it becomes half as large; else as it is."""
    sample = value.reshape(-1)[:: max(1, value.nbytes // LARGE_BYTES)]
    if len(compressed(sample.tobytes())) * 2 < sample.nbytes:
        packed = compressed(_bytes(value))
        self.parts += (_COUNT.pack(len(packed)), packed)
        return ("p", value.dtype.str, value.shape, order_of(value))
    if self.keeps_outside:
        return self.put_outside(value)
    self.parts.append(_bytes(value))
    return ("a", value.dtype.str, value.shape, order_of(value))


def _bytes(array: np.ndarray) -> bytes:
    order = order_of(array)
    return array.tobytes() if order == "C" else array.transpose(*order).tobytes()


def _against(self: Flattener, value: np.ndarray, reference: Any) -> Layout | None:
    """The array as its reference, or as zeros, but for a few entries; None if it has too many."""
    if not (value.flags.c_contiguous or value.flags.f_contiguous):
        return None
    if (
        type(reference) is np.ndarray
        and reference.dtype == value.dtype
        and reference.shape == value.shape
        and reference.strides == value.strides
    ):
        changed = difference(value, reference)
        if changed is not None:
            if not len(changed.positions):
                return ("=",)
            self.parts.append(changed.to_bytes())
            return ("x",)
    if value.nbytes >= LARGE_BYTES:
        changed = difference(value, None)
        if changed is not None:
            self.parts.append(changed.to_bytes())
            return ("z", value.dtype.str, value.shape, order_of(value))
    return None


def is_objects(value: Any) -> bool:
    """Whether a value is an object array."""
    return type(value) is np.ndarray and bool(value.dtype == object)


WRITERS: dict[type, Callable[[Flattener, Any, Any], Layout]] = {
    type(None): _write_none,
    bool: _write_bool,
    int: _write_int,
    float: _write_float,
    complex: _write_complex,
    str: _write_str,
    bytes: _write_bytes,
    list: _write_list,
    tuple: _write_tuple,
    dict: _write_dict,
    np.ndarray: _write_array,
}
