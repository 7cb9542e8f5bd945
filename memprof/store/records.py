"""Where the records of a population live: the interface, and records in memory.

Records on disk are in `memprof.store.disk_records`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Records(Protocol):
    """Records numbered from 0 in the order of `append`; any of them can be replaced, or removed.

    An index that was never appended is an IndexError, negative ones included; so is one that was
    removed, which is never given again.

    Attributes:
        readonly: they cannot be changed.
    """

    readonly: bool

    @property
    def removed(self) -> int:
        """How many were removed."""

    def append(self, record: bytes) -> int:
        """Add a record; its index."""

    def __len__(self) -> int:
        """How many were appended: the next index."""

    def __contains__(self, index: int) -> bool: ...

    def __getitem__(self, index: int) -> bytes: ...

    def __setitem__(self, index: int, record: bytes) -> None: ...

    def __delitem__(self, index: int) -> None: ...

    def close(self) -> None:
        """Let go of the records; on disk, they stay there."""


class Numbered:
    """Values numbered from 0 in the order in which they come; each can be replaced or removed, and
    no number is given again.

    Removed ones are forgotten in stretches from the start, so that where the oldest leave first, or
    all, nothing of them stays; else each leaves a pointer.

    Attributes:
        start: all below it were removed, and are forgotten.
        removed: how many were removed.
    """

    __slots__ = ("_gone_since", "_values", "removed", "start")

    def __init__(self) -> None:
        self._values: list[Any] = []
        self.start = self.removed = self._gone_since = 0

    def append(self, value: Any) -> int:
        """Add a value; its number."""
        self._values.append(value)
        return len(self) - 1

    def __len__(self) -> int:
        """How many were added: the next number."""
        return self.start + len(self._values)

    def __contains__(self, index: int) -> bool:
        place = index - self.start
        return 0 <= place < len(self._values) and self._values[place] is not _REMOVED

    def __getitem__(self, index: int) -> Any:
        return self._values[self._place(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self._values[self._place(index)] = value

    def __delitem__(self, index: int) -> None:
        self[index] = _REMOVED
        self.removed += 1
        self._gone_since += 1
        if self._gone_since > len(self._values) // 2:
            self._gone_since = 0
            self._forget()

    def items(self) -> Iterator[tuple[int, Any]]:
        """Numbers and values of those that are there."""
        for place, value in enumerate(self._values):
            if value is not _REMOVED:
                yield self.start + place, value

    def close(self) -> None:
        """Forget all of them, and their numbers."""
        self._values.clear()
        self.start = self.removed = self._gone_since = 0

    def _place(self, index: int) -> int:
        place = not_negative(index) - self.start
        if place < 0 or self._values[place] is _REMOVED:
            raise IndexError(has_left(index))
        return place

    def _forget(self) -> None:
        """Drop the places of the removed ones at the start."""
        here = (place for place, value in enumerate(self._values) if value is not _REMOVED)
        first = next(here, len(self._values))
        del self._values[:first]
        self.start += first


class MemoryRecords(Numbered):
    """Records in a list: each costs its object and one pointer."""

    __slots__ = ()

    readonly = False


_REMOVED: Any = None
"""Stands in the place of a value that was removed."""


def has_left(index: int) -> str:
    """The message for an index that was removed."""
    return f"agent {index} has left the population; its number is not given again"


def not_negative(index: int) -> int:
    """The index of a record, which does not count from the end."""
    if index < 0:
        raise IndexError(f"record {index}: records are numbered from 0")
    return index
