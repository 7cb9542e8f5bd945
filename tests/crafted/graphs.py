"""Views, frozen arrays, marks and cycles that no writer makes; each kind gives names and stores."""

from __future__ import annotations

import struct
from typing import Any

import zstandard

from tests.crafted.pieces import (
    HUGE,
    MIB,
    SHAPES,
    Crafted,
    Found,
    bomb,
    count,
    evil,
    packed,
    record,
)

WORDS = bytes(range(64))
STRIDES = (
    [0],
    [-8],
    [3],
    [1],
    [8],
    [2**62],
    [-(2**62)],
    [2**63],
    [2**70],
    [1.5],
    ["8"],
    [None],
    [True],
    [[8]],
    [],
    [8, 8],
    [0] * 40,
    "8",
    8,
    None,
    {},
)
BASES: tuple[tuple[Any, bytes], ...] = (
    (["a", "<f8", [8], "C"], WORDS),
    (["a", "<f8", [2, 4], [1, 0]], WORDS),
    (["a", "<f8", [0], "C"], b""),
    (["o", [1], ["n"]], count(1)),
    (["l", ["n"]], count(8)),
    (["n"], b""),
    (["r"], count(0)),
    (["=", 0], b""),
    (["F", ["a", "<f8", [8], "C"]], WORDS),
    (["v", "<f8", [4], [16]], WORDS),
    (["v", "<f8", [8], [-8]], WORDS),
    (["x"], count(0)),
    (["z", "<f8", [2**20], "C"], count(0)),
    (["s"], count(2) + b"ab"),
    (["e", 0], b""),
    (["w"], b""),
    (["h", ["i"], None, 1, 0], bytes(16)),
    ("a", b""),
    (None, b""),
    (["a", "<M8[ns]", [8], "C"], WORDS),
)


def views(plain: Crafted) -> Found:
    """Views of what is none, and strides and starts that lead elsewhere."""
    for base, data in BASES:
        for dtype in ("<f8", "|u1", "|O", "<U2"):
            made = evil(["w", base, dtype, [1], [8], 0], data)
            yield f"view of {str(base)[:30]} as {dtype}", plain.with_record(made)
        made = evil(["w", base, "<f8", [2**31], [0], 0], data)
        yield f"2 GB of {str(base)[:30]}", plain.with_record(made)
    whole = ["a", "<f8", [8], "C"]
    for start in (-1, -8, 1, 8, 56, 57, 64, *HUGE, 1.5, "0", None, [], True):
        made = evil(["w", whole, "<f8", [1], [8], start], WORDS)
        yield f"view from {str(start)[:20]}", plain.with_record(made)
    for strides in STRIDES:
        for shape in ([1], [2], [9], [2**40], [0], [1, 1]):
            name = f"{shape} by {str(strides)[:30]}"
            made = evil(["w", whole, "<f8", shape, strides, 0], WORDS)
            yield f"view of {name}", plain.with_record(made)
            made = evil(["v", "<f8", shape, strides], WORDS)
            yield f"gaps of {name}", plain.with_record(made)
    for shape in SHAPES:
        for kind in ("v", "w"):
            layout = [kind, *([whole] * (kind == "w")), "<f8", shape, [0], *([0] * (kind == "w"))]
            yield f"{kind} of shape {str(shape)[:40]}", plain.with_record(evil(layout, WORDS))
    axes = [10**18] * 50_000
    for layout in (["v", "<f8", axes, axes], ["z", "<f8", axes, "C"], ["a", "<f8", axes, "C"]):
        yield f"{layout[0]} of 50,000 axes", plain.with_record(evil(layout, WORDS))
    for kind, data in (("v", b"1"), ("z", count(0))):
        for times in (10, 1000, 10_000):
            layout = [kind, "|u1", [10**6], [0] if kind == "v" else "C"]
            many = evil(["l", layout], count(times) + data * times)
            yield f"{times} megabytes of {kind}", plain.with_record(many)
    zeros = ["z", "<f8", [10**5], [0, 0]]
    yield "an axis twice", plain.with_record(evil(zeros, count(0)))


