"""Stores made by someone who knows the format: every checksum is right, nothing else need be.

A store is taken apart into a `Crafted`, one thing in it is replaced, and it is written with the
header, checksums and identity that belong to what it then holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import lmdb
import zstandard

from memprof.storage.disk_records import DiskRecords
from memprof.storage.header import Header
from memprof.storage.records import write_blobs

MIB = 2**20
DATA_BYTES = 64 * MIB
COMPRESSED, INLINE = 0x8000, 0x7FFF


@dataclass(frozen=True)
class Crafted:
    """All that a store is made of.

    Attributes:
        entries: further ones, or others in the place of records: keys and values as they are.
        header: instead of the one that fits; a function of the text of that.
    """

    blobs: dict[str, bytes]
    records: list[bytes]
    entries: tuple[tuple[bytes, bytes], ...] = ()
    header: Callable[[str], bytes] | None = None

    @classmethod
    def of(cls, folder: Path) -> Crafted:
        """A store, taken apart."""
        names = Header.read(folder).blobs
        records = DiskRecords.open(folder, None, readonly=True)
        try:
            blobs = {name: bytes(records.blob(name)) for name in names}
            return cls(blobs, [records[index] for index in range(len(records))])
        finally:
            records.close()

    def write(self, folder: Path) -> None:
        folder.mkdir()
        digest = hashlib.blake2b(digest_size=16)
        for name, blob in self.blobs.items():
            digest.update(name.encode())
            digest.update(blob)
        identity = digest.digest()
        header = Header(identity, write_blobs(folder / "template.bin", self.blobs))
        header.write(folder)
        if self.header is not None:
            (folder / "store.json").write_bytes(self.header((folder / "store.json").read_text()))
        with (
            lmdb.open(str(folder), map_size=DATA_BYTES, sync=False) as env,
            env.begin(write=True) as transaction,
        ):
            for index, record in enumerate(self.records):
                transaction.put(index_key(index), _sealed(index_key(index), record, identity))
            for key, value in self.entries:
                transaction.put(key, value)
        os.truncate(folder / "data.mdb", DATA_BYTES)

    @property
    def names(self) -> list[str]:
        """The attributes of the template."""
        layout, _ = json.loads(self.blobs["description"])
        return [name for name, _ in layout[1:]]

    def with_record(self, record: bytes) -> Crafted:
        """Another first record."""
        return replace(self, records=[record, *self.records[1:]])

    def with_blob(self, name: str, blob: bytes | None) -> Crafted:
        """Another blob, or none."""
        blobs = {**self.blobs, name: blob}
        return replace(self, blobs={n: each for n, each in blobs.items() if each is not None})


def index_key(index: int) -> bytes:
    return index.to_bytes(8, "big")


def _sealed(key: bytes, record: bytes, identity: bytes) -> bytes:
    return zlib.crc32(record, zlib.crc32(key, zlib.crc32(identity))).to_bytes(4, "big") + record


# --- pieces


def deep(levels: int) -> str:
    """Stands for so many lists in each other, which `dumps` could not write."""
    return f"@deep{levels}@"


def dumps(value: Any) -> bytes:
    text = json.dumps(value, separators=(",", ":"))
    for levels in (300, 5_000, 200_000):
        text = text.replace(f'"{deep(levels)}"', "[" * levels + "]" * levels)
    return text.encode()


def count(number: int) -> bytes:
    return struct.pack("<I", number)


def record(layout: Any, data: bytes = b"", exemplar: Any = 0) -> bytes:
    """A record with names that are missing, the order of all, then names and layouts."""
    text = dumps([exemplar, layout])
    return INLINE.to_bytes(2, "little") + count(len(text)) + text + data


def evil(layout: Any, data: bytes = b"") -> bytes:
    """A record with one attribute."""
    return record([[], [], "evil", layout], data)


@cache
def bomb(size: int, known: bool = True, value: bytes = b"\0") -> bytes:
    """A frame that says little of so many bytes."""
    packer = zstandard.ZstdCompressor().compressobj(size=size if known else -1)
    piece = value * MIB
    return b"".join(packer.compress(piece) for _ in range(size // MIB)) + packer.flush()


def frame_of(size: int) -> bytes:
    """A frame that claims a size and has an empty last block."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"


def packed(frame: bytes) -> bytes:
    return (INLINE | COMPRESSED).to_bytes(2, "little") + frame


def history(
    chunks: tuple[bytes, ...] = (),
    held: int = 0,
    tail: int = 0,
    data: bytes = b"",
    cost: tuple[int, int] = (1000, 2**20),
) -> bytes:
    """The data of a history: its `chunks` say that they hold `held` entries, for this cost."""
    head = struct.pack("<IIII", len(chunks), held, tail, len(data))
    sizes = b"".join(count(len(each)) for each in chunks)
    costs = struct.pack("<QQ", *cost) if chunks else b""
    return head + costs + sizes + b"".join(chunks) + data


def chunk(
    entries: int,
    layout: Any,
    planes: bytes,
    length: int | None = None,
    each: tuple[int, int] = (10, 2**10),
) -> bytes:
    """A chunk of a history, compressed, whose entries say that each costs so much."""
    text = dumps(layout)
    head = struct.pack("<IIQQ", entries, len(text) if length is None else length, *each)
    return zstandard.ZstdCompressor().compress(head + text + planes)


HUGE = (2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63, 2**64, 10**30)
DTYPES = (
    "|O", "O", "|V0", "<U0", "|S0", "|V8", "|S1000000", "<M8[ns]", "<i4,<f8", "(3,)<f8",
    "(100000,100000)<f8", "O,O", "|V2147483647", "<f3", "", "\0", "f" * 1000, "x",
)  # fmt: skip
SHAPES = (
    [-1], [-1, -1], [0], [2**40], [2**20, 2**20], [2**62, 4], [2**63], [2**64], [1] * 33, [1] * 65,
    [0] * 40, [1.5], [True], ["3"], [None], [[1]], "3", 3, None, {}, [0, 2**62],
)  # fmt: skip
ORDERS = ("F", "", None, 1, [5], [-1], [0, 0], [0, 1], ["0"], [0.5], [True], [[0]], [2**70], {})

Found = Iterator[tuple[str, Crafted]]
