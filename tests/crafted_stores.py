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
from random import Random
from typing import Any

import lmdb
import zstandard

from memprof.store.blobs import write_blobs
from memprof.store.compression import decompressed
from memprof.store.disk_records import DiskRecords
from memprof.store.header import Header

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
                transaction.put(_key(index), _sealed(_key(index), record, identity))
            for key, value in self.entries:
                transaction.put(key, value)
        os.truncate(folder / "data.mdb", DATA_BYTES)

    def with_record(self, record: bytes) -> Crafted:
        """Another first record."""
        return replace(self, records=[record, *self.records[1:]])

    def with_blob(self, name: str, blob: bytes | None) -> Crafted:
        """Another blob, or none."""
        blobs = {**self.blobs, name: blob}
        return replace(self, blobs={n: each for n, each in blobs.items() if each is not None})


def _key(index: int) -> bytes:
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
    text = dumps([exemplar, layout])
    return INLINE.to_bytes(2, "little") + count(len(text)) + text + data


def evil(layout: Any, data: bytes = b"") -> bytes:
    """A record with one attribute."""
    return record([[], "evil", layout], data)


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
    chunks: tuple[bytes, ...] = (), held: int = 0, tail: int = 0, data: bytes = b""
) -> bytes:
    sizes = b"".join(count(len(each)) for each in (data, *chunks))
    return struct.pack("<III", len(chunks), held, tail) + sizes + b"".join(chunks) + data


def chunk(entries: int, layout: Any, planes: bytes, length: int | None = None) -> bytes:
    text = dumps(layout)
    head = struct.pack("<II", entries, len(text) if length is None else length)
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


# --- kinds of crafted stores, each a generator of names and stores


Found = Iterator[tuple[str, Crafted]]


def arrays(plain: Crafted) -> Found:
    """Arrays and scalars of crafted types, shapes and orders."""
    word = (0x4141414141414141).to_bytes(8, "little")
    for kind in "azp":
        for dtype in DTYPES:
            yield (
                f"{kind} of {dtype[:20]!r}",
                plain.with_record(evil([kind, dtype, [1], "C"], word)),
            )
        for shape in SHAPES:
            name = f"{kind} of shape {str(shape)[:40]}"
            yield name, plain.with_record(evil([kind, "<f8", shape, "C"], word))
            yield f"{name}, no data", plain.with_record(evil([kind, "<f8", shape, "C"]))
        for order in ORDERS:
            name = f"{kind} of order {str(order)[:40]}"
            yield name, plain.with_record(evil([kind, "<f8", [1, 1], order], word))
    for dtype in DTYPES:
        yield f"scalar of {dtype[:20]!r}", plain.with_record(evil(["g", dtype], word))
    frames = (bomb(1024 * MIB), bomb(1024 * MIB, known=False), frame_of(2**60), frame_of(0), b"")
    for number, frame in enumerate(frames):
        data = count(len(frame)) + frame
        yield f"packed frame {number}", plain.with_record(evil(["p", "<f8", [8], "C"], data))
        huge = evil(["p", "|u1", [1024 * MIB], "C"], data)
        yield f"packed frame {number} of a gigabyte", plain.with_record(huge)
    for positions in (0, 1, 1000, 2**32 - 1):
        data = count(positions) + b"\xff" * 64
        yield f"{positions} of zeros", plain.with_record(evil(["z", "<f8", [4], "C"], data))
        yield f"{positions} of nothing", plain.with_record(evil(["x"], data))
        yield f"{positions} of A", plain.with_record(record([[], "A", ["o", [1], ["x"]]], data))
    for kind in "=xe":
        for place in (None, 0, -1, 10**9, "0", 1.5, 2**70):
            yield f"{kind} {place}", plain.with_record(evil([kind, place], bytes(8)))


