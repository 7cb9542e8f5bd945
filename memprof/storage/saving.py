"""A store that is written as a whole: complete, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from memprof.storage.activation import Activation
from memprof.storage.disk_records import DiskRecords
from memprof.storage.mmap import Mmap

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Draft(Mmap):
    """A store to which agents are written one after the other, in the order of their indices. They
    belong to another population, and stay as they are."""

    instead = "keep the population in memory"

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(store=folder)
        self._stack = stack

    def create(self, folder: Path, identity: bytes, blobs: Mapping[str, Buffer]) -> DiskRecords:
        return self._stack.enter_context(DiskRecords.draft(folder, identity, blobs))

    def write(self, activation: Activation, index: int) -> None:
        """Write an agent; those between it and the one before count as removed.

        Raises:
            UsageError: a folder cannot keep it.
            StoreError: there is no room.
        """
        record = self.passivate(activation.agent, index, activation)
        del self._next_whole[index]
        self.end(index)
        self.records.append(record)

    def end(self, count: int) -> None:
        """Let there have been so many agents, of which those that are missing were removed."""
        assert self._disk is not None
        self._disk.skip(count - len(self._disk))


@contextmanager
def saving(folder: Path) -> Iterator[Draft]:
    """A store in a new or empty folder, which is there once the block has ended. A process that is
    killed before leaves a hidden folder `.NAME.*` beside it, which is no store; any exception
    leaves nothing.

    Raises:
        StoreError: the folder cannot be used.
    """
    with ExitStack() as stack:
        yield Draft(folder, stack)
