"""Archives of arrays, damaged as bytes and as arrays, and read as a worker reads a model.

Each ends as an agent that lives a step, or as a `ScenarioError` without a traceback.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from tests.hostile.trees import damaged
from tests.hostile.trial import LONGEST_MESSAGE, Input, unfit

_SCENARIO = """\
name: case
model: {kind: npz, path: model.npz}
agents: 1
steps: 1
passes: none
"""
_HEADS = (
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000,), }",
    "{'descr': '<c16', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': 'nonsense', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f8', 'fortran_order': 1, 'shape': (1,), }",
    "{'descr': '<f8', 'shape': (1,), }",
    "[" * 500, "(" * 9_000, "{", "", "\x00" * 20, "1 +", "lambda: 1", "{'descr': '<f8'",
    "9" * 5_000,
)  # fmt: skip


def right() -> dict[str, np.ndarray]:
    """A model of two factors and two modalities."""
    return {
        "A0": np.full((2, 2, 3), 0.5),
        "A1": np.full((3, 2, 3), 1 / 3),
        "B0": np.repeat(np.eye(2)[:, :, None], 2, axis=2),
        "B1": np.eye(3)[:, :, None],
        "C0": np.array([0.0, 1.0]),
        "C1": np.zeros(3),
        "D0": np.array([0.5, 0.5]),
        "D1": np.full(3, 1 / 3),
    }


def made(random: Random) -> Iterator[tuple[str, bytes]]:
    """Without end: a name, and what such a file may hold."""
    while True:
        way = random.choice((_bytes, _bytes, _array, _array, _name, _head, _member, _bomb))
        name, data = way(random)
        yield f"{way.__name__.strip('_')} {name}"[:120], data


def _saved(arrays: dict[str, Any], *, packed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def _bytes(random: Random) -> tuple[str, bytes]:
    return damaged(_saved(right(), packed=random.random() < 0.5), random)


def _array(random: Random) -> tuple[str, bytes]:
    """One array of other values, type or shape."""
    arrays: dict[str, Any] = right()
    name = random.choice(list(arrays))
    old = arrays[name]
    ways: dict[str, Callable[[], Any]] = {
        "nan": lambda: old * np.nan,
        "inf": lambda: old + np.inf,
        "-inf": lambda: old - np.inf,
        "negative": lambda: -old,
        "huge": lambda: old * 1e300,
        "zero": lambda: old * 0,
        "scalar": lambda: np.float64(1),
        "empty": lambda: old[:0],
        "flat": old.ravel,
        "longer": lambda: np.concatenate([old, old]),
        "deeper": lambda: old[..., None],
        "transposed": lambda: old.T,
        "complex": lambda: old.astype(complex),
        "text": lambda: old.astype(str),
        "objects": lambda: old.astype(object),
        "bool": lambda: old.astype(bool),
        "half": lambda: old.astype(np.float16),
        "big end": lambda: old.astype(">f8"),
        "dates": lambda: old.astype("M8[s]"),
        "fields": lambda: np.zeros(3, [("a", float)]),
        "many axes": lambda: np.ones((1,) * 30),
    }
    way = random.choice(list(ways))
    with np.errstate(all="ignore"):
        arrays[name] = ways[way]()
    return f"{name} {way}", _saved(arrays)


def _name(random: Random) -> tuple[str, bytes]:
    """One array missing, or under another name."""
    arrays = right()
    name = random.choice(list(arrays))
    other = random.choice(
        ("", "A2", "A99999", "a0", "E0", "B-1", "\x1b[2J", "../up", "A٣", "A00", "C")
    )
    taken = arrays.pop(name)
    return f"{name} as {other!r}", _saved({**arrays, other: taken} if other else arrays)


def _zipped(name: str, data: bytes, random: Random) -> bytes:
    """The archive with one member replaced."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice((0, 8))) as archive:
        for each, array in right().items():
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(f"{each}.npy", data if each == name else member.getvalue())
    return file.getvalue()


def _head(random: Random) -> tuple[str, bytes]:
    """An array whose head says what is not so."""
    head = random.choice(_HEADS).encode() + b"\n"
    version = random.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x07\x00"))
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(head))
    rest = bytes(random.choice((0, 8, 800)))
    data = b"\x93NUMPY" + version + length + head + rest
    return head[:60].decode(), _zipped(random.choice(("A0", "B1", "D0")), data, random)


def _member(random: Random) -> tuple[str, bytes]:
    """What is no array in the place of one, or more than the archive says."""
    name = random.choice(("no array", "empty", "twice", "many", "locked", "lying"))
    if name in ("no array", "empty"):
        return name, _zipped("A0", b"hello" if name == "no array" else b"", random)
    if name == "many":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for number in range(20_000):
                archive.writestr(f"A{number}.npy", b"")
        return name, file.getvalue()
    data = bytearray(_saved(right()))
    if name == "twice":
        return name, bytes(data).replace(b"A1.npy", b"A0.npy")
    place = data.rindex(b"PK\x01\x02")
    if name == "locked":
        data[place + 8] |= 1
    else:
        data[place + 24 : place + 28] = struct.pack("<I", random.choice((0, 5, 2**31)))
    return name, bytes(data)


def _bomb(random: Random) -> tuple[str, bytes]:
    """Zeros that take a thousand times less in the file."""
    file = io.BytesIO()
    size = random.choice((10**6, 2 * 10**8))
    with zipfile.ZipFile(file, "w", 8) as archive, archive.open("A0.npy", "w") as member:
        head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({size // 8},), }}\n".encode()
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
        for _ in range(size // 10**6):
            member.write(bytes(10**6))
    return f"{size:,}", file.getvalue()


def tried(data: bytes, folder: Path) -> str:
    """How a population of the model ends."""
    (folder / "model.npz").write_bytes(data)
    (folder / "case.yaml").write_text(_SCENARIO)
    try:
        population = NumpyPopulation(load_scenario(folder / "case.yaml").spec(()), Stopwatch())
        for _ in population.live(population.grow(1), range(1)):
            pass
        population.close()
    except ScenarioError as error:
        said = str(error)
        if error.detail:
            return f"wrong: a traceback with {said[:200]}"
        if len(said) > LONGEST_MESSAGE or "\n" in said or unfit(said):
            return f"wrong: the message {said[:200]!r}"
        return "refused"
    return "agents"


def inputs(count: int, seed: int, folder: Path) -> Iterator[Input]:
    """So many archives."""
    for name, data in islice(made(Random(seed)), count):
        yield name, partial(tried, data, folder)
