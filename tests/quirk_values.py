"""Values that an attribute may have, each built anew when it is called."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import math
import os
import struct
import tempfile
import types
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Pair = collections.namedtuple("Pair", "left right")


class Typed(NamedTuple):
    """A named tuple with types."""

    number: int
    items: list[int]


@dataclasses.dataclass
class Record:
    """A mutable dataclass."""

    name: str
    items: list[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """One that cannot be changed."""

    x: float


class Mood(enum.Enum):
    """An enumeration."""

    CALM = 1


class Level(enum.IntEnum):
    """One of integers."""

    LOW = 1


class Integer(int):
    """An integer of a class of one's own."""


class Text(str):
    """A string of a class of one's own."""


class Real(float):
    """A float of a class of one's own."""


class Rows(list):  # type: ignore[type-arg]
    """A list of a class of one's own."""


class Labelled(np.ndarray):
    """An array of a class of one's own."""


def _memmap() -> np.memmap:
    path = Path(tempfile.gettempdir()) / f"memprof-quirk-{os.getpid()}"
    mapped = np.memmap(path, np.float64, "w+", shape=(4,))
    path.unlink()  # the mapping stays
    mapped[:] = 3
    return mapped


def _unaligned() -> np.ndarray:
    raw = np.zeros(33, np.uint8)
    return raw[1:].view(np.float64)


def _read_only(size: int = 3) -> np.ndarray:
    made = np.arange(float(size))
    made.flags.writeable = False
    return made


def _nan(payload: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000000 | payload))[0]
    return value


def _attribute(value: Any, **attributes: Any) -> Any:
    vars(value).update(attributes)
    return value


