"""Attributes of agents that stay objects, encoded while the agent rests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from memprof.store.compression import compressed, decompressed
from memprof.store.flatten import Flattener, Handed
from memprof.store.layout import Layout
from memprof.store.unflatten import Borrower, Reader


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
