"""A list that grows at its end: whole and compressed, or its last entries only."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

from memprof.errors import StoreError
from memprof.storage.compression import compressed, content_size, decompressed
from memprof.storage.flatten import WRITERS, Flattener, NotStorable
from memprof.storage.layout import Layout, cost, from_json, is_value
from memprof.storage.unflatten import READERS, UNLIMITED, Allowance, Reader
from memprof.storage.untrusted import decoding, is_count

_CHUNK_ENTRIES = 32
_CHUNK_BYTES = 65536
_CHUNK_LEVEL = 9
_MOST_CHUNK_ENTRIES = 2 * _CHUNK_ENTRIES
_HEAD = struct.Struct("<IIQQ")  # entries, bytes of their layout, and what each of them costs
_TAIL = struct.Struct("<IIII")
_CHUNKS = struct.Struct("<QQ")
_LENGTH = np.dtype("<u4")
_BYTES_PER_ELEMENT = 32  # of what a chunk becomes, decompressed
_WHAT = "a history", "create the store again"
_FREE = 1 << 62  # bytes: as many as there may be

Cost = tuple[int, int]
"""Elements, and bytes of arrays beyond those of their data, as an `Allowance` counts them."""
_NOTHING: Cost = (0, 0)


def _thawing(name: str) -> Callable[..., Any]:
    """A method of lists that finds all entries to be objects."""
    method = getattr(list, name)

    @wraps(method)
    def thawing(self: History, *arguments: Any, **options: Any) -> Any:
        for history in (self, *arguments):  # lists look into each other, past all methods
            if isinstance(history, History):
                history._thaw()
        result = method(self, *arguments, **options)
        self._let_go()
        return result

    return thawing


class History(list[Any]):
    """The list that it was made from, or the last `limit` entries of it.

    Entries at rest are bytes: the last 32 or more of one layout side by side in the tail, and
    before them chunks of 32, byte by byte transposed (entries that resemble each other compress far
    better so) and compressed. Whoever reads entries near the end finds the objects that he will
    find again, and may write into them; they become bytes again at the next `pack`. All other
    methods of lists turn all entries into objects until then.

    With a limit, all entries of one layout are in the tail, from which the oldest leaves as a new
    one comes: full, it has the same size after every step. Only when the layout changes what was
    there becomes a chunk, until the last of its entries is older than the limit.

    The list that it is holds the entries that are objects, which come last.

    Attributes:
        limit: entries that are kept; None for all.
    """

    __slots__ = (
        *("_chunks", "_cost", "_count", "_data", "_each", "_layout", "_packed", "_thawed"),
        "limit",
    )

    def __init__(self, entries: Iterable[Any] = (), limit: int | None = None) -> None:
        super().__init__(entries)
        self.limit = limit
        self._chunks: list[bytes] = []
        self._packed = 0  # entries in chunks
        self._cost = _NOTHING  # to decode all chunks
        self._layout: Layout | None = None
        self._each = _NOTHING  # to decode an entry of the tail
        self._count = 0  # entries in the tail
        self._data = b""
        self._thawed: dict[bytes, bytes] | None = None  # chunks that are objects, by their content
        if limit is not None:
            self._let_go()

    @staticmethod
    def packed_bytes(histories: Iterable[History]) -> tuple[int, int]:
        """Bytes of the entries that are bytes, and of the same without compression."""
        chunks = [chunk for each in histories for chunk in each._chunks]
        tails = sum(len(each._data) for each in histories)
        return tails + sum(map(len, chunks)), tails + sum(map(content_size, chunks))

    def objects(self) -> list[Any]:
        """The entries that are no bytes now."""
        return super().__getitem__(slice(None))

    def latest(self) -> Any:
        """The last entry, if it is an object; else None."""
        return super().__getitem__(-1) if super().__len__() else None

    def pack(self, held: Container[int] = ()) -> None:
        """Encode the entries that are objects, up to the first in `held`, by identity: what the
        agent holds as well, such as its last action, stays the object that it is.

        Raises:
            NotStorable: an entry has no exact encoding; the history is then as before.
        """
        if not super().__len__():
            return
        count = 0
        for entry in super().__iter__():
            if id(entry) in held and not is_value(entry):
                break
            count += 1
        entry = None
        if not count:
            return
        encoded = []
        for entry in super().__getitem__(slice(count)):
            flattener = Flattener(free=_FREE)
            layout = flattener.flatten(entry)
            each = flattener.elements + flattener.past + cost(layout), _FREE - int(flattener.free)
            encoded.append((layout, flattener.data(), each))
        super().__delitem__(slice(count))
        for layout, data, each in encoded:
            width = len(self._data) // self._count if self._count else len(data)
            alike = layout == self._layout and len(data) == width and each == self._each
            while self._count and not alike:
                self._seal(min(self._count, _MOST_CHUNK_ENTRIES))
            self._layout, self._each = layout, each
            self._data += data
            self._count += 1
            if self.limit is None and len(self._data) >= _CHUNK_BYTES:
                self._seal(self._count)
            elif self.limit is None and self._count >= _MOST_CHUNK_ENTRIES:
                self._seal(_CHUNK_ENTRIES)
        self._thawed = None

    def _seal(self, count: int) -> None:
        """Make a chunk of the first entries of the tail."""
        text = json.dumps(self._layout, separators=(",", ":")).encode()
        size = count * (len(self._data) // self._count)
        planes = np.frombuffer(self._data, np.uint8, size).reshape(count, -1).T.tobytes()
        raw = b"".join((_HEAD.pack(count, len(text), *self._each), text, planes))
        self._cost = _sum(self._cost, _cost_of(count, self._each, len(raw)))
        self._chunks.append((self._thawed or {}).get(raw) or compressed(raw, _CHUNK_LEVEL))
        self._packed += count
        self._count -= count
        self._data = self._data[size:]
        if not self._count:
            self._layout, self._each = None, _NOTHING

    def _let_go(self) -> None:
        """Drop what is older than the limit; of a chunk, all at once, when none is younger."""
        if self.limit is None:
            return
        gone = self._stored() - self.limit
        while gone > 0 and self._chunks:
            chunk = _Chunk.opened(self._chunks[0])
            if chunk.count > gone:
                return
            self._without(chunk)
            del self._chunks[0]
            gone -= chunk.count
        if gone > 0 and self._count:
            count = min(gone, self._count)
            self._data = self._data[count * (len(self._data) // self._count) :]
            self._count -= count
            gone -= count
        if gone > 0:
            super().__delitem__(slice(gone))

    def _without(self, chunk: _Chunk) -> None:
        """Count a chunk as gone."""
        self._packed -= chunk.count
        self._cost = _sum(self._cost, chunk.cost, -1)
        if min(self._packed, *self._cost) < 0:
            raise _damaged("more in its chunks than it says")

    def _stored(self) -> int:
        """All entries there are, those of a chunk that are older than the limit too."""
        return self._packed + self._count + super().__len__()

    def __len__(self) -> int:
        stored = self._stored()
        return stored if self.limit is None else min(stored, self.limit)

    def __getitem__(self, index: Any) -> Any:
        length = len(self)
        wanted = range(length)[index]  # the list's own IndexError
        several = isinstance(wanted, range)
        if several and not wanted:
            return []
        self._warm(min(wanted) if several else wanted)
        start = length - super().__len__()
        if several:
            return [super(History, self).__getitem__(place - start) for place in wanted]
        return super().__getitem__(wanted - start)

    def _warm(self, place: int) -> None:
        """Make objects of the entries from `place`, or from a little before it."""
        place += self._stored() - len(self)
        if self._count and place < self._packed + self._count:
            assert self._layout is not None
            kept = max(0, place - self._packed)
            size = kept * (len(self._data) // self._count)
            entries = _entries(self._layout, self._data[size:], self._count - kept, self._each)
            super().__setitem__(slice(0, 0), entries)
            self._data, self._count = self._data[:size], kept
        while place < self._packed:
            if not self._chunks:
                raise _damaged("fewer entries than it says")
            frame = self._chunks[-1]
            chunk = _Chunk.opened(frame)
            entries = chunk.entries()
            self._without(chunk)
            del self._chunks[-1]
            self._thawed = {decompressed(frame): frame, **(self._thawed or {})}
            super().__setitem__(slice(0, 0), entries)

    def _thaw(self) -> None:
        """Make objects of all entries."""
        if self._packed or self._count:
            length = len(self)
            self._warm(0)
            super().__delitem__(slice(super().__len__() - length))

    def append(self, value: Any) -> None:
        super().append(value)
        self._let_go()

    def __radd__(self, other: Any) -> Any:
        self._thaw()
        return list.__add__(other, self) if isinstance(other, list) else NotImplemented

    def __reduce_ex__(self, protocol: Any) -> Any:
        return History, ([*self], self.limit)

    __hash__ = None  # as lists


for _name in (
    *("__add__", "__contains__", "__delitem__", "__eq__", "__ge__", "__gt__", "__iadd__"),
    *("__imul__", "__iter__", "__le__", "__lt__", "__mul__", "__ne__", "__repr__", "__reversed__"),
    *("__rmul__", "__setitem__", "clear", "copy", "count", "extend", "index", "insert", "pop"),
    *("remove", "reverse", "sort"),
):
    setattr(History, _name, _thawing(_name))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk, decompressed; it may come from a file."""

    count: int
    layout: Layout
    each: Cost
    planes: np.ndarray
    cost: Cost

    @classmethod
    def opened(cls, frame: bytes) -> _Chunk:
        """What is in a frame.

        Raises:
            StoreError: nothing that makes sense.
        """
        with decoding(*_WHAT):
            raw = decompressed(frame)
            count, length, *each = _HEAD.unpack_from(raw)
            start = _HEAD.size + length
            layout = from_json(json.loads(raw[_HEAD.size : start]))
            planes = np.frombuffer(raw, np.uint8, offset=start)
            if not 0 < count <= _MOST_CHUNK_ENTRIES or planes.size % count:
                raise ValueError(f"{count} entries in {planes.size} bytes")
            known = each[0], each[1]
            return cls(count, layout, known, planes, _cost_of(count, known, len(raw)))

    def entries(self) -> list[Any]:
        data = self.planes.reshape(-1, self.count).T.tobytes()
        return _entries(self.layout, data, self.count, self.each)


