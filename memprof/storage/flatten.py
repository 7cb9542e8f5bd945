"""Splitting a value into its layout and its data; see `memprof.storage.layout`."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from operator import mul
from typing import Any

import numpy as np

from memprof.errors import MemprofError
from memprof.storage.compression import compressed
from memprof.storage.constants import difference, is_constant
from memprof.storage.layout import (
    COMPARED_BYTES,
    LARGE_BYTES,
    Layout,
    cost,
    described,
    has_containers,
    is_compact,
    is_nan,
    order_of,
    plain,
    spread,
)

_COUNT = struct.Struct("<I")
_INT = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")
_UNLIMITED = float("inf")

Mark = tuple[int, int, int, int, int, float]


class NotStorable(MemprofError):
    """A value of a type that has no exact encoding: it has to be kept whole."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an array was encoded; `reference` is what it was encoded against, if that matters."""

    array: np.ndarray
    layout: Layout
    data: bytes
    reference: np.ndarray | None = None


class Handed(dict[int, Encoding]):
    """Arrays that decoding handed out, by identity, with the encoding that they had: read-only
    ones, which are as they were, and ones that are kept outside of the data, whatever they hold."""

    def note(self, encoding: Encoding) -> None:
        """Remember the encoding of an array."""
        self[id(encoding.array)] = encoding

    def known(self, array: np.ndarray, reference: Any) -> Encoding | None:
        """The encoding of an array, where the same reference will be there to decode it."""
        found = self.get(id(array))
        if found is None or found.array is not array:
            return None
        return found if found.reference is None or found.reference is reference else None

    anew = False
    """Whether they are encoded anew, against another template."""

    def forget_unused(self) -> None:
        """Forget the arrays that the agent no longer holds."""
        for key in list(self):
            # The encoding's reference, and getrefcount's own argument.
            if sys.getrefcount(self[key].array) == 2:
                del self[key]

    def outside(self) -> Iterator[np.ndarray]:
        """The arrays that are in the record as they are in the agent."""
        return (each.array for each in self.values() if each.layout[0] == "e")


class Anew(Handed):
    """Arrays that memprof holds as well; that they had another encoding is of no use."""

    anew = True

    def known(self, array: np.ndarray, reference: Any) -> Encoding | None:
        return None


@dataclass(slots=True)
class Flattener:
    """Collects the data of values; `outside` are the arrays that are kept as they are.

    Attributes:
        handed: arrays whose encoding is known.
        thorough: compare small arrays with their references too, not only by identity.
        keeps_outside: large arrays may stay outside of the data.
        lasts: the data outlives this process, and what it takes to understand it.
        maps: all arrays that are worth comparing stay outside, to be memory-mapped.
        apart: all arrays of numbers stay outside, to be copied as they are.
        free: bytes that arrays may take beyond those of their data, where a file is written: who
            reads it has the same allowance.
        elements: of containers, until now, each as often as it costs; counted where `free` is.
        past: the same, of entries of histories that are at rest.
        bases: arrays that others of the agent are views of, by identity.
        pymdps_own: what is flattened is PyMDP's, which never writes into an array: whether one may
            be written into is nothing to keep.
    """

    handed: Handed = field(default_factory=Handed)
    thorough: bool = False
    keeps_outside: bool = False
    lasts: bool = False
    maps: bool = False
    apart: bool = False
    free: float = _UNLIMITED
    elements: int = 0
    past: int = 0
    bases: Container[int] = ()
    pymdps_own: bool = False
    parts: list[bytes] = field(default_factory=list)
    outside: list[np.ndarray] = field(default_factory=list)
    _seen: dict[int, int] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)

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
            return ("g", described(value.dtype))
        raise NotStorable(f"{type(value).__module__}.{type(value).__qualname__}")

    def data(self) -> bytes:
        return b"".join(self.parts)

    def spend(self, size: int) -> bool:
        """Whether the allowance covers decompressing to `size` bytes; if so, it is spent."""
        if size > self.free:
            return False
        self.free -= size
        return True

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

    def mark(self) -> Mark:
        """The present place, for `size_since` and `back_to`."""
        parts, outside, seen = len(self.parts), len(self.outside), len(self._seen)
        return parts, outside, seen, self.elements, self.past, self.free

    def size_since(self, mark: Mark) -> int:
        """Bytes added since `mark`, including arrays kept outside the data."""
        parts, outside, *_ = mark
        return sum(map(len, self.parts[parts:])) + sum(a.nbytes for a in self.outside[outside:])

    def back_to(self, mark: Mark) -> None:
        """Forget what was added since `mark`."""
        parts, outside, seen, self.elements, self.past, self.free = mark
        del self.parts[parts:], self.outside[outside:]
        self._open.clear()
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
        if self.free != _UNLIMITED:
            self.elements += sum(map(mul, counts, map(cost, layouts)))
        return (*kind, *layouts)


