"""Agents of all shards in a folder that every node sees: as of one turn, or not at all.

Each shard writes a store of its own into a folder of that turn, and the file that names it is
replaced in one step; what it named before goes afterwards.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from memprof.api.refill import Stored
from memprof.errors import StoreError, UsageError
from memprof.storage.untrusted import read_at_most, reason
from memprof.text import counted, shown
from memprof.upstream import load
from memprof.values.population import Share

FORMAT = "memprof.shards/1"
_NAME = "shards.json"
_MOST_BYTES = 64 << 20
_PLACE = re.compile(r"turn-[0-9a-f]{8}")
MOST_AGENTS = 10**9


def is_seed(value: Any) -> bool:
    """Whether it is a seed that a checkpoint can keep."""
    return type(value) is int and -(2**63) <= value < 2**63


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

    def check(self, folder: Path) -> None:
        """Check that it is one, of a folder that has its stores.

        Raises:
            ValueError: a field is not as it is ever written.
            OSError: its stores cannot be read.
        """
        for name, found, fine in (
            ("format", self.format, self.format == FORMAT),
            ("place", self.place, _PLACE.fullmatch(self.place)),
            ("agents", self.agents, 0 <= self.agents <= MOST_AGENTS),
            ("shards", self.shards, 1 <= self.shards <= max(1, self.agents)),
            ("turn", self.turn, self.turn >= 0),
            ("seed", self.seed, is_seed(self.seed)),
            ("backend", self.backend, self.backend in ("numpy", "jax")),
        ):
            if not fine:
                raise ValueError(f"{name} is {shown(found)}")
        gone = np.array((-1, *self.removed, self.agents), np.int64)
        if not (np.diff(gone) > 0).all():
            raise ValueError("removed are not agents in their order")
        if sum(1 for _ in (folder / self.place).iterdir()) < self.shards:
            raise ValueError(f"not all of {counted(self.shards, 'store')} are there")

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
    content = msgspec.json.encode(checkpoint)
    if len(content) > _MOST_BYTES:
        raise StoreError(
            f"{shown(folder)}: {len(checkpoint.removed):,} agents that were removed are too many "
            "for a checkpoint; begin a population of those that are left"
        )
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / _NAME)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"{shown(folder)}: cannot be written: {reason(error)}") from error


def sweep(folder: Path, checkpoint: Checkpoint) -> None:
    """What was in the folder before this checkpoint goes, once nobody needs it any more."""
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
        found = msgspec.json.decode(read_at_most(folder / _NAME, _MOST_BYTES), type=Checkpoint)
        found.check(folder)
    except OSError as error:
        raise StoreError(
            f"{shown(folder)}: has no checkpoint of shards ({_NAME}: {reason(error)}); expected a "
            "folder that population.checkpoint(folder) or save(folder) has written"
        ) from error
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise StoreError(f"{shown(folder)}: {_NAME} is damaged: {error}") from error
    return found


def _is_ours(name: str) -> bool:
    return name.startswith(("turn-", _NAME))
