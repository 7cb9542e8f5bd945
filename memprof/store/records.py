"""Where the records of a population live: the interface, and records in memory.

Records on disk are in `memprof.store.disk_records`.
"""

from __future__ import annotations

from typing import Any, Protocol


class Records(Protocol):
    """Records numbered from 0 in the order of `append`; any of them can be replaced, or removed.

    An index that was never appended is an IndexError, negative ones included; so is one that was
    removed, which is never given again.
    """

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


class MemoryRecords:
    """Records in a list: each costs its object and one pointer, a removed one the pointer."""

    __slots__ = ("_records", "_removed")

    def __init__(self) -> None:
        self._records: list[Any] = []
        self._removed = 0

    @property
    def removed(self) -> int:
        """How many were removed."""
        return self._removed

    def append(self, record: Any) -> int:
        """Add a record; its index."""
        self._records.append(record)
        return len(self._records) - 1

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, index: int) -> bool:
        return 0 <= index < len(self) and self._records[index] is not _REMOVED

    def __getitem__(self, index: int) -> Any:
        record = self._records[not_negative(index)]
        if record is _REMOVED:
            raise IndexError(has_left(index))
        return record

    def __setitem__(self, index: int, record: Any) -> None:
        self[index]  # an IndexError where there is none
        self._records[index] = record

    def __delitem__(self, index: int) -> None:
        self[index] = _REMOVED
        self._removed += 1

    def close(self) -> None:
        """Forget the records."""
        self._records.clear()
        self._removed = 0


_REMOVED: Any = None
"""Stands in the place of a record that was removed."""


def has_left(index: int) -> str:
    """The message for an index that was removed."""
    return f"agent {index} has left the population; its number is not given again"


def not_negative(index: int) -> int:
    """The index of a record, which does not count from the end."""
    if index < 0:
        raise IndexError(f"record {index}: records are numbered from 0")
    return index