def containers(plain: Crafted) -> Found:
    """Lists, tuples, dicts and object arrays that are larger, deeper or otherwise than they may."""
    most = count(2**32 - 1)
    for inner in (["n"], ["b", True], ["l"], ["t"], ["d"], ["I", "0x1"], ["o", [0]], ["=", 0]):
        for outer in (["l", inner], ["t", inner], ["o", [2**32 - 1], inner], ["o", [4], inner]):
            yield f"4,294,967,295 of {inner} in {outer[0]}", plain.with_record(evil(outer, most))
    for levels in (6, 20):
        layout: Any = ["n"]
        for _ in range(levels):
            layout = ["l", layout]
        data = b"".join(count(1000) for _ in range(levels))
        yield f"{levels} levels of 1000 each", plain.with_record(evil(layout, data))
        wide = b"".join(count(100) for _ in range(100_000))
        yield f"{levels} levels of 100 each", plain.with_record(evil(layout, wide))
    for levels in (300, 5_000, 200_000):
        for layout in (deep(levels), ["l", deep(levels)], ["o", [1], deep(levels)]):
            yield f"{levels} levels", plain.with_record(evil(layout, count(1) * 1000))
        text = b'["l",' * levels + b'["n"]' + b"]" * levels
        whole = b'[0,[[],"evil",' + text + b"]]"
        data = INLINE.to_bytes(2, "little") + count(len(whole)) + whole + count(1) * levels
        yield f"{levels} lists in each other", plain.with_record(data)
    for number in (0, 1, 2, 1000, 2**31, 2**32 - 1):
        yield f"back to {number}", plain.with_record(evil(["r"], count(number)))
        data = count(2) + count(number)
        yield f"back to {number} in a list", plain.with_record(evil(["l", ["r"]], data))
        data = count(1) + count(number)
        yield f"a dict of {number}", plain.with_record(evil(["k", [["r"], ["r"]]], data * 2))
    for keys in ([["l"], ["n"]], [["d"], ["n"]], [["n"]], [], ["n"], None, [["a"], ["n"]]):
        for kind in "dk":
            yield f"{kind} of {keys}", plain.with_record(evil([kind, keys], bytes(64)))
    for shape in SHAPES:
        name = f"objects of shape {str(shape)[:40]}"
        yield name, plain.with_record(evil(["o", shape, ["n"]], count(1)))
        yield f"{name}, none there", plain.with_record(evil(["o", shape]))


def atoms(plain: Crafted) -> Found:
    """Numbers and text that are none, and kinds that do not exist."""
    for digits in (
        "0x" + "f" * 10**6,
        "zz",
        "",
        "-",
        "0x",
        " 1",
        5,
        None,
        [],
        "1_0",
        "0x" + "f" * 40,
    ):
        yield f"int {str(digits)[:20]}", plain.with_record(evil(["I", digits]))
    for value in (1, 0, None, [], "true", deep(300)):
        yield f"bool {value}", plain.with_record(evil(["b", value]))
        yield f"bool without {value}", plain.with_record(evil(["b"]))
    for kind in "ifcsygaolktdrhzpxe=~":
        yield f"{kind} without anything", plain.with_record(evil([kind]))
        yield f"{kind} with too much", plain.with_record(evil([kind, 1, 2, 3, 4], bytes(99)))
        for data in (b"\xff" * 4, b"\xff" * 64, count(3) + b"\xff\xfe\xfd", count(2**31)):
            yield f"{kind} of {data[:8]!r}", plain.with_record(evil([kind], data))
    for kind in ("", "?", "nn", None, 1, [], {}, "\0", "evil", True, deep(300)):
        yield f"kind {kind}", plain.with_record(evil([kind]))
        yield f"layout {kind}", plain.with_record(evil(kind))


