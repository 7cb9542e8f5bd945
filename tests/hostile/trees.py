"""Mutations of what JSON and YAML hold: values of fields, lists and maps; and of the bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Path = tuple[str | int, ...]
Way = Callable[[Any, Path, Random], None]

HOSTILE_TEXTS = (
    "", " ", "\x1b[2J\x1b]0;x\x07", "a\n::error::HOSTILE\n::set-output name=x::y", "\u202etxt.exe",
    "\x00", "\x9b31m", "##[error]x", "</script><script>alert(1)", "=cmd()", "[red]x[/red]", "`" * 9,
    "w" * 5_000, "\ud800", "a\r\nb", "../../../up", "nan", "none", "auto", "1" * 400, "{{ 7 * 7 }}",
    "| a | b |", "\u2028::error::x", "é" * 50, "%s%n", "x\ty", "::error::first",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 7, 1000, 10**6, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, 10**99, -(10**30),
    10**400, 0.0, -0.0, 0.5, -0.5, 1e-9, 1e-300, 5e-324, 1e30, 1e99, -1e99, 1e308, -1e308,
)  # fmt: skip
OTHERS = (None, True, False, [], {}, [[]], [None], {"a": 1}, [1, 2, 3], ["a"])
_PIECES = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n",
    b"\t",
    b"[" * 50,
    b'"',
    b"&a *a",
    b"{",
    b": ",
)


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a tree, the root first."""
    yield at
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for step, each in pairs:
        yield from paths(each, (*at, step))


def get(tree: Any, path: Path) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def mutated(tree: Any, random: Random, times: int = 1) -> tuple[str, Any]:
    """A copy with so many changes, and what they are."""
    tree = copy.deepcopy(tree)
    done = []
    for _ in range(times):
        places = [each for each in paths(tree) if each]
        if places:
            path = random.choice(places)
            way = random.choice(_ways(get(tree, path)))
            way(tree, path, random)
            done.append(f"{way.__name__.strip('_')} {'.'.join(map(str, path))}"[:120])
    return "; ".join(done), tree


def _ways(value: Any) -> list[Way]:
    """How such a value can be changed, those that leave its type as it is most often."""
    match value:
        case bool() | None:
            special: list[Way] = [_retype]
        case int() | float():
            special = [_number] * 6
        case str():
            special = [_text] * 4 + [_alike] * 3
        case list():
            special = [_shorten, _empty, _repeat, _reverse] * 2
        case _:
            special = [_rename, _drop, _add]
    return [_delete, _retype, _alike, _swap, *special]


def _delete(tree: Any, path: Path, random: Random) -> None:
    del get(tree, path[:-1])[path[-1]]


def _put(tree: Any, path: Path, value: Any) -> None:
    get(tree, path[:-1])[path[-1]] = value


def _retype(tree: Any, path: Path, random: Random) -> None:
    _put(tree, path, copy.deepcopy(random.choice((*OTHERS, *NUMBERS, *HOSTILE_TEXTS))))


def _number(tree: Any, path: Path, random: Random) -> None:
    old = get(tree, path)
    near = (-old, old + 1, old - 1, old * 1000, old * 2, old / 7 if abs(old) < 10**300 else 0)
    _put(tree, path, random.choice([each for each in (*NUMBERS, *near) if type(each) is type(old)]))


def _text(tree: Any, path: Path, random: Random) -> None:
    _put(tree, path, random.choice(HOSTILE_TEXTS))


def _alike(tree: Any, path: Path, random: Random) -> None:
    """Something of the same type from elsewhere."""
    kind = type(get(tree, path))
    found = [each for each in paths(tree) if each and type(get(tree, each)) is kind]
    _put(tree, path, copy.deepcopy(get(tree, random.choice(found))))


def _swap(tree: Any, path: Path, random: Random) -> None:
    apart = [
        each
        for each in paths(tree)
        if each and each[: len(path)] != path and path[: len(each)] != each
    ]
    if apart:
        other = random.choice(apart)
        here, there = get(tree, path), get(tree, other)
        _put(tree, path, there)
        _put(tree, other, here)


def _shorten(tree: Any, path: Path, random: Random) -> None:
    old = get(tree, path)
    del old[random.randrange(len(old)) if old else 0 :]


def _empty(tree: Any, path: Path, random: Random) -> None:
    get(tree, path).clear()


def _repeat(tree: Any, path: Path, random: Random) -> None:
    old = get(tree, path)
    old += copy.deepcopy(old) * random.choice((1, 2, 20))


def _reverse(tree: Any, path: Path, random: Random) -> None:
    get(tree, path).reverse()


def _rename(tree: Any, path: Path, random: Random) -> None:
    old = get(tree, path)
    if old:
        name = random.choice(list(old))
        old[random.choice((*HOSTILE_TEXTS, str(name).upper()))] = old.pop(name)


def _drop(tree: Any, path: Path, random: Random) -> None:
    old = get(tree, path)
    if old:
        del old[random.choice(list(old))]


def _add(tree: Any, path: Path, random: Random) -> None:
    name = random.choice(("unknown", "name", "passes", "A"))
    get(tree, path)[name] = random.choice((*NUMBERS, *HOSTILE_TEXTS))


def damaged(text: bytes, random: Random) -> tuple[str, bytes]:
    """The bytes of a file with some changed, lost, doubled or put in."""
    data = bytearray(text)
    done = []
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        place = random.randrange(len(data) or 1)
        way = random.choice(("flip", "byte", "cut", "lose", "double", "insert"))
        if way == "flip" and data:
            data[place] ^= 1 << random.randrange(8)
        elif way == "byte" and data:
            data[place] = random.choice((0, 0x1B, 0x22, 0x7B, 0x5B, 0x80, 0xFF, 0x26, 0x2A))
        elif way == "cut" and random.random() < 0.3:
            del data[place:]
        elif way == "lose":
            del data[place : place + random.choice((1, 10, 100))]
        elif way == "double":
            piece = data[place : place + random.choice((1, 20, 500))]
            data[place:place] = piece * random.choice((1, 3, 200))
        else:
            data[place:place] = random.choice(_PIECES)
        done.append(f"{way} at {place}")
    return ", ".join(done[:5]), bytes(data[:1_000_000])