def _as(kind: str, encoded: Callable[[Any], bytes]) -> Callable[[Flattener, Any, Any], Layout]:
    """The function that writes values of a type; their kind says how to read the bytes."""
    layout = (kind,)

    def write(self: Flattener, value: Any, reference: Any) -> Layout:
        self.parts.append(encoded(value))
        return layout

    return write


def _counted(value: bytes) -> bytes:
    return b"".join((_COUNT.pack(len(value)), value))  # NumPy's own sum would lose NULs at the end


def _text(value: str) -> bytes:
    return _counted(value.encode("utf-8", "surrogatepass"))


def _write_int(self: Flattener, value: int, reference: Any) -> Layout:
    if -(2**63) <= value < 2**63:
        self.parts.append(_INT.pack(value))
        return ("i",)
    return ("I", hex(value))


def _write_list(self: Flattener, value: list[Any], reference: Any) -> Layout:
    if self.again(value):
        return ("r",)
    return self.runs(("l",), value, reference)


def _write_tuple(self: Flattener, value: tuple[Any, ...], reference: Any) -> Layout:
    number = self._seen.get(id(value))
    if number is not None:
        self.parts.append(_COUNT.pack(number))
        return ("r",)
    if id(value) in self._open:
        raise NotStorable("tuple that holds itself")
    self._open.add(id(value))
    known = list(reference) if type(reference) is tuple else None
    layout = self.runs(("t",), list(value), known)
    self._open.remove(id(value))
    if has_containers(layout):  # others are values: nobody can tell one from its copy
        self._seen[id(value)] = len(self._seen)
    return layout


def _write_dict(self: Flattener, value: dict[Any, Any], reference: Any) -> Layout:
    if self.again(value):
        return ("r",)
    known = reference if type(reference) is dict else {}
    if all(type(key) is str for key in value):
        return ("d", *((k, self.flatten(v, known.get(k))) for k, v in value.items()))
    if any(map(is_nan, value)):
        raise NotStorable("dict with the key NaN")
    return ("k", *((self.flatten(k), self.flatten(v, known.get(k))) for k, v in value.items()))


def _write_array(self: Flattener, value: np.ndarray, reference: Any) -> Layout:
    if self.again(value):
        return ("r",)
    if value is reference:
        return ("=",)
    if value.dtype.char == "O":
        return _write_objects(self, value, reference)
    if not plain(value.dtype) or not value.flags.aligned:
        raise NotStorable(f"NumPy array of {value.dtype}, or unaligned")
    known = self.handed.known(value, reference)
    if known is not None:
        if known.layout[0] == "e":
            return self.put_outside(value)
        self.parts.append(known.data)
        return known.layout
    if self.bases and value.base is not None and id(value.base) in self.bases:
        layout = _write_view(self, value)
    else:
        layout = _write_numbers(self, value, reference)
    if value.flags.writeable or self.pymdps_own or is_constant(value):
        return layout
    return ("F", layout)