def records(plain: Crafted) -> Found:
    """Records that are none: their heads, frames and names of attributes."""
    for number in (0, 5, INLINE - 1, INLINE + COMPRESSED, COMPRESSED):
        yield f"layout number {number}", plain.with_record(number.to_bytes(2, "little") + bytes(9))
    for data in (b"", b"\0", b"\xff\x7f", b"\xff\x7f\0", b"\xff\x7f\xff\xff\xff\xff", b"\xff" * 99):
        yield f"record {data[:9]!r}", plain.with_record(data)
    for text in (b"", b"null", b"1", b"[]", b"[0]", b"[0,[]]", b"\xff", b"[0,[[],", b"[NaN,[[]]]"):
        data = b"\xff\x7f" + count(len(text)) + text
        yield f"text {text!r}", plain.with_record(data)
    for exemplar in (1, -1, 10**9, 2**70, "0", None, 0.0, False, [], {}):
        yield f"template {exemplar}", plain.with_record(record([[]], exemplar=exemplar))
    for names in (["A"], ["none"], ["A", "A"], [1], [None], [["A"]], "A", None, {}, ["A"] * 10**5):
        yield f"missing {str(names)[:30]}", plain.with_record(record([names]))
    for name in (
        1,
        None,
        [],
        {},
        True,
        "",
        "__class__",
        "__dict__",
        "\ud800",
        "a" * 10**6,
        "A",
        "qs",
    ):
        yield f"attribute {str(name)[:20]!r}", plain.with_record(record([[], name, ["n"]]))
    yield "a name without a layout", plain.with_record(record([[], "evil"]))
    yield "a name twice", plain.with_record(record([[], "evil", ["n"], "evil", ["n"]]))
    many = [part for n in range(50_000) for part in (f"a{n}", ["n"])]
    yield "50,000 attributes", plain.with_record(record([[], *many]))
    for name in ("evil", "A", "B", "D", "q_pi", "pA", "qs"):
        for mark in (["~"], ["~", 1], ["~", "0" * 16], ["~", None]):
            yield f"derived {name} {mark}", plain.with_record(record([[], name, mark]))
            for of in ("G", "pA", "gamma", "E"):
                both = record([[], name, mark, of, ["n"]])
                yield f"derived {name} {mark} without {of}", plain.with_record(both)
                other = record([[], name, mark, of, ["s"]], count(4) + b"evil")
                yield f"derived {name} {mark} of text {of}", plain.with_record(other)
    good = zstandard.ZstdCompressor().compress(record([[]])[2:])
    frames = {
        "a known bomb": bomb(1024 * MIB),
        "an unknown bomb": bomb(1024 * MIB, known=False),
        "a bomb of text": bomb(256 * MIB, value=b"["),
        "an exabyte": frame_of(2**60),
        "most bytes": frame_of(2**64 - 1),
        "nothing": frame_of(0),
        "no frame": b"no frame at all",
        "half a frame": good[:-3],
        "no bytes": b"",
        "two frames": good + good,
        "more than a frame": good + b"more",
        "a frame to skip": b"\x50\x2a\x4d\x18\xff\xff\xff\xff" + good,
        "a dictionary": b"\x28\xb5\x2f\xfd\x23\xff\xff\xff\xff\x00\x01\x00\x00",
        "a window of exabytes": b"\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00",
    }
    for name, frame in frames.items():
        yield f"frame: {name}", plain.with_record(packed(frame))


