"""Records that say what is not so; each kind gives names and stores."""

from __future__ import annotations

from typing import Any

import zstandard

from tests.crafted.pieces import (
    COMPRESSED,
    DTYPES,
    INLINE,
    MIB,
    ORDERS,
    SHAPES,
    Crafted,
    Found,
    bomb,
    count,
    deep,
    evil,
    frame_of,
    packed,
    record,
)

DIGESTS = (1, -1, -8, 0, 16, 2**31, 2**70, "8", "0" * 16, None, 8.0, True, [8], {})
TEXT = count(4) + b"evil"


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
        yield f"{positions} of A", plain.with_record(record([[], [], "A", ["o", [1], ["x"]]], data))
    for kind in "=xe":
        for place in (None, 0, -1, 10**9, "0", 1.5, 2**70):
            yield f"{kind} {place}", plain.with_record(evil([kind, place], bytes(8)))


def containers(plain: Crafted) -> Found:
    """Lists, tuples, dicts and object arrays that are larger, deeper or otherwise than they may."""
    most = count(2**32 - 1)
    for inner in (["n"], ["b"], ["l"], ["t"], ["d"], ["I", "0x1"], ["o", [0]], ["=", 0]):
        for outer in (["l", inner], ["t", inner], ["o", [2**32 - 1], inner], ["o", [4], inner]):
            yield f"4,294,967,295 of {inner} in {outer[0]}", plain.with_record(evil(outer, most))
    for levels in (6, 20):
        layout: Any = ["n"]
        for _ in range(levels):
            layout = ["l", layout]
        data = b"".join(count(1000) for _ in range(levels))
        yield f"{levels} levels of 1000 each", plain.with_record(evil(layout, data))
        wide = b"".join(count(100) for _ in range(25_000))
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
    for byte in (b"", b"\x02", b"\xff", b"\x01\x01"):
        yield f"bool {byte!r}", plain.with_record(evil(["b"], byte))
    for kind in "nbiIfcsygSYaovwFlktdrhzpxe=~":
        yield f"{kind} without anything", plain.with_record(evil([kind]))
        yield f"{kind} with too much", plain.with_record(evil([kind, 1, 2, 3, 4], bytes(99)))
        for data in (b"\xff" * 4, b"\xff" * 64, count(3) + b"\xff\xfe\xfd", count(2**31)):
            yield f"{kind} of {data[:8]!r}", plain.with_record(evil([kind], data))
    for kind in ("", "?", "nn", None, 1, [], {}, "\0", "evil", True, deep(300)):
        yield f"kind {kind}", plain.with_record(evil([kind]))
        yield f"layout {kind}", plain.with_record(evil(kind))


def orders(plain: Crafted) -> Found:
    """Orders of attributes that are none, and changes that have no such form."""
    names = [*plain.names]
    orders = (
        names,
        names[:-1],
        names[::-1],
        [*names, "none"],
        ["none"],
        names * 2,
        names[:1] * len(names),
        "A",
        ["A"],
        [1],
        None,
        {},
        [["A"]],
        ["A"] * 10**5,
        5,
    )
    for number, order in enumerate(orders):
        yield f"order {number} {str(order)[:30]}", plain.with_record(record([[], order]))
        both = record([["A"], order, "evil", ["n"]])
        yield f"order {number} {str(order)[:30]} without A", plain.with_record(both)
    for shape in (
        [],
        [[]],
        [[], [], []],
        [[], [], "a"],
        None,
        5,
        "ab",
        {},
        [None, None],
        [[], []] * 9,
    ):
        yield f"changes {shape}", plain.with_record(record(shape))


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
        yield f"template {exemplar}", plain.with_record(record([[], []], exemplar=exemplar))
    for names in (["A"], ["none"], ["A", "A"], [1], [None], [["A"]], "A", None, {}, ["A"] * 10**5):
        yield f"missing {str(names)[:30]}", plain.with_record(record([names, []]))
    for name in (
        1,
        None,
        [],
        {},
        True,
        "",
        "__class__",
        "__dict__",
        "__weakref__",
        "__del__",
        "infer_states",
        "\ud800",
        "a" * 10**6,
        "A",
        "qs",
    ):
        yield f"attribute {str(name)[:20]!r}", plain.with_record(record([[], [], name, ["n"]]))
    yield "a name without a layout", plain.with_record(record([[], [], "evil"]))
    yield "a name twice", plain.with_record(record([[], [], "evil", ["n"], "evil", ["n"]]))
    many = [part for n in range(50_000) for part in (f"a{n}", ["n"])]
    yield "50,000 attributes", plain.with_record(record([[], [], *many]))
    for name in ("evil", "A", "B", "D", "q_pi", "pA", "qs"):
        for mark in (["~"], ["~", 8], *(["~", size] for size in DIGESTS)):
            data = bytes(8)
            yield f"derived {name} {mark}", plain.with_record(record([[], [], name, mark], data))
        for mark in (["~"], ["~", 8]):
            for of in ("G", "pA", "pB", "gamma", "E"):
                both = record([[], [], name, mark, of, ["n"]])
                yield f"derived {name} {mark} without {of}", plain.with_record(both)
                other = record([[], [], name, mark, of, ["s"]], bytes(8 * len(mark) - 8) + TEXT)
                yield f"derived {name} {mark} of text {of}", plain.with_record(other)
    good = zstandard.ZstdCompressor().compress(record([[], []])[2:])
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
