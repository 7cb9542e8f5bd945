"""A model from a NumPy archive with arrays A0 A1 .. B0 B1 .. C0 .. D0 ..; never unpickled."""

from __future__ import annotations

import math
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from memprof.errors import ScenarioError
from memprof.models import GenerativeModel, object_array
from memprof.text import cut, format_size, one_line, shown

_NAME = re.compile(r"([ABCD])(0|[1-9]\d{0,3})\.npy", re.ASCII)
# Beyond this, an archive was packed to fill the memory of whoever reads it.
_MOST_TIMES, _ALWAYS_BYTES = 200, 64 * 10**6
# What zipfile, zlib and NumPy raise for bytes that are not theirs.
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    LookupError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ArithmeticError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def builder(path: str, folder: str) -> Callable[[int], GenerativeModel]:
    """Every call reads the file anew, as scripts that make agents one by one do."""
    file = Path(folder) / path

    def build(agent: int) -> GenerativeModel:
        return GenerativeModel(_arguments(_read(file, path), path))

    return build


def _read(file: Path, path: str) -> dict[str, np.ndarray]:
    """The arrays of an archive by the names of its members."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(members, file, path)
            return {each.filename: _array(archive, each) for each in members}
    except _DAMAGE as error:
        reason = cut(one_line(str(error)) or type(error).__name__, 200)
        raise _wrong(path, f"cannot be read without unpickling: {reason}") from None


def _check_members(members: list[zipfile.ZipInfo], file: Path, path: str) -> None:
    """What the list of members says, before any of them is unpacked."""
    names: set[str] = set()
    for member in members:
        name = member.filename.removesuffix(".npy")
        if not _NAME.fullmatch(member.filename):
            raise _wrong(path, f"expected arrays A0 A1 .. B0 .. C0 .. D0 .., found {shown(name)}")
        if name in names:
            raise _wrong(path, f"holds {name} twice")
        names.add(name)
    size = sum(each.file_size for each in members)
    if size > max(_ALWAYS_BYTES, _MOST_TIMES * file.stat().st_size):
        raise _wrong(
            path,
            f"its arrays take {format_size(size)}, more than {_MOST_TIMES} times the size of the "
            "file; write them with numpy.savez, which does not compress",
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        _check_head(stream, member)
    with archive.open(member) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        return array


def _check_head(stream: IO[bytes], member: zipfile.ZipInfo) -> None:
    """See that it is numbers, and as many as there are bytes for: nothing is allocated for more."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    name, version = member.filename.removesuffix(".npy"), np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"{name} has version {version} of NumPy's format, not 1.0 or 2.0")
    shape, _, dtype = readers[version](stream)
    if dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {dtype}; expected numbers")
    expected, found = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
    if expected != found:
        raise ValueError(f"{name} has shape {shape}, {expected} bytes, but there are {found}")


def _arguments(arrays: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    parts: dict[str, dict[int, np.ndarray]] = {}
    for name, array in arrays.items():
        match = _NAME.fullmatch(name)
        assert match is not None
        parts.setdefault(match[1], {})[int(match[2])] = array.astype(np.float64, copy=False)
    for letter, numbered in parts.items():
        missing = set(range(len(numbered))) - set(numbered)
        if missing:
            raise _wrong(path, f"{letter}{min(missing)} is missing")
    return {
        letter: object_array([numbered[i] for i in range(len(numbered))])
        for letter, numbered in parts.items()
    }


def _wrong(path: str, problem: str) -> ScenarioError:
    return ScenarioError("model.path", f"{cut(path, 200)}: {problem}")
