"""Histories that say what is not so; each kind gives names and stores."""

from __future__ import annotations

import struct
from typing import Any

from tests.crafted.pieces import (
    MIB,
    Crafted,
    Found,
    bomb,
    chunk,
    count,
    deep,
    evil,
    frame_of,
    history,
    record,
)

NAME = "prev_actions"
MANY = (0, 1, 32, 64, 65, 1000, 2**31, 2**32 - 1)
WRONG = (-1, 1.5, "3", None, [], {}, True, False, 2**63, 2**70, 10**300)


def _store(plain: Crafted, data: bytes, layout: Any = ("i",), *rest: Any) -> Crafted:
    """A store whose first agent has this history; `rest` is its limit, costs and last entries."""
    return plain.with_record(
        record([[], [], NAME, ["h", layout, *(rest or (None, 100, 10**6))]], data)
    )


def tails(plain: Crafted) -> Found:
    """Histories whose counts, layouts, limits and costs say what is not so."""
    for layout in (["n"], None, ["i"], ["f"], ["r"], ["h", None], ["x"], "n", 1, [], ["l", ["n"]]):
        for tail in MANY:
            for data in (b"", bytes(8), bytes(100), b"\xff" * 64):
                made = history(tail=tail, data=data)
                yield f"{tail} of {layout} in {len(data)} bytes", _store(plain, made, layout)
    two = history(tail=2, data=bytes(16))
    for value in (0, 1, 10**9, *WRONG):
        yield f"limit {str(value)[:20]}", _store(plain, two, ["i"], value, 1, 0)
        yield f"{str(value)[:20]} elements each", _store(plain, two, ["i"], None, value, 0)
        yield f"{str(value)[:20]} bytes each", _store(plain, two, ["i"], None, 1, value)
        full = history(tail=10**6)
        yield f"a million of None, limit {str(value)[:20]}", _store(plain, full, ["n"], value, 0, 0)
    for size in range(1, 6):
        parts = (None, 1, 0, ["n"])[: size - 1]
        bare = record([[], [], NAME, ["h", ["i"], *parts][:size]], two)
        yield f"a layout of {size} parts", plain.with_record(bare)
    for fresh in (
        ["n"],
        ["r"],
        ["h", ["i"], None, 1, 0],
        ["x"],
        None,
        5,
        ["l", ["r"]],
        ["t", ["r"]],
    ):
        data = history() + count(1) + bytes(64)
        yield f"a last entry {fresh}", _store(plain, data, None, None, 0, 0, fresh)
        yield f"many last entries {fresh}", _store(plain, data, None, None, 0, 0, *[fresh] * 5_000)
    sparse = count(1) + bytes(12)
    for entry, data in (
        (["z", "|u1", [2**24], "C"], count(0)),
        (["z", "|u1", [2**24], "C"], sparse),
        (["v", "|u1", [2**24], [0]], b"1"),
        (["l", ["n"]], count(2**32 - 1)),
        (["l", ["l", ["n"]]], count(1000) * 64),
        (["o", [2**20], ["n"]], count(2**20)),
        (["p", "|u1", [64 * MIB], "C"], count(len(bomb(64 * MIB))) + bomb(64 * MIB)),
        (["d", *([f"k{n}", ["n"]] for n in range(1000))], b""),
        (["I", "0x" + "f" * 10**5], b""),
        (["a", "<f8", [0], "C"], b""),
    ):
        for times in (1, 30, 10**5):
            kept = times if times * len(data) < 10**6 else 1
            made = history(tail=times, data=data * kept)
            name = f"{times} entries of {str(entry)[:30]}, {len(data)} bytes"
            yield name, _store(plain, made, entry, None, 10**5, 2**24)
            yield f"{name}, for nothing", _store(plain, made, entry, None, 0, 0)
            yield f"{name}, for all there is", _store(plain, made, entry, None, 2**62, 2**62)


def chunks(plain: Crafted) -> Found:
    """Histories whose chunks say what is not so."""
    for held in (0, 1, 64, 1000, 2**32 - 1):
        for inner in (0, 1, 32, 64, 65, 2**32 - 1):
            for layout in (["n"], ["i"], ["a", "|O", [1], "C"], ["l", ["n"]], None):
                pieces = (chunk(inner, layout, b"\xff" * 64),)
                made = history(pieces, held)
                yield f"a chunk of {inner} {layout}, said {held}", _store(plain, made)
    crafted = {
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
        "few entries of no bytes": chunk(64, ["n"], b""),
        "uneven planes": chunk(3, ["i"], bytes(25)),
        "a large layout": chunk(1, ["l", *[["n"]] * 10**6], bytes(8)),
        "many in an entry": chunk(1, ["l", ["n"]], count(2**32 - 1)),
        "large entries": chunk(1, ["z", "|u1", [2**30], "C"], count(0)),
        "lists": chunk(64, ["l", ["l"]], bytes(64 * 4)),
        "something that is known": chunk(1, ["r"], count(0)),
        "a megabyte": chunk(64, ["i"], bytes(2**20)),
        "a bomb in an entry": chunk(
            1, ["p", "|u1", [64 * MIB], "C"], count(len(bomb(64 * MIB))) + bomb(64 * MIB)
        ),
    }
    for what, piece in crafted.items():
        for held in (1, 64, 2**32 - 1):
            for each in ((1, 0), (10**5, 2**24), (0, 0), (2**63, 2**63)):
                for times in (1, 100):
                    made = history((piece,) * times, held, cost=each)
                    yield f"{times} chunks: {what}, said {held}, for {each}", _store(plain, made)
    for each in ((0, 0), (2**40, 0), (0, 2**40), (2**64 - 1, 2**64 - 1), (1000, 2**20)):
        costly = (chunk(32, ["l", ["n"]], count(1000) * 32, each=each),) * 10
        yield f"10,000 elements that cost {each}", _store(plain, history(costly, 320))
        yield "as many, for that", _store(plain, history(costly, 320, cost=each))
    for number in (2**31, 2**32 - 1):
        data = struct.pack("<IIII", number, 1, 1, 0) + bytes(64)
        yield f"{number} chunks", _store(plain, data)
    yield (
        "chunks beyond the data",
        _store(plain, struct.pack("<IIIIQQ", 2, 2, 0, 0, 0, 0) + b"\xff" * 12),
    )
    inside = ["h", ["i"], None, 1, 0]
    data = count(2) + history(tail=1, data=bytes(8)) * 2
    yield "in a list", plain.with_record(evil(["l", inside], data))
    yield (
        "again in a list",
        plain.with_record(
            evil(["l", inside, ["r"]], struct.pack("<II", 1, 1) + data[4:36] + count(1))
        ),
    )
    many = count(5_000) + history() * 5_000
    yield "5,000 in a list", plain.with_record(evil(["l", ["h", None, None, 0, 0]], many))
    packed_ = history((bomb(16 * MIB),), 1, cost=(10**6, 0))
    yield "16 MB in a list", plain.with_record(evil(["l", inside], count(1) + packed_))
