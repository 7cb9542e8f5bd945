"""Putting a value together from its layout and its data; see `memprof.storage.layout`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from operator import mul
from typing import Any

import numpy as np

from memprof.storage.compression import content_size, decompressed
from memprof.storage.constants import Difference
from memprof.storage.flatten import Encoding, Handed, is_objects
from memprof.storage.layout import (
    LARGE_BYTES,
    Layout,
    arranged,
    copied,
    cost,
    dtype_of,
    has_containers,
    is_nan,
    order_of,
    plain,
    reach,
    size_of,
    stored_shape,
    strided,
    zeros,
)

_COUNT = struct.Struct("<I")


class Borrower:
    """Where decoding takes large arrays from that differ from another in few entries."""

    def patched(self, reference: np.ndarray, changed: Difference) -> np.ndarray:
        """A new array like `reference`, changed."""
        array = reference.copy(order="K")
        changed.apply(array)
        return array


@dataclass(slots=True, eq=False)
class Allowance:
    """What decoding may make of data that others may have written.

    Few bytes can stand for many: a frame of zeros, an array of them, a list of `None`. Where a file
    is read, what comes of it is bounded by what is there.

    Attributes:
        size: bytes of arrays and frames.
        elements: of containers, each as often as it costs; see `layout.cost`.
        past: the same, of entries of histories that are at rest, which are much smaller there.
    """

    size: float = float("inf")
    elements: float = float("inf")
    past: float = float("inf")

    def spend(self, size: int) -> int:
        """Take `size` bytes of the allowance and return the size.

        Raises:
            ValueError: so many are not left.
        """
        self.size -= size
        if self.size < 0:
            raise ValueError("its arrays are larger than its data allows")
        return size

    def count(self, elements: int, past: int = 0) -> None:
        """Take so many elements of the allowance, and so many of histories.

        Raises:
            ValueError: so many are not left.
        """
        if not self.allows(elements, past):
            raise ValueError("it has more elements than its data allows")
        self.elements -= elements + max(0, past - self.past)
        self.past = max(0, self.past - past)

    def allows(self, elements: int, past: int) -> bool:
        """Whether the allowance covers so many elements, and so many entries of histories."""
        return elements + max(0, past - self.past) <= self.elements

    def frame(self, frame: bytes) -> bytes:
        """A frame whose content fits the allowance."""
        if self.size != float("inf"):
            self.spend(content_size(frame))
        return frame


UNLIMITED = Allowance()


@dataclass(slots=True)
class Reader:
    """Reads values from data; `handed` collects the arrays whose encoding stays known.

    Data that was not written by this process may be anything. It is read to the end of itself, and
    an `allowance` bounds what is made of it; what does not make sense raises whatever it leads to
    (ValueError, TypeError, KeyError, IndexError, struct.error, ZstdError, RecursionError), and
    nothing else happens.

    Attributes:
        pymdps_own: what is read is PyMDP's, which never writes into an array: its arrays may be
            the reference's own.
    """

    data: bytes
    outside: tuple[np.ndarray, ...] = ()
    borrower: Borrower = field(default_factory=Borrower)
    handed: Handed = field(default_factory=Handed)
    allowance: Allowance = UNLIMITED
    pymdps_own: bool = False
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
        if self.place > len(self.data):
            raise ValueError(f"{size} bytes at {start}, where there are {len(self.data)} in all")
        return self.data[start : self.place]

    def runs(self, layouts: Layout, references: Any, into: list[Any]) -> list[Any]:
        counts = struct.unpack_from(f"<{len(layouts)}I", self.data, self.place)
        self.place += 4 * len(layouts)
        if self.allowance is not UNLIMITED:
            self.allowance.count(sum(map(mul, counts, map(cost, layouts))))
        total = sum(counts)
        if type(references) is not list or len(references) != total:
            references = None
        for layout, count in zip(layouts, counts, strict=True):
            read = READERS[layout[0]]
            for _ in range(count):
                reference = references[len(into)] if references else None
                into.append(read(self, layout, reference))
        return into


def _as(packed: struct.Struct, value: Callable[..., Any] | None = None) -> Any:
    """The function that reads values of a kind, which are numbers of a fixed size."""

    def read(self: Reader, layout: Layout, reference: Any) -> Any:
        numbers = packed.unpack_from(self.data, self.place)
        self.place += packed.size
        return numbers[0] if value is None else value(*numbers)

    return read


def _text(self: Reader) -> str:
    return self.take(self.count()).decode("utf-8", "surrogatepass")


def _read_list(self: Reader, layout: Layout, reference: Any) -> list[Any]:
    value: list[Any] = []
    self.seen.append(value)
    return self.runs(layout[1:], reference, value)


def _read_tuple(self: Reader, layout: Layout, reference: Any) -> tuple[Any, ...]:
    known = list(reference) if type(reference) is tuple else None
    value = tuple(self.runs(layout[1:], known, []))
    if has_containers(layout):
        self.seen.append(value)
    return value


def _read_dict(self: Reader, layout: Layout, reference: Any) -> dict[Any, Any]:
    value: dict[Any, Any] = {}
    self.seen.append(value)
    known = reference if type(reference) is dict else {}
    for key_layout, value_layout in layout[1:]:
        key = key_layout if layout[0] == "d" else _key(self.unflatten(key_layout))
        value[key] = self.unflatten(value_layout, known.get(key))
    return value


def _key(key: Any) -> Any:
    if is_nan(key):
        raise ValueError("a dict with the key NaN")
    return key


def _read_objects(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    shape = tuple(layout[1])
    self.allowance.spend(8 * prod(shape))
    value = np.empty(shape, dtype=object)
    self.seen.append(value)
    known = reference.ravel().tolist() if is_objects(reference) else None
    elements = self.runs(layout[2:], known, [])
    if len(elements) != value.size:
        raise ValueError(f"{len(elements)} elements of an array of shape {shape}")
    flat = value if value.ndim == 1 else value.reshape(-1)
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


def _read_strided(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    _, description, shape, strides = layout
    dtype, shape, strides = dtype_of(description), tuple(shape), tuple(strides)
    self.allowance.spend(size_of(description, shape))  # axes that repeat take no data
    _, size = reach(shape, strides, dtype)
    memory = np.frombuffer(self.take(size), np.uint8).copy()
    array = _aligned(strided(memory, dtype, shape, strides))
    self.seen.append(array)
    return array


def _aligned(array: np.ndarray) -> np.ndarray:
    if not array.flags.aligned:
        raise ValueError("an array that is not aligned")
    return array


def _read_view(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    _, inner, description, shape, strides, start = layout
    number = len(self.seen)
    self.seen.append(None)
    base = self.unflatten(inner)
    dtype, shape = dtype_of(description), tuple(shape)
    if type(base) is not np.ndarray or not plain(base.dtype):
        raise ValueError("a view of what is no array")
    self.allowance.spend(size_of(description, shape))
    order = order_of(base)
    memory = base if order == "C" else base.transpose(*order)
    before, size = reach(shape, tuple(strides), dtype)
    if not 0 <= start - before <= memory.nbytes - size and 0 not in shape:
        raise ValueError("a view of what is not in its array")  # NumPy's own check may overflow
    array = _aligned(np.ndarray(shape, dtype, memory, start, tuple(strides)))
    self.seen[number] = array
    return array


def _read_frozen(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    array: np.ndarray = self.unflatten(layout[1], reference)
    array.flags.writeable = False
    return array


def _read_packed(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    _, description, shape, order = layout
    start = self.place
    data = decompressed(self.allowance.frame(self.take(self.count())))
    stored = np.ndarray(stored_shape(tuple(shape), order), dtype_of(description), data)
    array = arranged(stored, order)
    self.handed.note(Encoding(array, layout, self.data[start : self.place]))
    self.seen.append(array)
    return array


def _read_same(self: Reader, layout: Layout, reference: Any) -> Any:
    if type(reference) is not np.ndarray:
        raise ValueError("nothing to be the same as")
    if not self.pymdps_own and reference.nbytes < LARGE_BYTES:
        self.allowance.spend(reference.nbytes)
        reference = copied(reference)
    self.seen.append(reference)
    return reference


def _read_changed(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    known = reference
    if layout[0] == "z":
        _, description, shape, order = layout
        self.allowance.spend(size_of(description, tuple(shape)))
        known, reference = None, zeros(description, tuple(shape), order)
    elif type(reference) is not np.ndarray or not plain(reference.dtype):
        raise ValueError("nothing to be different from")
    else:
        self.allowance.spend(reference.nbytes)
    start = self.place
    changed, self.place = Difference.from_bytes(self.data, start, reference.dtype)
    if reference.nbytes < LARGE_BYTES:
        array = Borrower.patched(self.borrower, reference, changed)
    else:
        array = self.borrower.patched(reference, changed)
        self.handed.note(Encoding(array, layout, self.data[start : self.place], known))
    self.seen.append(array)
    return array


def _read_outside(self: Reader, layout: Layout, reference: Any) -> np.ndarray:
    array = self.outside[layout[1]]
    self.handed.note(Encoding(array, layout, b""))
    self.seen.append(array)
    return array


def _read_again(self: Reader, layout: Layout, reference: Any) -> Any:
    value = self.seen[self.count()]
    if value is None:
        raise ValueError("what holds itself, and cannot")
    return value


READERS: dict[str, Callable[[Reader, Layout, Any], Any]] = {
    "n": lambda self, layout, reference: None,
    "b": lambda self, layout, reference: self.take(1) != b"\0",
    "i": _as(struct.Struct("<q")),
    "I": lambda self, layout, reference: int(layout[1], 16),
    "f": _as(struct.Struct("<d")),
    "c": _as(struct.Struct("<dd"), complex),
    "s": lambda self, layout, reference: _text(self),
    "y": lambda self, layout, reference: self.take(self.count()),
    "l": _read_list,
    "t": _read_tuple,
    "o": _read_objects,
    "d": _read_dict,
    "k": _read_dict,
    "g": _read_scalar,
    "S": lambda self, layout, reference: np.str_(_text(self)),
    "Y": lambda self, layout, reference: np.bytes_(self.take(self.count())),
    "a": _read_array,
    "v": _read_strided,
    "w": _read_view,
    "F": _read_frozen,
    "r": _read_again,
    "=": _read_same,
    "x": _read_changed,
    "z": _read_changed,
    "p": _read_packed,
    "e": _read_outside,
}
