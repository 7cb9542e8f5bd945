"""Rows of many agents at rest, encoded together: the exact difference from the template's row.

Attributes of agents that stay objects, encoded while the agent rests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memprof.storage.flatten import Flattener, Handed
from memprof.storage.layout import Layout
from memprof.storage.records import compressed, decompressed
from memprof.storage.unflatten import Borrower, Reader

_LEVEL = 1  # a block is written and read at every step of its agents


@dataclass(frozen=True, slots=True)
class Block:
    """Arrays with one row per agent, as one Zstandard frame.

    What is compressed is the exclusive or with the template's row: what agents have in common
    becomes zeros, whatever its bits, and nothing is rounded.
    """

    frame: bytes
    layout: tuple[tuple[tuple[int, ...], np.dtype], ...]

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], template: Sequence[np.ndarray]) -> Block:
        """Encode `arrays`, each of shape (agents, ...), against `template`, each of shape (...)."""
        layout = tuple((array.shape, array.dtype) for array in arrays)
        differences = (_bits(a) ^ _bits(row) for a, row in zip(arrays, template, strict=True))
        return cls(compressed(b"".join(d.tobytes() for d in differences), _LEVEL), layout)

    def arrays(self, template: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What was encoded, bit by bit; `template` as it was then."""
        data = bytearray(decompressed(self.frame))
        arrays, place = [], 0
        for (shape, dtype), row in zip(self.layout, template, strict=True):
            count = int(np.prod(shape))
            array = np.frombuffer(data, dtype, count, place).reshape(shape)
            bits = _bits(array)
            bits ^= _bits(row)
            arrays.append(array)
            place += array.nbytes
        return arrays


def _bits(array: np.ndarray) -> np.ndarray:
    """The array's own memory as unsigned integers; of a copy where it is not contiguous."""
    return np.ascontiguousarray(array).view(np.dtype(f"u{array.dtype.itemsize}"))


@dataclass(frozen=True, slots=True)
class Packed:
    """An encoded value; agents of one population share its layout."""

    layout: Layout
    frame: bytes

    @classmethod
    def of(cls, value: Any, handed: Handed, layouts: dict[Layout, Layout]) -> Packed | None:
        """The value packed; None when that saves less than half of its arrays.

        Raises:
            NotStorable: a type without exact encoding.
        """
        flattener = Flattener(handed)
        layout = flattener.flatten(value)
        frame = compressed(flattener.data())
        if 2 * len(frame) > _array_bytes(value):
            return None
        return cls(layouts.setdefault(layout, layout), frame)

    def value(self, borrower: Borrower, handed: Handed) -> Any:
        """What was packed; large sparse arrays come from `borrower`."""
        return Reader(decompressed(self.frame), (), borrower, handed).unflatten(self.layout)


def _array_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.nbytes
    if isinstance(value, np.ndarray | list | tuple):
        return sum(map(_array_bytes, value))
    return 0
