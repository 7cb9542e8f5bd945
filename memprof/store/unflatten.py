"""Putting a value together from its layout and its data; see `memprof.store.layout`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memprof.store.compression import decompressed
from memprof.store.difference import Difference
from memprof.store.flatten import Handed, is_objects
from memprof.store.layout import LARGE_BYTES, Layout, arranged, dtype_of, stored_shape, zeros

_COUNT = struct.Struct("<I")
_INT = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")


class Borrower:
    """Where decoding takes large arrays from that differ from another in few entries."""

    def patched(self, reference: np.ndarray, changed: Difference) -> np.ndarray:
        """A new array like `reference`, changed."""
        array = reference.copy(order="K")
        changed.apply(array)
        return array


@dataclass(slots=True)
class Reader:
    """Reads values from data; `handed` collects the arrays whose encoding stays known."""

    data: bytes
    outside: tuple[np.ndarray, ...] = ()
    borrower: Borrower = field(default_factory=Borrower)
    handed: Handed = field(default_factory=Handed)
    place: int = 0
    seen: list[Any] = field(default_factory=list)

    def unflatten(self, layout: Layout, reference: Any = None) -> Any:
        """The value of a layout, from the data at the present place."""
        return READERS[layout[0]](self, layout, reference)

    def count(self) -> int:
        value: int = _COUNT.unpack_from(self.data, self.place)[0]
        self.place += 4
        return value

    def take(self, size: int) -> bytes:
        start, self.place = self.place, self.place + size
        return self.data[start : self.place]

    def runs(self, layouts: Layout, references: Any, into: list[Any]) -> list[Any]:
        counts = struct.unpack_from(f"<{len(layouts)}I", self.data, self.place)
        self.place += 4 * len(layouts)
        if type(references) is not list or len(references) != sum(counts):
            references = None
        for layout, count in zip(layouts, counts, strict=True):
            read = READERS[layout[0]]
            for _ in range(count):
                reference = references[len(into)] if references else None
                into.append(read(self, layout, reference))
        return into


def _read_int(self: Reader, layout: Layout, reference: Any) -> int:
    value: int = _INT.unpack_from(self.data, self.place)[0]
    self.place += 8
    return value


def _read_float(self: Reader, layout: Layout, reference: Any) -> float:
    value: float = _FLOAT.unpack_from(self.data, self.place)[0]
    self.place += 8
    return value


def _read_complex(self: Reader, layout: Layout, reference: Any) -> complex:
    return complex(*_COMPLEX.unpack(self.take(16)))


def _read_str(self: Reader, layout: Layout, reference: Any) -> str:
    return self.take(self.count()).decode("utf-8", "surrogatepass")


def _read_list(self: Reader, layout: Layout, reference: Any) -> list[Any]:
    value: list[Any] = []
    self.seen.append(value)
    return self.runs(layout[1:], reference, value)


def _read_tuple(self: Reader, layout: Layout, reference: Any) -> tuple[Any, ...]:
    known = list(reference) if type(reference) is tuple else None
    return tuple(self.runs(layout[1:], known, []))


def _read_dict(self: Reader, layout: Layout, reference: Any) -> dict[Any, Any]:
    value: dict[Any, Any] = {}
    self.seen.append(value)
    known = reference if type(reference) is dict else {}
    for key_layout, value_layout in layout[1:]:
        key = key_layout if layout[0] == "d" else self.unflatten(key_layout)
        value[key] = self.unflatten(value_layout, known.get(key))
    return value


def _read_objects(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    value = np.empty(tuple(layout[1]), dtype=object)
    self.seen.append(value)
    known = reference.ravel().tolist() if is_objects(reference) else None
    elements = self.runs(layout[2:], known, [])
    if value.ndim == 1:
        for position, element in enumerate(elements):
            value[position] = element
    else:
        flat = value.reshape(-1)
        for position, element in enumerate(elements):
            flat[position] = element
    return value


def _read_scalar(self: Reader, layout: Layout, reference: Any) -> np.generic:
    dtype = dtype_of(layout[1])
    scalar: np.generic = np.frombuffer(self.take(dtype.itemsize), dtype)[0]
    return scalar


def _read_array(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    _, description, shape, order = layout
    dtype = dtype_of(description)
    stored = np.ndarray(stored_shape(tuple(shape), order), dtype, self.data, self.place).copy()
    self.place += stored.nbytes
    array = arranged(stored, order)
    self.seen.append(array)
    return array


def _read_packed(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    _, description, shape, order = layout
    start = self.place
    data = decompressed(self.take(self.count()))
    stored = np.ndarray(stored_shape(tuple(shape), order), dtype_of(description), data)
    array = arranged(stored, order)
    self.handed[id(array)] = (array, layout, self.data[start : self.place])
    self.seen.append(array)
    return array


def _read_same(self: Reader, layout: Layout, reference: Any) -> Any:
    self.seen.append(reference)
    return reference


def _read_changed(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    if layout[0] == "z":
        _, description, shape, order = layout
        reference = zeros(description, tuple(shape), order)
    start = self.place
    changed, self.place = Difference.from_bytes(self.data, start, reference.dtype)
    if reference.nbytes < LARGE_BYTES:
        array = Borrower.patched(self.borrower, reference, changed)
    else:
        array = self.borrower.patched(reference, changed)
        self.handed[id(array)] = (array, layout, self.data[start : self.place])
    self.seen.append(array)
    return array


def _read_outside(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    array = self.outside[layout[1]]
    self.handed[id(array)] = (array, layout, b"")
    self.seen.append(array)
    return array


READERS: dict[str, Callable[[Reader, Layout, Any], Any]] = {
    "n": lambda self, layout, reference: None,
    "b": lambda self, layout, reference: layout[1],
    "i": _read_int,
    "I": lambda self, layout, reference: int(layout[1], 16),
    "f": _read_float,
    "c": _read_complex,
    "s": _read_str,
    "y": lambda self, layout, reference: self.take(self.count()),
    "l": _read_list,
    "t": _read_tuple,
    "o": _read_objects,
    "d": _read_dict,
    "k": _read_dict,
    "g": _read_scalar,
    "a": _read_array,
    "r": lambda self, layout, reference: self.seen[self.count()],
    "=": _read_same,
    "x": _read_changed,
    "z": _read_changed,
    "p": _read_packed,
    "e": _read_outside,
}
