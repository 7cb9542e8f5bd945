"""Where the records of a population live: the interface, and records in memory.

Records on disk are in `memprof.store.disk_records`.
"""

from __future__ import annotations

from typing import Protocol


class Records(Protocol):
    """Records numbered from 0 in the order of `append`; any of them can be replaced.

    An index that was never appended is an IndexError, negative ones included.
    """

    def append(self, record: bytes) -> int:
        """Add a record; its index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> bytes: ...

    def __setitem__(self, index: int, record: bytes) -> None: ...

    def close(self) -> None:
        """Let go of the records; on disk, they stay there."""


class MemoryRecords:
    """Records in a list: each costs its bytes object and one pointer."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: list[bytes] = []

    def append(self, record: bytes) -> int:
        """Add a record; its index."""
        self._records.append(record)
        return len(self._records) - 1

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> bytes:
        return self._records[not_negative(index)]

    def __setitem__(self, index: int, record: bytes) -> None:
        self._records[not_negative(index)] = record

    def close(self) -> None:
        """Forget the records."""
        self._records.clear()


def not_negative(index: int) -> int:
    """The index of a record, which does not count from the end."""
    if index < 0:
        raise IndexError(f"record {index}: records are numbered from 0")
    return index