def _entries(layout: Layout, data: bytes, count: int, each: Cost) -> list[Any]:
    """So many entries, which take no more than `each` says.

    Raises:
        StoreError: they do, or make no sense.
    """
    width = len(data) // count
    elements, size = each
    allowance = Allowance(size * count, elements * count, 0)
    with decoding(*_WHAT):
        return [
            Reader(data[width * number : width * (number + 1)], allowance=allowance).unflatten(
                layout
            )
            for number in range(count)
        ]


def _damaged(found: str) -> StoreError:
    what, remedy = _WHAT
    return StoreError(f"{what} is damaged ({found}): {remedy}")


def _cost_of(count: int, each: Cost, size: int) -> Cost:
    """What it takes to decode so many entries, from so many bytes."""
    return count * each[0] + size // _BYTES_PER_ELEMENT, count * each[1]


def _sum(left: Cost, right: Cost, times: int = 1) -> Cost:
    return left[0] + times * right[0], left[1] + times * right[1]


def _write(self: Flattener, value: History, reference: Any) -> Layout:
    if self.again(value):
        return ("r",)
    chunks = value._chunks
    elements, size = _sum(value._cost, value._each, value._count)
    self.past += elements
    if not self.spend(size):
        raise NotStorable("history of arrays that are too large")
    self.parts.append(_TAIL.pack(len(chunks), value._packed, value._count, len(value._data)))
    if chunks:  # the module struct would remember a format for each number of them
        sizes = np.array([len(chunk) for chunk in chunks], _LENGTH)
        self.parts += (_CHUNKS.pack(*value._cost), sizes.tobytes(), *chunks)
    self.parts.append(value._data)
    fresh = map(self.flatten, value.objects())
    return ("h", value._layout, value.limit, *value._each, *fresh)


