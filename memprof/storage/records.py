"""Where the records of a population live: the interface, and records in memory.

Records on disk are in `memprof.storage.disk_records`.

Named blobs in one plain file: written once, then read through one shared memory map.

LMDB aligns its values to 2 bytes and moves its map when it grows, so arrays that are to be used in
place live in a file of their own.

Lossless compression of small and large pieces of data, by Zstandard.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from memprof.errors import StoreError
from memprof.storage.header import Extent
from memprof.storage.untrusted import CREATE_AGAIN, check_regular, shown


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
        """The number of removed records."""

    def append(self, record: bytes) -> int:
        """Add a record and return its index."""

    def skip(self, count: int) -> None:
        """Let the next indices, so many, be those of removed records."""

    def __len__(self) -> int:
        """The number of records ever appended, which is the next index."""

    def __contains__(self, index: int) -> bool: ...

    def __getitem__(self, index: int) -> bytes: ...

    def __setitem__(self, index: int, record: bytes) -> None: ...

    def __delitem__(self, index: int) -> None: ...

    def close(self) -> None:
        """Release the records; those on disk stay there."""


class Numbered:
    """Values numbered from 0 in the order in which they come; each can be replaced or removed, and
    no number is given again.

    Removed ones are forgotten in stretches, from the start and from the first one removed on: so
    nothing of them stays where the oldest leave first, or all, or the oldest of those that came
    after some which stay; else each leaves a pointer.

    Attributes:
        start: all below it were removed, and are forgotten.
        removed: how many were removed.
    """

    __slots__ = ("_gap", "_gap_place", "_gone_since", "_values", "removed", "start")

    def __init__(self) -> None:
        self._values: list[Any] = []
        self.start = self.removed = self._gone_since = 0
        # Before the value at this place so many are forgotten.
        self._gap_place = self._gap = 0

    def append(self, value: Any) -> int:
        """Add a value and return its number."""
        self._values.append(value)
        return len(self) - 1

    def skip(self, count: int) -> None:
        """Let the next numbers, so many, be those of removed values."""
        for _ in range(count):
            del self[self.append(b"")]

    def __len__(self) -> int:
        """The number of values ever added, which is the next number."""
        return self.start + len(self._values) + self._gap

    def __contains__(self, index: int) -> bool:
        place = self._place_of(index)
        return 0 <= place < len(self._values) and self._values[place] is not _REMOVED

    def __getitem__(self, index: int) -> Any:
        if index >= 0 and not self.removed:
            return self._values[index]
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
        """Numbers and values of the entries that were not removed."""
        for place, value in enumerate(self._values):
            if value is not _REMOVED:
                yield self.start + place + (self._gap if place >= self._gap_place else 0), value

    def copied(self, copy_of: Callable[[Any], Any]) -> Self:
        """The same with copies of the values."""
        other = type(self)()
        other._values = [each if each is _REMOVED else copy_of(each) for each in self._values]
        other.start, other.removed = self.start, self.removed
        other._gone_since = self._gone_since
        other._gap_place, other._gap = self._gap_place, self._gap
        return other

    def close(self) -> None:
        """Forget all of them, and their numbers."""
        self._values.clear()
        self.start = self.removed = self._gone_since = self._gap_place = self._gap = 0

    def _place_of(self, index: int) -> int:
        """Where a value is; below 0 if it is forgotten."""
        place = index - self.start
        if place < self._gap_place:
            return place
        place -= self._gap
        return place if place >= self._gap_place else -1

    def _place(self, index: int) -> int:
        place = self._place_of(not_negative(index))
        if place < 0 or self._values[place] is _REMOVED:
            raise IndexError(has_left(index))
        return place

    def _forget(self) -> None:
        """Drop the places of removed values at the start, and at the gap, which begins with the
        first of the others."""
        first = self._removed_from(0)
        del self._values[:first]
        self.start += first
        if first >= self._gap_place:
            self.start += self._gap
            self._gap_place = self._gap = 0
        else:
            self._gap_place -= first
        if not self._gap:
            here = (place for place, value in enumerate(self._values) if value is _REMOVED)
            self._gap_place = next(here, 0)
        more = self._removed_from(self._gap_place)
        del self._values[self._gap_place : self._gap_place + more]
        self._gap += more

    def _removed_from(self, place: int) -> int:
        """How many values in a row are removed, from a place on."""
        here = (at for at in range(place, len(self._values)) if self._values[at] is not _REMOVED)
        return next(here, len(self._values)) - place


class MemoryRecords(Numbered):
    """Records in a list: each costs its object and one pointer."""

    __slots__ = ()

    readonly = False


_REMOVED: Any = None
"""Stands in the place of a value that was removed."""


def has_left(index: int) -> str:
    """The message for an index that was removed."""
    return f"agent {index} has left the population; its index is not used again"


def not_negative(index: int) -> int:
    """The index of a record, which does not count from the end."""
    if index < 0:
        raise IndexError(f"record {index}: records are numbered from 0")
    return index


if TYPE_CHECKING:
    from typing_extensions import Buffer

_ALIGNMENT_BYTES = 64  # a cache line, and the widest vector register


def write_blobs(path: Path, blobs: Mapping[str, Buffer]) -> dict[str, Extent]:
    """Write the file; every blob starts at a multiple of 64 bytes."""
    extents = {}
    with path.open("xb") as file:
        for name, data in blobs.items():
            file.write(bytes(-file.tell() % _ALIGNMENT_BYTES))
            start = file.tell()
            file.write(data)
            extents[name] = Extent(start, file.tell() - start, zlib.crc32(data))
    return extents


class Blobs:
    """A file of blobs, open for reading: its pages are the page cache's, shared by all processes.

    The views that it hands out keep the map alive, for as long as anybody holds them.

    Attributes:
        size: bytes of all of them.
    """

    __slots__ = ("_extents", "_path", "_view", "size")

    def __init__(self, path: Path, extents: Mapping[str, Extent]) -> None:
        self._path = path
        self._extents = extents
        check_regular(path)
        with path.open("rb") as file:
            expected = max((extent.end for extent in extents.values()), default=0)
            found = file.seek(0, 2)
            if found != expected:
                raise StoreError(
                    f"{shown(path)}: has {found} bytes instead of {expected}, so it is damaged: "
                    f"{CREATE_AGAIN}"
                )
            # An empty file cannot be mapped.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if found else b""
        self._view = memoryview(mapped).toreadonly()
        self.size = len(self._view)

    def __getitem__(self, name: str) -> memoryview:
        """The bytes of a blob, read-only, in place; checked against their checksum."""
        if name not in self._extents:
            known = ", ".join(sorted(self._extents)) or "none"
            raise StoreError(f"{shown(self._path)}: has no blob {name!r}; it has: {known}")
        extent = self._extents[name]
        view = self._view[extent.start : extent.end]
        if zlib.crc32(view) != extent.checksum:
            raise StoreError(
                f"{shown(self._path)}: the bytes of blob {name!r} have changed since they were "
                f"written: {CREATE_AGAIN}"
            )
        return view