def histories(plain: Crafted) -> Found:
    """Histories whose counts, chunks and layouts say what is not so."""
    name = "prev_actions"
    for layout in (["n"], None, ["i"], ["f"], ["r"], ["h", None], ["x"], "n", 1, [], ["l", ["n"]]):
        for tail in (0, 1, 33, 2**31, 2**32 - 1):
            for data in (b"", bytes(8), bytes(100)):
                made = history(tail=tail, data=data)
                yield (
                    f"{tail} of {layout} in {len(data)} bytes",
                    plain.with_record(record([[], name, ["h", layout]], made)),
                )
    for limit in (0, -1, 1.5, "3", None, [], True, 2**70):
        made = record([[], name, ["h", ["i"], limit]], history(tail=2, data=bytes(16)))
        yield f"limit {limit}", plain.with_record(made)
    for held in (0, 1, 1000, 2**32 - 1):
        for inner in (0, 1, 32, 2**32 - 1):
            for layout in (["n"], ["i"], ["a", "|O", [1], "C"], ["l", ["n"]], None):
                pieces = (chunk(inner, layout, b"\xff" * 64),)
                made = record([[], name, ["h", ["i"]]], history(pieces, held))
                yield f"a chunk of {inner} {layout}, said {held}", plain.with_record(made)
    chunks = {
        "a bomb": bomb(1024 * MIB),
        "an unknown bomb": bomb(1024 * MIB, known=False),
        "an exabyte": frame_of(2**60),
        "no frame": b"no frame",
        "nothing": b"",
        "an empty frame": frame_of(0),
        "a long layout": chunk(1, ["i"], bytes(8), length=2**32 - 1),
        "no layout": chunk(1, ["i"], bytes(8), length=0),
        "a deep layout": chunk(1, deep(5_000), bytes(8)),
        "entries of no bytes": chunk(2**32 - 1, ["n"], b""),
        "uneven planes": chunk(3, ["i"], bytes(25)),
    }
    for what, piece in chunks.items():
        for held in (1, 2**32 - 1):
            made = record([[], name, ["h", ["i"]]], history((piece,), held))
            yield f"chunk: {what}, said {held}", plain.with_record(made)
    for pieces in (2**31, 2**32 - 1):
        data = struct.pack("<III", pieces, 1, 1) + bytes(64)
        yield f"{pieces} chunks", plain.with_record(record([[], name, ["h", ["i"]]], data))
    data = struct.pack("<III", 2, 2, 0) + b"\xff" * 12
    yield "chunks beyond the data", plain.with_record(record([[], name, ["h", ["i"]]], data))


def templates(plain: Crafted) -> Found:
    """Templates whose description, class, data or arrays are crafted."""
    described = json.loads(plain.blobs["description"])
    for name in plain.blobs:
        yield f"no {name}", plain.with_blob(name, None)
        yield f"empty {name}", plain.with_blob(name, b"")
        yield f"half of {name}", plain.with_blob(name, plain.blobs[name][: -3 or None])
        yield f"more than {name}", plain.with_blob(name, plain.blobs[name] + bytes(64))
    texts = (
        b"null", b"1", b"[]", b"{}", b"\xff", b"[" * 200_000, b'{"a":' * 200_000, b"9" * 5000,
        b"[" + b"[]," * 10**6 + b"[]]", b'{"layout":["n"],"arrays":[]}', b"NaN",
        b'{"class":1,"layout":1,"arrays":1}', b" " * 10**7, b"1e999", b'"' + b"x" * 10**7 + b'"',
    )  # fmt: skip
    for name in ("description", "class"):
        for text in texts:
            yield f"{name} {text[:20]!r} ({len(text)})", plain.with_blob(name, text)
    first = described["arrays"][0] if described.get("arrays") else ["<f8", [1], "C"]
    for dtype in DTYPES:
        arrays_ = [[dtype, *first[1:]]]
        yield (
            f"array of {dtype[:20]!r}",
            plain.with_blob("description", dumps({**described, "arrays": arrays_})),
        )
    for shape in SHAPES:
        arrays_ = [[first[0], shape, *first[2:]]]
        yield (
            f"array of shape {str(shape)[:40]}",
            plain.with_blob("description", dumps({**described, "arrays": arrays_})),
        )
    for order in ORDERS:
        arrays_ = [[*first[:2], order]]
        yield (
            f"array of order {str(order)[:40]}",
            plain.with_blob("description", dumps({**described, "arrays": arrays_})),
        )
    for layout in (
        ["n"],
        ["d"],
        ["d", ["A", ["n"]]],
        ["d", ["A", ["a", "|O", [1], "C"]]],
        ["e", 0],
        deep(300),
        deep(5_000),
        ["d", ["", ["e", -1]]],
        ["d", ["A", ["e", 10**9]]],
        ["l", ["n"]],
    ):
        text = dumps({**described, "layout": layout})
        yield f"template of {str(layout)[:40]}", plain.with_blob("description", text)