def _read(self: Reader, layout: Layout, reference: Any) -> History:
    _, entries, limit, elements, size, *fresh = layout
    if not all(is_count(each) for each in (elements, size, limit or 0)) or limit is False:
        raise ValueError(f"a history of {limit} entries, which cost {elements} and {size}")
    value = History(limit=limit)
    number = len(self.seen)
    self.seen.append(None)
    count, value._packed, value._count, tail = _TAIL.unpack_from(self.data, self.place)
    self.place += _TAIL.size
    if count:
        value._cost = _CHUNKS.unpack(self.take(_CHUNKS.size))
        sizes = np.frombuffer(self.take(_LENGTH.itemsize * count), _LENGTH).tolist()
        value._chunks = [self.take(each) for each in sizes]
    value._data, value._layout, value._each = self.take(tail), entries, (elements, size)
    if value._count and (tail % value._count or elements < cost(entries)):
        raise ValueError(f"{value._count} entries in {tail} bytes")
    elements, size = _sum(value._cost, value._each, value._count)
    self.allowance.count(0, elements)
    self.allowance.spend(size)
    if self.allowance is not UNLIMITED:
        made = sum(map(content_size, value._chunks))
        most = count * _MOST_CHUNK_ENTRIES
        if made // _BYTES_PER_ELEMENT > elements + count or value._packed > most:
            raise ValueError(f"a history of {made} bytes in chunks, which cost {elements}")
    list.extend(value, map(self.unflatten, fresh))
    self.seen[number] = value
    return value


WRITERS[History] = _write
READERS["h"] = _read
