"""Templates, headers and keys that say what is not so; each kind gives names and stores."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from memprof.storage.header import FORMAT
from tests.crafted.pieces import (
    DTYPES,
    HUGE,
    ORDERS,
    SHAPES,
    Crafted,
    Found,
    count,
    deep,
    dumps,
    evil,
    index_key,
    record,
)


def templates(plain: Crafted) -> Found:
    """Templates whose description, class, passes, data or arrays are crafted."""
    whole, arrays = json.loads(plain.blobs["description"])
    for name in plain.blobs:
        yield f"no {name}", plain.with_blob(name, None)
        yield f"empty {name}", plain.with_blob(name, b"")
        yield f"half of {name}", plain.with_blob(name, plain.blobs[name][: -3 or None])
        yield f"more than {name}", plain.with_blob(name, plain.blobs[name] + bytes(64))
    texts = (
        b"null", b"1", b"[]", b"{}", b"\xff", b"[" * 200_000, b'{"a":' * 200_000, b"9" * 5000,
        b"[" + b"[]," * 10**6 + b"[]]", b'{"layout":["n"],"arrays":[]}', b"NaN", b'[["n"],[]]',
        b'{"class":1,"layout":1,"arrays":1}', b" " * 10**7, b"1e999", b'"' + b"x" * 10**7 + b'"',
    )  # fmt: skip
    for name in ("description", "class", "passes"):
        for text in texts:
            yield f"{name} {text[:20]!r} ({len(text)})", plain.with_blob(name, text)
    first = arrays[0]
    for dtype in DTYPES:
        others = [[dtype, *first[1:]], *arrays[1:]]
        yield (
            f"array of {dtype[:20]!r}",
            plain.with_blob("description", dumps([whole, others])),
        )
    for shape in SHAPES:
        others = [[first[0], shape, *first[2:]], *arrays[1:]]
        yield (
            f"array of shape {str(shape)[:40]}",
            plain.with_blob("description", dumps([whole, others])),
        )
    for order in ORDERS:
        others = [[*first[:2], order], *arrays[1:]]
        yield (
            f"array of order {str(order)[:40]}",
            plain.with_blob("description", dumps([whole, others])),
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
        text = dumps([layout, arrays])
        yield f"template of {str(layout)[:40]}", plain.with_blob("description", text)


def shared(plain: Crafted) -> Found:
    """Templates in which one thing is there many times, or attributes are of odd kinds."""
    _, arrays = json.loads(plain.blobs["description"])

    def of(layout: Any, data: bytes = b"") -> Crafted:
        text = dumps([["d", ["evil", layout]], arrays])
        blobs = {**plain.blobs, "description": text, "data": data}
        return replace(plain, blobs=blobs, records=[record([[], []])])

    for levels in (10, 60, 300):
        for kind in "lto":
            head = [kind, [2]] if kind == "o" else [kind]
            layout: Any = [*head, ["n"]]
            for _ in range(levels):
                layout = [*head, layout, ["r"]]
            pairs = struct.pack("<II", 1, 1) * levels + count(2)
            for first in (1, levels, 0):
                steps = [levels - n if first == levels else n + first for n in range(levels)]
                data = pairs + b"".join(map(count, steps))
                yield f"{levels} doublings of {kind} from {first}", of(layout, data)
    for number in (1_000, 50_000):
        many = ["l", ["a", "<f8", [8000], "C"], ["r"]]
        data = struct.pack("<II", 1, number) + bytes(64_000) + count(1) * number
        yield f"an array {number} times", of(many, data)
        changed = evil(["l", ["x"]], count(number + 1) + count(0) * (number + 1))
        yield f"an array {number} times, changed", of(many, data).with_record(changed)
        same = evil(["l", ["="]], count(number + 1))
        yield f"an array {number} times, the same", of(many, data).with_record(same)
    for layout, data in (
        (["l", ["r"]], count(1) + count(1)), (["h", ["i"], None, 1, 0], bytes(16)),
        (["k", [["n"], ["l", ["r"]]]], count(1) * 2), (["v", "<f8", [2**20], [0]], bytes(8)),
        (["v", "<f8", [2**24], [0]], bytes(8)), (["I", "0x" + "f" * 10**5], b""), (["~"], b""),
        (["w", ["e", 0], "<f8", [2**20], [0], 0], b""), (["F", ["e", 0]], b""), (["="], b""),
        (["z", "<f8", [2**20], "C"], count(0)), (["l", ["n"]], count(90_000)), (["x"], count(0)),
        (["l", ["n"]], count(2**32 - 1)), (["l", ["l"]], count(25_000)), (["S"], count(0)),
        (["l", ["a", "<f8", [0], "C"]], count(12_000)), (["l", ["t"]], count(20_000)),
    ):  # fmt: skip
        yield f"{str(layout)[:40]} of {data[:8]!r}", of(layout, data)


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
        yield f"key {index}", replace(plain, entries=((index_key(index), b""),))
    for key in (b"\xff", b"\xff" * 9, b"\xff" * 500, b"\0\0", index_key(0) + b"\0", b"\0" * 7):
        yield f"key {key[:9]!r}", replace(plain, entries=((key, b"value"),))
    for size in range(6):
        yield f"a value of {size} bytes", replace(plain, entries=((index_key(1), bytes(size)),))
    for value in (b"", b"1234", b"1234" + index_key(1), bytes(12), bytes(500), b"\xff" * 12):
        yield f"removed {value[:9]!r}", replace(plain, entries=((b"\0", value),))
    yield "no records", replace(plain, records=[])
    yield "a removed record alone", replace(plain, records=[], entries=((b"\0", bytes(12)),))


def _header(change: Callable[[Any], Any], **fields: Any) -> Callable[[str], bytes]:
    def write(text: str) -> bytes:
        content = json.loads(text)["content"]
        change(content)
        packed_ = json.dumps(content, separators=(",", ":"))
        whole = {"format": FORMAT, "checksum": zlib.crc32(packed_.encode())}
        return dumps({**whole, "content": content, **fields})

    return write


def _set(where: dict[str, Any], name: str, value: Any) -> None:
    where[name] = value
