"""JAX agents at rest in a folder: arrays as .npy files, and beside them a header of JSON with
shapes, types and digests. What was written is rebuilt bit by bit, or refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import jax.numpy as jnp
import numpy as np

from memprof.errors import StoreError, UsageError
from memprof.populations.jax_resting import Resting
from memprof.populations.jax_settings import decoded, encoded
from memprof.storage.columns import Blocks, Column, Digest, File, npy_header, row_bytes
from memprof.storage.header import JAX_HEADER, Place, lock_for_writing
from memprof.storage.numbering import Numbering
from memprof.storage.rows import Rows
from memprof.storage.untrusted import (
    check_regular,
    decoding,
    failure,
    is_count,
    parsed,
    read_at_most,
    reason,
    shown,
)
from memprof.upstream.installed import version
from memprof.upstream.jax_agent import Agent, leaves_of, made_of, settings_of

FORMAT = "memprof.jax/1"
_MOST_BYTES = 64 << 20
_AGAIN = "save the agents again"


def save(folder: Path, resting: Resting, numbering: Numbering) -> None:
    """Fill a new or empty folder with these agents, as a whole or not at all.

    Raises:
        StoreError: it cannot be used.
        UsageError: some setting cannot be kept in a file.
    """
    settings = _settings(resting.agent)
    place = Place(folder)
    try:
        with place.draft() as draft:
            columns = {}
            for number, name in enumerate(resting.rows.columns):
                columns[name] = _saved(
                    draft / f"column-{number:04}.npy",
                    resting.rows.column(name),
                    resting.rows.columns[name],
                    len(resting),
                    resting.rows.size,
                )
            _write(draft, settings, resting, numbering, columns)
            place.publish(draft)
    except OSError as error:
        raise failure(f"{shown(folder)}: cannot be written", error) from error


def _saved(
    path: Path, parts: Iterable[np.ndarray], like: Column, rows: int, size: int
) -> dict[str, Any]:
    digest = Digest()
    with path.open("wb") as file:
        file.write(npy_header((rows, *like.shape), like.dtype))
        for part in parts:
            digest.add(part)
            file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    File(like.shape, like.dtype, size, path).resize(-(-rows // size))
    return _entry(path, like, digest)


def _entry(path: Path, like: Column, digest: Digest) -> dict[str, Any]:
    return {
        "file": path.name,
        "shape": list(like.shape),
        "dtype": like.dtype.name,
        "digest": digest.text(),
    }


def _settings(agent: Agent) -> dict[str, Any]:
    return {name: encoded(name, value) for name, value in settings_of(agent).items()}


def _write(
    folder: Path,
    settings: Mapping[str, Any],
    resting: Resting,
    numbering: Numbering,
    columns: Mapping[str, Any],
) -> None:
    """The template and the header."""
    agent = resting.agent
    kind = type(agent)
    content = {
        "pymdp": version(),
        "class": [kind.__module__, kind.__qualname__],
        "settings": settings,
        "template": {n: _kept(folder, n, getattr(agent, n)) for n in leaves_of(agent)},
        "own": list(resting.own),
        "mind": resting.minded,
        "chunk": resting.rows.size,
        "columns": columns,
        "given": numbering.given,
        "indices": numbering.in_rows(),
    }
    whole = {"format": FORMAT, "digest": _digest(content), "content": content}
    text = json.dumps(whole, separators=(",", ":")).encode()
    if len(text) > _MOST_BYTES:
        raise StoreError(f"{shown(folder)}: the header would take more than 64 MiB; save fewer")
    (folder / JAX_HEADER).write_bytes(text)


def _digest(content: Any) -> str:
    found = Digest()
    found.add(np.frombuffer(json.dumps(content, separators=(",", ":")).encode(), np.uint8))
    return found.text()


def _kept(folder: Path, name: str, value: Any) -> Any:
    """An attribute of the template, with its arrays in files."""
    if value is None:
        return None
    if type(value) is list:
        return [_kept(folder, f"{name}.{i}", each) for i, each in enumerate(value)]
    if not hasattr(value, "dtype"):
        raise UsageError(
            f"{name}: expected an array or a list of arrays, found {type(value).__name__}, which "
            "a file cannot keep"
        )
    array = np.asarray(value)
    like = Blocks(array.shape[1:], array.dtype, 1, [])
    return _saved(folder / f"template-{name}.npy", [array], like, 1, 1)


class Stored:
    """A folder that agents live in: open for one process, and whole again once that has closed it.

    While it is open the header says so: nobody takes a store for whole whose program was killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[bytes] | None = lock_for_writing(folder)

    @classmethod
    def new(cls, folder: Path) -> tuple[Stored, Place]:
        """In a new or empty folder."""
        place = Place(folder)
        try:
            with place.draft() as draft:
                place.publish(draft)
        except OSError as error:
            raise failure(f"{shown(folder)}: cannot be created", error) from error
        found = cls(folder)
        found.begin()
        return found, place

    def begin(self) -> None:
        """Say that agents are changing."""
        (self.folder / JAX_HEADER).write_text(json.dumps({"format": FORMAT, "open": True}))

    def finish(self, resting: Resting, numbering: Numbering) -> None:
        """Say what is there now.

        Raises:
            UsageError: some setting cannot be kept in a file.
        """
        settings = _settings(resting.agent)
        columns = {}
        for name, column in resting.rows.columns.items():
            assert isinstance(column, File)
            column.finish(len(resting))
            digest = Digest()
            for part in resting.rows.column(name):
                digest.add(part)
            columns[name] = _entry(column.path, column, digest)
        _write(self.folder, settings, resting, numbering, columns)

    def close(self) -> None:
        """Let others open it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def read_header(folder: Path) -> Mapping[str, Any]:
    """What a folder says that it has.

    Raises:
        StoreError: it is no store of JAX agents, or open.
    """
    try:
        found = parsed(read_at_most(folder / JAX_HEADER, _MOST_BYTES))
        form, is_open = found["format"], found.get("open")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = reason(error) if isinstance(error, OSError | ValueError) else "no format"
        raise StoreError(
            f"{shown(folder)}: is no population of JAX agents ({JAX_HEADER}: {why}): give another "
            "folder"
        ) from error
    if form != FORMAT:
        raise StoreError(
            f"{shown(folder)}: expected format {FORMAT}, found {shown(str(form))}: {_AGAIN} with "
            "this version of memprof"
        )
    if is_open:
        raise StoreError(
            f"{shown(folder)}: is open in a program, or was not closed by the one that changed it, "
            "and then its agents may be of different steps: close it, or go back to a folder that "
            "save() has written"
        )
    content = found.get("content")
    if not isinstance(content, dict) or found.get("digest") != _digest(content):
        raise StoreError(f"{shown(folder)} is damaged ({JAX_HEADER} has another digest): {_AGAIN}")
    return content


def load(folder: Path, kind: type[Agent] | None, *, in_place: bool) -> tuple[Resting, Numbering]:
    """The agents in a folder; in its files, or read into memory.

    Args:
        kind: their class; None for that whose name the folder has, in a module that is imported.

    Raises:
        StoreError: it is damaged, or open, or there is no such class.
    """
    found = read_header(folder)
    chosen = kind or _class(folder, found)
    with decoding(shown(folder), _AGAIN):
        return _loaded(folder, chosen, found, in_place)


def _class(folder: Path, found: Mapping[str, Any]) -> type[Agent]:
    with decoding(shown(folder), _AGAIN):
        module, name = map(str, found["class"])
    kind = getattr(sys.modules.get(module), name, None)
    if not isinstance(kind, type) or not issubclass(kind, Agent):
        raise StoreError(
            f"{shown(folder)}: has agents of {shown(module)}.{shown(name)}, which is not imported: "
            "import it first, or say reopen(folder, agent_class=...)"
        )
    return kind


def _loaded(
    folder: Path, kind: type[Agent], found: Mapping[str, Any], in_place: bool
) -> tuple[Resting, Numbering]:
    indices, given, chunk = found["indices"], found["given"], found["chunk"]
    if not is_count(given) or not is_count(chunk) or not chunk or not isinstance(indices, list):
        raise ValueError("expected numbers of agents")
    if len({*indices}) != len(indices) or not all(is_count(i) and i < given for i in indices):
        raise ValueError("expected each index once")
    settings = {name: decoded(value) for name, value in found["settings"].items()}
    static = {each.name: bool(each.metadata.get("static")) for each in fields(kind)}
    here = {**dict.fromkeys(found["template"], False), **dict.fromkeys(settings, True)}
    if {**here, "batch_size": True} != static:
        raise StoreError(
            f"{shown(folder)}: expected the fields of {kind.__qualname__}, found those of "
            f"{shown(str(found['class']))}: say reopen(folder, agent_class=...)"
        )
    leaves = {name: _read(folder, value) for name, value in found["template"].items()}
    agent = made_of(kind, {**settings, **leaves})
    resting = Resting(agent)
    rows = len(indices)
    columns = {
        name: _column(folder, entry, rows, chunk) for name, entry in found["columns"].items()
    }
    resting.restore(Rows.of(chunk, columns, rows, folder), found["own"], found["mind"] is True)
    if not in_place:
        resting.rows = resting.rows.in_memory()
    return resting, Numbering.of(given, indices)


def _read(folder: Path, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_read(folder, each) for each in value]
    column = _column(folder, value, 1, 1)
    return jnp.array(column.block(0))


def _column(folder: Path, entry: Mapping[str, Any], rows: int, size: int) -> File:
    """A column in a file that is as the header says."""
    name, shape, dtype = entry["file"], tuple(entry["shape"]), jnp.dtype(entry["dtype"])
    if Path(name).name != name or not all(map(is_count, shape)) or dtype.kind == "O":
        raise ValueError(f"expected a file of an array, found {name!r}")
    path = folder / name
    check_regular(path)
    header, each = npy_header((rows, *shape), dtype), row_bytes(shape, dtype)
    if path.stat().st_size != len(header) + -(-rows // size) * size * each:
        raise ValueError(f"{name} has another length")
    with path.open("rb") as file:
        if file.read(len(header)) != header:
            raise ValueError(f"{name} has another shape or type")
    column = File(shape, dtype, size, path)
    digest = Digest()
    for part in Rows.of(size, {name: column}, rows, folder).column(name):
        digest.add(part)
    if digest.text() != entry["digest"]:
        raise ValueError(f"{name} has other bytes than were written")
    return column