def _write_objects(self: Flattener, value: np.ndarray, reference: Any) -> Layout:
    if not is_compact(value) or order_of(value) != "C" or not self.spend(8 * value.size):
        raise NotStorable("object array with gaps, or not in C order, or too large")
    known = reference.ravel().tolist() if is_objects(reference) else None
    layout = self.runs(("o", value.shape), value.ravel().tolist(), known)
    return layout if value.flags.writeable or self.pymdps_own else ("F", layout)


def _write_view(self: Flattener, value: np.ndarray) -> Layout:
    """A view of an array that is the agent's as well, in itself or in other views of it."""
    base = value.base
    if base is None or not self.spend(value.nbytes):
        raise NotStorable("view that is too large")
    start = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    inner = _write_array(self, base, None)
    return ("w", inner, described(value.dtype), value.shape, value.strides, start)


def _write_numbers(self: Flattener, value: np.ndarray, reference: Any) -> Layout:
    if self.apart:
        return self.put_outside(value)
    if not is_compact(value):
        if value.nbytes >= LARGE_BYTES and self.keeps_outside:
            return self.put_outside(value)
        if not self.spend(value.nbytes):
            raise NotStorable("array with gaps that is too large")
        self.parts.append(spread(value).tobytes())
        return ("v", described(value.dtype), value.shape, value.strides)
    if self.maps and value.nbytes >= COMPARED_BYTES:
        return self.put_outside(value)
    if self.thorough or value.nbytes >= COMPARED_BYTES:
        found = _against(self, value, reference)
        if found is not None:
            return found
    if value.nbytes >= LARGE_BYTES:
        return _write_large(self, value)
    self.parts.append(_bytes(value))
    return ("a", described(value.dtype), value.shape, order_of(value))


def _write_large(self: Flattener, value: np.ndarray) -> Layout:
    """The data, compressed if a sample of it shrinks to half its size."""
    form = (described(value.dtype), value.shape, order_of(value))
    sample = value.reshape(-1)[:: max(1, value.nbytes // LARGE_BYTES)]
    if len(compressed(sample.tobytes())) * 2 < sample.nbytes and self.spend(value.nbytes):
        packed = compressed(_bytes(value))
        self.parts += (_COUNT.pack(len(packed)), packed)
        return ("p", *form)
    if self.keeps_outside:
        return self.put_outside(value)
    self.parts.append(_bytes(value))
    return ("a", *form)


def _bytes(array: np.ndarray) -> bytes:
    order = order_of(array)
    return array.tobytes() if order == "C" else array.transpose(*order).tobytes()


def _against(self: Flattener, value: np.ndarray, reference: Any) -> Layout | None:
    """The array as differences from the reference, or from zeros; None if they are too many."""
    if not (value.flags.c_contiguous or value.flags.f_contiguous):
        return None
    if (
        type(reference) is np.ndarray
        and described(reference.dtype) == described(value.dtype)
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
        if changed is not None and self.spend(value.nbytes):
            self.parts.append(changed.to_bytes())
            return ("z", described(value.dtype), value.shape, order_of(value))
    return None


def is_objects(value: Any) -> bool:
    """Whether a value is an object array."""
    return type(value) is np.ndarray and value.dtype.char == "O"


WRITERS: dict[type, Callable[[Flattener, Any, Any], Layout]] = {
    type(None): lambda self, value, reference: ("n",),
    bool: _as("b", lambda value: b"\1" if value else b"\0"),
    int: _write_int,
    float: _as("f", _FLOAT.pack),
    complex: _as("c", lambda value: _COMPLEX.pack(value.real, value.imag)),
    str: _as("s", _text),
    bytes: _as("y", _counted),
    np.str_: _as("S", _text),  # an array of it would lose NULs at its end, and so does str()
    np.bytes_: _as("Y", _counted),
    list: _write_list,
    tuple: _write_tuple,
    dict: _write_dict,
    np.ndarray: _write_array,
}