def headers(plain: Crafted) -> Found:
    """Headers with the right checksum and crafted content."""
    for value in (*HUGE, -1, 0, 1, 63, 64, True, None, "0", 1.5, [], {}, [1], "x" * 10**5):
        for field in ("start", "size", "checksum"):
            for blob in ("description", "data"):
                yield (
                    f"{field} of {blob} {str(value)[:20]}",
                    replace(
                        plain,
                        header=_header(
                            lambda c, b=blob, f=field, v=value: _set(c["blobs"][b], f, v)
                        ),
                    ),
                )
        yield (
            f"identity {str(value)[:20]}",
            replace(plain, header=_header(lambda c, v=value: _set(c, "identity", v))),
        )
        yield (
            f"blobs {str(value)[:20]}",
            replace(plain, header=_header(lambda c, v=value: _set(c, "blobs", v))),
        )
        yield (
            f"format {str(value)[:20]}",
            replace(plain, header=_header(lambda c: None, format=value)),
        )
        yield (
            f"checksum {str(value)[:20]}",
            replace(plain, header=_header(lambda c: None, checksum=value)),
        )
    for name in ("", "array0", "class", "\0", "x" * 10**5):
        yield (
            f"blob {name[:9]!r} missing",
            replace(plain, header=_header(lambda c, n=name: c["blobs"].pop(n, None))),
        )
        extent = {"start": 0, "size": 1, "checksum": 0}
        yield (
            f"blob {name[:9]!r} anew",
            replace(plain, header=_header(lambda c, n=name, e=extent: _set(c["blobs"], n, e))),
        )
    texts = (
        b"", b"null", b"[" * 10**6, b'{"a":' * 200_000, b"[" + b"[]," * 340_000 + b"[]]",
        b"9" * 10**6, b"\xff\xfe", b" " * 2**20, b" " * (2**20 + 1),
        b'{"":{' + b'"":{},' * 150_000 + b'"":{}}}',
        b'{"":{' + b'"0000000000000000000":{},' * 40_000 + b'"":{}}}',
        b"{" + b",".join(b'"%d":0' % n for n in range(80_000)) + b"}", b"1e999", b"-0", b"NaN",
    )  # fmt: skip
    for text in texts:
        yield f"header {text[:20]!r} ({len(text)})", replace(plain, header=lambda _, t=text: t)


def keys(plain: Crafted) -> Found:
    """Keys and values that no writer would have put there."""
    for index in (2**64 - 1, 2**63, 10**9, len(plain.records) + 1):
        yield f"key {index}", replace(plain, entries=((_key(index), b""),))
    for key in (b"\xff", b"\xff" * 9, b"\xff" * 500, b"\0\0", _key(0) + b"\0", b"\0" * 7):
        yield f"key {key[:9]!r}", replace(plain, entries=((key, b"value"),))
    for size in range(6):
        yield f"a value of {size} bytes", replace(plain, entries=((_key(1), bytes(size)),))
    for value in (b"", b"1234", b"1234" + _key(1), bytes(12), bytes(500), b"\xff" * 12):
        yield f"removed {value[:9]!r}", replace(plain, entries=((b"\0", value),))
    yield "no records", replace(plain, records=[])
    yield "a removed record alone", replace(plain, records=[], entries=((b"\0", bytes(12)),))


def _header(change: Callable[[Any], Any], **fields: Any) -> Callable[[str], bytes]:
    def write(text: str) -> bytes:
        content = json.loads(text)["content"]
        change(content)
        packed_ = json.dumps(content, separators=(",", ":"))
        whole = {"format": "memprof.store/2", "checksum": zlib.crc32(packed_.encode())}
        return dumps({**whole, "content": content, **fields})

    return write


