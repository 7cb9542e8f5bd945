"""A list that grows at its end: whole and compressed, or a circular buffer of its last entries."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, MutableSequence
from typing import Any

import numpy as np

from memprof.errors import StoreError
from memprof.store.compression import compressed, decompressed
from memprof.store.flatten import WRITERS, Flattener
from memprof.store.layout import Layout, from_json, is_value
from memprof.store.unflatten import READERS, Reader

_CHUNK_ENTRIES = 32
_CHUNK_BYTES = 65536
_CHUNK_LEVEL = 9
_HEAD = struct.Struct("<II")
_TAIL = struct.Struct("<IIII")
_LENGTH = np.dtype("<u4")
_MOST_EMPTY = 1_000_000  # entries that take no bytes, in one chunk that a file holds


class History(MutableSequence[Any]):
    """Behaves as the list that it was made from, or as the last `limit` entries of it.

    Entries at rest are bytes: up to 32 of one layout side by side in the tail, and before them
    chunks of such entries, byte by byte transposed (entries that resemble each other compress far
    better so) and compressed. `append` and reading a few entries at the end touch no chunk. Other
    changes turn all entries into plain objects until the next `pack`. Arrays that are read back are
    read-only: they are copies, and what is written into one would be lost.

    With a limit, all entries of one layout are in the tail, from which the oldest leaves as a new
    one comes: full, it has the same size after every step. Only when the layout changes what was
    there becomes a chunk, until the last of its entries is older than the limit.

    Attributes:
        limit: entries that are kept; None for all.
    """

    __slots__ = ("_chunks", "_count", "_data", "_fresh", "_layout", "_packed", "limit")

    def __init__(self, entries: Iterable[Any] = (), limit: int | None = None) -> None:
        self.limit = limit
        self._chunks: list[bytes] = []
        self._packed = 0  # entries in chunks
        self._layout: Layout | None = None
        self._count = 0  # entries in the tail
        self._data = b""
        self._fresh: list[Any] = list(entries)
        self._let_go()

    def objects(self) -> list[Any]:
        """The entries that are not encoded: the objects that were appended."""
        return self._fresh

    def latest(self) -> Any:
        """The last entry, if it is the object that was appended; else None."""
        return self._fresh[-1] if self._fresh else None

    def pack(self, latest: Any = None) -> None:
        """Encode the entries that were appended since the last time, but for the last one if it is
        the object `latest`, which is somewhere else as well.

        Raises:
            NotStorable: an entry has no exact encoding; the history is then as before.
        """
        count = len(self._fresh)
        count -= bool(count) and latest is not None and self._fresh[-1] is latest
        encoded = []
        for entry in self._fresh[:count]:
            flattener = Flattener()
            layout = flattener.flatten(entry)
            encoded.append((layout, flattener.data()))
        del self._fresh[:count]
        for layout, data in encoded:
            width = len(self._data) // self._count if self._count else len(data)
            if self._count and (layout != self._layout or len(data) != width):
                self._seal()
            self._layout = layout
            self._data += data
            self._count += 1
            if self.limit is None and (
                self._count >= _CHUNK_ENTRIES or len(self._data) >= _CHUNK_BYTES
            ):
                self._seal()

    def _seal(self) -> None:
        """Make a chunk of the tail."""
        text = json.dumps(self._layout, separators=(",", ":")).encode()
        planes = np.frombuffer(self._data, np.uint8).reshape(self._count, -1).T.tobytes()
        raw = b"".join((_HEAD.pack(self._count, len(text)), text, planes))
        self._chunks.append(compressed(raw, _CHUNK_LEVEL))
        self._packed += self._count
        self._layout, self._count, self._data = None, 0, b""

    def _let_go(self) -> None:
        """Drop what is older than the limit; of a chunk, all at once, when none is younger."""
        if self.limit is None:
            return
        gone = self._stored() - self.limit
        while gone > 0 and self._chunks:
            count = len(_opened(self._chunks[0]))
            if count > gone:
                return
            del self._chunks[0]
            self._packed -= count
            gone -= count
        if gone > 0 and self._count:
            count = min(gone, self._count)
            self._data = self._data[count * (len(self._data) // self._count) :]
            self._count -= count
            gone -= count
        del self._fresh[: max(0, gone)]

    def _stored(self) -> int:
        """All entries there are, those of a chunk that are older than the limit too."""
        return self._packed + self._count + len(self._fresh)

    def __len__(self) -> int:
        stored = self._stored()
        return stored if self.limit is None else min(stored, self.limit)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            wanted = range(first, last, step)
            if not wanted:
                return []
            entries = self._read(min(wanted))
            return [entries[place - len(self)] for place in wanted]
        place = range(len(self))[index]  # the list's own IndexError
        return self._read(place)[place - len(self)]

    def _read(self, place: int) -> list[Any]:
        """The entries from `place`, or a little before it, to the end, for somebody to keep."""
        entries = self._from(place)
        if all(map(_freeze, entries[: len(entries) - len(self._fresh)])):
            return entries
        return self._thawed()  # lists and dicts cannot be read-only

    def _from(self, place: int) -> list[Any]:
        """The entries from `place`, or a little before it, to the end."""
        entries = list(self._fresh)
        place += self._stored() - len(self)
        start = self._stored() - len(entries)
        if place < start and self._count:
            assert self._layout is not None
            skipped = max(0, place - self._packed)
            width = len(self._data) // self._count
            entries[:0] = _entries(
                self._layout, self._data[skipped * width :], self._count - skipped
            )
        chunk = len(self._chunks)
        start = min(start, self._packed)
        while place < start:
            chunk -= 1
            found = _opened(self._chunks[chunk]) if chunk >= 0 else []
            if not found:
                raise _damaged("fewer entries than it says")
            entries[:0] = found
            start -= len(found)
        return entries

    def append(self, value: Any) -> None:
        self._fresh.append(value)
        self._let_go()

    def insert(self, index: int, value: Any) -> None:
        self._thawed().insert(index, value)
        self._let_go()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._thawed()[index] = value
        self._let_go()

    def __delitem__(self, index: Any) -> None:
        del self._thawed()[index]

    def _thawed(self) -> list[Any]:
        """All entries as plain objects, to be changed."""
        if self._packed or self._count:
            entries = self._from(0)
            self.__init__(entries[len(entries) - len(self) :], self.limit)  # type: ignore[misc]
        return self._fresh

    def __iter__(self) -> Any:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | History) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as lists

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return [*self, *other]

    def __radd__(self, other: Iterable[Any]) -> list[Any]:
        return [*other, *self]

    def __repr__(self) -> str:
        return repr(list(self))


def _freeze(entry: Any) -> bool:
    """Make the arrays of an entry read-only; whether nothing else in it can change."""
    if type(entry) is np.ndarray:
        entry.flags.writeable = False
        return entry.dtype != object or all(map(_freeze, entry.ravel()))
    return all(map(_freeze, entry)) if type(entry) is tuple else is_value(entry)


def _entries(layout: Layout, data: bytes, count: int) -> list[Any]:
    width = len(data) // count
    return [
        Reader(data[start : start + width]).unflatten(layout)
        for start in range(0, count * max(width, 1), max(width, 1))
    ]


def _opened(chunk: bytes) -> list[Any]:
    """The entries of a chunk, which may come from a file."""
    try:
        raw = decompressed(chunk)
        count, length = _HEAD.unpack_from(raw)
        start = _HEAD.size + length
        layout = from_json(json.loads(raw[_HEAD.size : start]))
        planes = np.frombuffer(raw, np.uint8, offset=start)
        _check_count(count, planes.size)
        data = planes.reshape(-1, count).T.tobytes()
        return _entries(layout, data, count)
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error


def _check_count(count: int, size: int) -> None:
    """Whether there can be so many entries in `size` bytes."""
    if count and (size % count or (not size and count > _MOST_EMPTY)):
        raise ValueError(f"{count} entries in {size} bytes")


def _damaged(found: str) -> StoreError:
    return StoreError(f"a history is damaged ({found}): create the store again")


def _write(self: Flattener, value: History, reference: Any) -> Layout:
    if self.again(value):
        return ("r",)
    if value._fresh:
        value.pack(value.latest() if self.linked else None)
    chunks = value._chunks
    self.parts.append(_TAIL.pack(len(chunks), value._packed, value._count, len(value._data)))
    if chunks:  # the module struct would remember a format for each number of them
        self.parts += (np.array([len(chunk) for chunk in chunks], _LENGTH).tobytes(), *chunks)
    self.parts.append(value._data)
    if not value._fresh:
        return ("h", value._layout, value.limit)
    return ("h", value._layout, value.limit, *map(self.flatten, value._fresh))


def _read(self: Reader, layout: Layout, reference: Any) -> History:
    _, entries, limit, *fresh = layout
    value = History(limit=limit)
    self.seen.append(value)
    count, value._packed, value._count, tail = _TAIL.unpack_from(self.data, self.place)
    self.place += _TAIL.size
    if count:
        sizes = np.frombuffer(self.take(_LENGTH.itemsize * count), _LENGTH).tolist()
        value._chunks = [self.allowance.frame(self.take(size)) for size in sizes]
    value._data = self.take(tail)
    _check_count(value._count, tail)
    value._layout = entries
    if fresh:
        value._fresh = [self.unflatten(each) for each in fresh]
    return value


WRITERS[History] = _write
READERS["h"] = _read
