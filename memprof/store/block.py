"""Rows of many agents at rest, encoded together: the exact difference from the template's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memprof.store.compression import compressed, decompressed

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