def _set(where: dict[str, Any], name: str, value: Any) -> None:
    where[name] = value


# --- mutations of what is there


WILD: tuple[Any, ...] = (
    *DTYPES, *HUGE, *SHAPES, -1, 0, 1, 1.5, None, True, [], {}, "a", "l", "o", "h", "k", "r", "e",
    "z", "p", "=", "x", "~", deep(300), deep(5_000), ["n"], ["l", ["n"]], ["a", "|O", [1], "C"],
)  # fmt: skip


def mutated(value: Any, random: Random) -> Any:
    """A value of JSON with one part replaced, taken away, doubled or wrapped."""
    if isinstance(value, dict):
        items = mutated(list(value.items()), random)
        return dict(filter(_is_pair, items)) if isinstance(items, list) else items
    if not isinstance(value, list | tuple) or not value or random.random() < 0.15:
        return random.choice(WILD)
    place = random.randrange(len(value))
    changed = list(value)
    action = random.random()
    if action < 0.7:
        changed[place] = mutated(value[place], random)
    elif action < 0.8:
        del changed[place]
    elif action < 0.9:
        changed.insert(place, value[random.randrange(len(value))])
    else:
        changed[place] = [value[place]]
    return changed


def _is_pair(each: Any) -> bool:
    return isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], str)


def mutated_bytes(data: bytes, random: Random) -> bytes:
    """Data with one word replaced, its end taken away, or more of it."""
    action = random.random()
    if action < 0.2 or len(data) < 8:
        return data[: random.randrange(len(data) + 1)]
    if action < 0.3:
        return data + random.randbytes(random.randrange(100))
    place = random.randrange(len(data) - 4)
    word = random.choice((2**32 - 1, 2**31, 2**31 - 1, 0, 1, random.getrandbits(32)))
    return data[:place] + count(word) + data[place + 4 :]


def random_records(plain: Crafted, random: Random) -> Found:
    """Records as they are, but for one thing in their layout or data; endless."""
    while True:
        whole = random.choice(plain.records)
        data = whole[2:]
        if int.from_bytes(whole[:2], "little") & COMPRESSED:
            data = decompressed(data)
        end = 4 + int.from_bytes(data[:4], "little")
        text, rest = data[4:end], data[end:]
        if random.random() < 0.6:
            text = dumps(mutated(json.loads(text), random))
        else:
            rest = mutated_bytes(rest, random)
        made = INLINE.to_bytes(2, "little") + count(len(text)) + text + rest
        yield "mutated record", plain.with_record(made)


def random_templates(plain: Crafted, random: Random) -> Found:
    """Templates as they are, but for one thing in their description or data; endless."""
    while True:
        if random.random() < 0.6:
            text = dumps(mutated(json.loads(plain.blobs["description"]), random))
            yield "mutated description", plain.with_blob("description", text)
        else:
            yield (
                "mutated data",
                plain.with_blob("data", mutated_bytes(plain.blobs["data"], random)),
            )


def random_headers(plain: Crafted, random: Random) -> Found:
    """Headers with the right checksum, and one thing in them replaced; endless."""
    while True:
        seed = random.getrandbits(32)

        def write(text: str, seed: int = seed) -> bytes:
            content = mutated(json.loads(text)["content"], Random(seed))
            packed_ = dumps(content)
            whole = {"format": "memprof.store/2", "checksum": zlib.crc32(packed_)}
            return dumps({**whole, "content": content})

        yield "mutated header", replace(plain, header=write)


def random_classes(plain: Crafted, random: Random) -> Found:
    """Descriptions of the class with one thing replaced; endless."""
    while True:
        text = dumps(mutated(json.loads(plain.blobs["class"]), random))
        yield "mutated class", plain.with_blob("class", text)


CONTAINER = (headers, keys)
CONTENT = (arrays, containers, atoms, records, histories, templates)
RANDOM_CONTAINER = (random_headers, random_classes)
RANDOM_CONTENT = (random_records, random_templates)