def frozen(plain: Crafted) -> Found:
    """Arrays that are read-only and no arrays, and values of NumPy's own types."""
    for base, data in BASES:
        yield f"F of {str(base)[:40]}", plain.with_record(evil(["F", base], data))
    layout: Any = ["a", "<f8", [8], "C"]
    for _ in range(300):
        layout = ["F", layout]
    yield "F of F", plain.with_record(evil(layout, WORDS))
    yield "many F of F", plain.with_record(evil(["l", layout], count(1000) + WORDS * 1000))
    for name in ("A", "B", "qs", "E", "gamma", "none"):
        for kind in (["="], ["F", ["="]], ["x"], ["o", [1], ["="]], ["l", ["="]], ["t", ["="]]):
            data = count(1) * 16
            yield f"{name} as {kind}", plain.with_record(record([[], [], name, kind], data))
    for kind in "sySY":
        for text in (b"\xff\xfe", b"\xed\xa0\x80", b"\0" * 64, b"\xf4\x90\x80\x80", b""):
            data = count(len(text)) + text
            yield f"{kind} of {text[:9]!r}", plain.with_record(evil([kind], data))
            yield f"{kind} of {text[:9]!r}, half", plain.with_record(evil([kind], data[:-1]))
        for size in (5, 2**31, 2**32 - 1):
            yield f"{kind} of {size} bytes", plain.with_record(evil([kind], count(size) + b"1234"))
        many = evil(["l", [kind]], count(20_000) + count(0) * 20_000)
        yield f"20,000 of {kind}", plain.with_record(many)


