"""Stores as they are, but for one thing; each kind is endless."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from random import Random
from typing import Any

from memprof.storage.compression import decompressed
from memprof.storage.header import FORMAT
from tests.crafted.pieces import (
    COMPRESSED,
    DTYPES,
    HUGE,
    INLINE,
    SHAPES,
    Crafted,
    Found,
    count,
    deep,
    dumps,
)

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
            whole = {"format": FORMAT, "checksum": zlib.crc32(packed_)}
            return dumps({**whole, "content": content})

        yield "mutated header", replace(plain, header=write)


def random_classes(plain: Crafted, random: Random) -> Found:
    """Descriptions of the class, or names of passes, with one thing replaced; endless."""
    while True:
        name = random.choice(("class", "passes"))
        text = dumps(mutated(json.loads(plain.blobs[name]), random))
        yield f"mutated {name}", plain.with_blob(name, text)