VALUES = {
    "np.bytes_ with a NUL at its end": lambda: np.bytes_(b"ab\0"),
    "an empty np.bytes_": lambda: np.bytes_(b""),
    "an empty np.str_": lambda: np.str_(""),
    "np.str_ with a NUL at its end": lambda: np.str_("ab\0"),
    "np.void": lambda: np.void(b"a\0b\0"),
    "an empty np.void": lambda: np.void(b""),
    "a structured scalar": lambda: np.zeros(1, "i4,f8")[0],
    "np.datetime64": lambda: np.datetime64("2020-02-02", "D"),
    "np.datetime64 of no time": lambda: np.datetime64("NaT", "25ms"),
    "np.timedelta64": lambda: np.timedelta64(3, "h"),
    "np.float16": lambda: np.float16(0.1),
    "np.longdouble": lambda: np.longdouble(1) / 3,
    "np.clongdouble": lambda: np.clongdouble(1) / 3,
    "np.complex64": lambda: np.complex64(1 - 0j),
    "np.bool": lambda: np.True_,
    "np.float64": lambda: np.float64(-0.0),
    "an array of longdouble": lambda: np.ones(3, np.longdouble) / 3,
    "an array of float16": lambda: np.ones(3, np.float16),
    "an array of complex64": lambda: np.ones(3, np.complex64),
    "a big-endian array": lambda: np.arange(3, dtype=">f8"),
    "a structured array": lambda: np.zeros(2, [("x", "f4"), ("y", "S3", 2)]),
    "a structured array with gaps": lambda: np.zeros(2, np.dtype("i1,f8", align=True)),
    "a structured array of objects": lambda: np.zeros(2, [("x", object), ("y", "f4")]),
    "an array of strings": lambda: np.array(["a", "bcd\0", ""]),
    "an array of bytes": lambda: np.array([b"a", b"bcd"]),
    "an array of voids": lambda: np.array([b"a\0"], "V2"),
    "an array of dates": lambda: np.array(["2020-02-02", "NaT"], "M8[s]"),
    "a recarray": lambda: np.zeros(2, [("x", "f4")]).view(np.recarray),
    "an array with metadata": lambda: np.zeros(2, np.dtype("f8", metadata={"unit": "m"})),
    "a masked array": lambda: np.ma.array([1.0, 2.0], mask=[True, False], fill_value=7),
    "np.matrix": lambda: np.matrix([[1.0, 2.0]]),
    "np.memmap": _memmap,
    "an array of a subclass": lambda: np.ones(3).view(Labelled),
    "an array of a subclass with attributes": lambda: _attribute(
        np.ones(3).view(Labelled), unit="m"
    ),
    "an array without dimensions": lambda: np.array(5.0),
    "an object array without dimensions": lambda: np.array(None, object),
    "an empty array": lambda: np.empty((3, 0, 2)),
    "an empty object array": lambda: np.empty((0, 2), object),
    "an object array of two dimensions": lambda: np.array([[1, None], ["a", 2.5]], object),
    "an object array in Fortran's order": lambda: np.array(
        [[1, None], ["a", 2.5]], object, order="F"
    ),
    "a read-only array": _read_only,
    "a large read-only array": lambda: _read_only(10_000),
    "an array in Fortran's order": lambda: np.ones((2, 3), order="F"),
    "an array of permuted axes": lambda: np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
    "an unaligned array": _unaligned,
    "an array of one element with strides": lambda: np.ones((4, 4))[::3, ::3][:1, :1],
    "a large array with gaps": lambda: np.arange(20_000.0)[::2],
    "an array of bytes of the outside": lambda: np.frombuffer(b"12345678", np.float64),
    "array.array": lambda: array.array("d", [1.0, 2.0]),
    "an integer of a subclass": lambda: Integer(5),
    "one with attributes": lambda: _attribute(Integer(5), unit="m"),
    "a string of a subclass": lambda: Text("a"),
    "a float of a subclass": lambda: Real(0.5),
    "a list of a subclass": lambda: Rows([1, [2]]),
    "a list of a subclass with attributes": lambda: _attribute(Rows([1]), unit="m"),
    "an enumeration": lambda: Mood.CALM,
    "an enumeration of integers": lambda: Level.LOW,
    "huge integers": lambda: [2**63, -(2**63), -(2**63) - 1, 10**400],
    "-0.0": lambda: [-0.0, 0.0, complex(-0.0, -0.0)],
    "NaN with payloads": lambda: [_nan(1), -_nan(2), math.inf, -math.inf],
    "denormal numbers": lambda: [5e-324, -5e-324],
    "strings of surrogates": lambda: ["\ud800", "a\0", "", "\U0010ffff"],
    "bytes": lambda: [b"", b"a\0"],
    "a bytearray": lambda: bytearray(b"a\0"),
    "a memoryview": lambda: memoryview(b"abc"),
    "a range": lambda: range(3, 9, 2),
    "a slice": lambda: slice(1, None),
    "an ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "a frozenset": lambda: frozenset((1, (2, "x"))),
    "a set": lambda: {1, 2.5, "a", None},
    "a deque": lambda: collections.deque([1, [2]], maxlen=5),
    "a defaultdict": lambda: collections.defaultdict(list, {"a": [1]}),
    "an OrderedDict": lambda: collections.OrderedDict([("b", 1), ("a", 2)]),
    "a Counter": lambda: collections.Counter("abca"),
    "a ChainMap": lambda: collections.ChainMap({"a": 1}, {}),
    "a mapping proxy": lambda: types.MappingProxyType({"a": [1]}),
    "a namedtuple": lambda: Pair(1, [2]),
    "a named tuple with types": lambda: Typed(1, [2]),
    "a dataclass": lambda: Record("a", [1]),
    "a frozen dataclass": lambda: Frozen(-0.0),
    "a Decimal": lambda: decimal.Decimal("1.10"),
    "a Fraction": lambda: fractions.Fraction(1, 3),
    "a date": lambda: datetime.datetime(2020, 2, 2, tzinfo=datetime.UTC),
    "a path": lambda: Path("a/b"),
    "a UUID": lambda: uuid.UUID(int=5),
    "a SimpleNamespace": lambda: types.SimpleNamespace(x=[1]),
    "a function": lambda: math.sqrt,
    "a function of one's own": lambda: _nan,
    "a lambda": lambda: lambda: 5,
    "a partial": lambda: functools.partial(math.pow, 2),
    "a bound method": lambda: [1, 2].append,
    "a ufunc": lambda: np.exp,
    "a module": lambda: math,
    "a class": lambda: Pair,
    "a dtype": lambda: np.dtype("f4"),
    "a generator of random numbers": lambda: np.random.default_rng(3),
    "a legacy generator of random numbers": lambda: np.random.RandomState(3),
    "a stream": lambda: io.BytesIO(b"abc"),
    "an exception": lambda: ValueError("a", [1]),
    "a nested tuple": lambda: (1, (2.0, ("x", (None, True)))),
    "a tuple of arrays": lambda: (np.ones(2), (np.zeros(1), [np.ones(2)])),
    "empty containers": lambda: [[], (), {}, set(), [[]], ([],)],
}