def marks(plain: Crafted) -> Found:
    """Cycles, marks for what is not there yet, and keys that are none."""
    one = count(1)
    for levels in (1, 60, 400):
        layout: Any = ["t", ["l"]]
        for _ in range(levels):
            layout = ["t", layout, ["r"]]
        data = b"".join(struct.pack("<II", 1, 1) for _ in range(levels)) + one
        data += b"".join(count(1 + number) for number in range(levels))
        yield f"{levels} doublings of a tuple", plain.with_record(evil(layout, data))
        layout = ["l"]
        for _ in range(levels):
            layout = ["l", layout, ["r"]]
        data = b"".join(struct.pack("<II", 1, 1) for _ in range(levels))
        data += b"".join(count(levels - number) for number in range(levels))
        yield f"{levels} doublings of a list", plain.with_record(evil(layout, data))
    for inner in (
        ["l", ["r"]],
        ["t", ["r"]],
        ["o", [1], ["r"]],
        ["d", ["a", ["r"]]],
        ["k", [["n"], ["r"]]],
        ["k", [["r"], ["n"]]],
        ["w", ["r"], "<f8", [1], [8], 0],
        ["F", ["r"]],
        ["l", ["t", ["l", ["r"]]]],
        ["t", ["l", ["r"]]],
        ["t", ["t", ["r"]]],
        ["F", ["o", [1], ["r"]]],
        ["w", ["w", ["r"], "<f8", [1], [8], 0], "<f8", [1], [8], 0],
        ["h", None, None, 0, 0, ["r"]],
        ["l", ["h", None, None, 0, 0, ["l", ["r"]]]],
    ):
        for number in (0, 1, 2, 3):
            data = one + count(number) if inner[0] not in "dkwFh" else count(number)
            for made in (data, one * 3 + count(number), bytes(16) + count(number) * 4):
                yield f"{inner}: {number}, {len(made)}", plain.with_record(evil(inner, made))
    keys: tuple[tuple[Any, bytes], ...] = (
        (["f"], struct.pack("<d", float("nan"))),
        (["t", ["f"]], one + struct.pack("<d", float("nan"))),
        (["c"], struct.pack("<dd", float("nan"), 0)),
        (["g", "<f8"], struct.pack("<d", float("nan"))),
        (["g", "<M8[ns]"], struct.pack("<q", -(2**63))),
        (["l"], b""),
        (["a", "<f8", [1], "C"], WORDS[:8]),
        (["t", ["l"]], one),
        (["r"], count(0)),
        (["n"], b""),
        (["S"], count(0)),
        (["I", "0x" + "f" * 9999], b""),
        (["h", None, None, 0, 0], bytes(16)),
        (["d"], b""),
    )
    for key, data in keys:
        yield f"key {key}", plain.with_record(evil(["k", [key, ["n"]]], data))
        yield (
            f"key {key} twice",
            plain.with_record(evil(["k", [key, ["n"]], [key, ["n"]]], data * 2)),
        )
    same = [
        [["I", hex(2**61 - 1 << 0) if number == 0 else hex((2**61 - 1) * number)], ["n"]]
        for number in range(2**63 // (2**61 - 1), 20_000)
    ]
    yield "20,000 keys of one hash", plain.with_record(evil(["k", *same]))
    large = evil(["l", ["I", "0x" + "f" * 10**5]], count(90_000))
    yield "90,000 large ints", plain.with_record(large)
    wide = ["d", *([f"k{number}", ["n"]] for number in range(5_000))]
    yield "90,000 dicts", plain.with_record(evil(["l", wide], count(90_000)))
    for kind, layout in (
        ("empty lists", ["l"]),
        ("empty tuples", ["t"]),
        ("empty dicts", ["d"]),
        ("None", ["n"]),
        ("empty arrays", ["a", "<f8", [0], "C"]),
        ("empty objects", ["o", [0]]),
        ("empty words", ["g", "<U1"]),
        ("histories", ["h", None, None, 0, 0]),
    ):
        for number in (12_000, 90_000, 10**6, 10**7):
            data = count(number) + (
                bytes(16 * number) if layout[0] == "h" and number < 10**6 else b""
            )
            yield f"{number} {kind}", plain.with_record(evil(["l", layout], data))
    for inner, size in (
        (["b"], 1),
        (["i"], 8),
        (["g", "|u1"], 1),
        (["a", "|u1", [1], "C"], 1),
        (["s"], 4),
    ):
        data = count(15 * MIB // size)
        text = record([[], [], "evil", ["l", inner]], data)[2:]
        frame = zstandard.ZstdCompressor().compress(text + bytes(15 * MIB))
        yield f"15 MB of {inner} packed", plain.with_record(packed(frame))
    lists = record([[], [], "evil", ["l", *[["l"]] * 150_000]], bytes(4 * 150_000))[2:]
    frame = zstandard.ZstdCompressor().compress(lists)
    yield "a large layout packed", plain.with_record(packed(frame))
    yield "a large layout", plain.with_record(b"\xff\x7f" + lists)
    frame = bomb(15 * MIB)
    array = count(len(frame)) + frame
    yield "15 MB in p", plain.with_record(evil(["p", "|u1", [15 * MIB], "C"], array))
    twice = evil(["l", ["p", "|u1", [15 * MIB], "C"]], count(2) + array * 2)
    yield "15 MB in p twice", plain.with_record(twice)


def derivations(plain: Crafted) -> Found:
    """Attributes that follow from others with which PyMDP's functions do far too much."""

    def of(name: str, *entries: Any) -> Crafted:
        layouts, data = [], b""
        for attribute, layout, values in entries:
            layouts += [attribute, layout]
            data += values
        return plain.with_record(record([[], [], *layouts, name, ["~"]], data))

    row, column = (["v", "<f8", shape, [0, 0]] for shape in ([1, 4000], [4000, 1]))
    word = bytes(8)
    yield "an outer product", of("q_pi", ("G", row, word), ("gamma", column, word))
    yield "an outer sum", of("q_pi", ("G", row, word), ("E", column, word))
    yield (
        "a text many times",
        of("q_pi", ("G", ["s"], count(1) + b"a"), ("gamma", ["I", "0x7fffffff"], b"")),
    )
    yield (
        "a list many times",
        of("q_pi", ("G", ["l", ["n"]], count(1)), ("gamma", ["I", "0x7fffffff"], b"")),
    )
    objects = ["o", [1], ["l", ["n"]]]
    yield (
        "objects many times",
        of("q_pi", ("G", objects, count(1) * 2), ("gamma", ["I", "0x7fffffff"], b"")),
    )
    huge = ["I", "0x" + "f" * 10**5]
    yield "large ints", of("q_pi", ("G", huge, b""), ("gamma", huge, b""))
    yield (
        "objects by a large int",
        of("q_pi", ("G", ["o", [100], huge], count(100)), ("gamma", huge, b"")),
    )
    many = ["o", [1000], ["r"]]
    for prior in ("pA", "pB", "pD"):
        nested = ["o", [2], ["l", ["n"]], many]
        data = struct.pack("<II", 1, 1) + count(90_000) + count(1000) + count(1) * 1000
        yield f"{prior} of lists", of(prior[1], (prior, nested, data))
        for layout in (
            ["z", "<f8", [0, 0, 10**9], "C"],
            ["z", "<f8", [1, 1, 2 * 10**6], "C"],
            ["z", "<f8", [2 * 10**6, 1, 1], "C"],
            ["z", "|S8", [10], "C"],
            ["z", "<M8[ns]", [10], "C"],
        ):
            made = of(prior[1], (prior, ["o", [1], layout], count(1) + count(0)))
            yield f"{prior} of {layout[1]} {layout[2]}", made
        scalars = ["z", "<f8", [2 * 10**6], "C"]
        yield f"{prior} of numbers", of(prior[1], (prior, scalars, count(0)))
        small = ["o", [12_000], ["a", "<f8", [0, 1], "C"]]
        yield f"{prior} of 12,000 factors", of(prior[1], (prior, small, count(12_000)))
