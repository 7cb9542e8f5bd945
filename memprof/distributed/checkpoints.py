"""Agents of all shards in a folder that every node sees: as of one turn, or not at all.

Each shard writes a store of its own into a folder of that turn, and the file that names it is
replaced in one step; what it named before goes afterwards.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import msgspec

from memprof.api.refill import Stored
from memprof.errors import StoreError, UsageError
from memprof.storage.untrusted import reason
from memprof.text import shown
from memprof.upstream import load
from memprof.values.population import Share

FORMAT = "memprof.shards/1"
_NAME = "shards.json"
_MOST_BYTES = 64 << 20


class Checkpoint(msgspec.Struct, frozen=True):
    """All agents as of one turn.

    Attributes:
        place: the folder of the shards' stores, by its name.
        shards: how many there were.
        agents: how many there have been; `removed` are gone.
        turn: how many turns they have taken.
        seed: of all chance.
        passes, options: as of `optimize`.
        backend: PyMDP's, of the agents.
        agent_class: its module and name.
    """

    place: str
    shards: int
    agents: int
    removed: tuple[int, ...]
    turn: int
    seed: int
    passes: tuple[str, ...]
    options: dict[str, Any]
    backend: str
    agent_class: tuple[str, str]
    format: str = FORMAT

    def kind(self, folder: Path, given: type | None) -> type | None:
        """The class of the agents: PyMDP's own, or the one that is given.

        Raises:
            UsageError: it is none of these, and none is given.
        """
        if given is not None or self.backend == "jax":
            return given
        own = load("agent").Agent
        if self.agent_class == (own.__module__, own.__qualname__):
            return own  # type: ignore[no-any-return]
        raise UsageError(
            f"agent_class: {shown(folder)} has agents of {shown('.'.join(self.agent_class))}; "
            "import the class and say distribute(folder, agent_class=...)"
        )

    def stores(self, folder: Path) -> list[Stored]:
        """Where the shards' agents are."""
        return [
            Stored(folder / self.place / str(number), Share(number, self.shards))
            for number in range(self.shards)
        ]


def begin(folder: Path) -> Path:
    """A new place in the folder, for the next checkpoint.

    Raises:
        StoreError: it is a folder of something else, or cannot be used.
    """
    place = folder / f"turn-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = [each.name for each in folder.iterdir() if not _is_ours(each.name)]
        if strange:
            raise StoreError(
                f"{shown(folder)}: expected a new or empty folder, or one with a checkpoint, found "
                f"{shown(sorted(strange)[0])} in it; give another folder"
            )
        place.mkdir()
    except OSError as error:
        raise StoreError(
            f"{shown(folder)}: cannot be written: {reason(error)}; give another folder"
        ) from error
    return place


def commit(folder: Path, checkpoint: Checkpoint) -> None:
    """Let this be the folder's checkpoint, in one step.

    Raises:
        StoreError: it cannot be written; the last one is still there.
    """
    draft = folder / f"{_NAME}.{secrets.token_hex(4)}"
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(checkpoint))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / _NAME)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"{shown(folder)}: cannot be written: {reason(error)}") from error
    for each in folder.iterdir():
        if each.name not in (_NAME, checkpoint.place):
            shutil.rmtree(each, ignore_errors=True)


def give_up(place: Path) -> None:
    """A checkpoint that failed leaves nothing."""
    shutil.rmtree(place, ignore_errors=True)


def read(folder: Path) -> Checkpoint:
    """The checkpoint of a folder.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    try:
        with (folder / _NAME).open("rb") as file:
            found = msgspec.json.decode(file.read(_MOST_BYTES), type=Checkpoint)
    except OSError as error:
        raise StoreError(
            f"{shown(folder)}: has no checkpoint of shards ({_NAME}: {reason(error)}); expected a "
            "folder that population.checkpoint(folder) or save(folder) has written"
        ) from error
    except msgspec.MsgspecError as error:
        raise StoreError(f"{shown(folder)}: {_NAME} is damaged: {error}") from error
    if found.format != FORMAT or found.shards < 1 or Path(found.place).name != found.place:
        raise StoreError(f"{shown(folder)}: expected {FORMAT}, found {shown(found.format)}")
    return found


def _is_ours(name: str) -> bool:
    return name.startswith(("turn-", _NAME))
