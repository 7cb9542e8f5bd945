"""A store that is written as a whole: complete, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memprof.errors import UsageError
from memprof.storage.activation import Activation
from memprof.storage.constants import constant
from memprof.storage.disk_records import DiskRecords
from memprof.storage.generators import put_away, put_back
from memprof.storage.mmap import Mmap

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Draft(Mmap):
    """A store to which agents are written one after the other, in the order of their indices. They
    belong to another population, and stay as they are."""

    instead = "keep the population in memory"
    constants = staticmethod(constant)  # those of the other population, where it has them

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


class DraftOfPart(Draft):
    """One for who puts the agents together again, with generators of random numbers that are
    attributes of theirs, which other stores cannot keep."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        self._generators: dict[int, tuple[int, Any]] = {}

    def write(self, activation: Activation, index: int) -> None:
        attributes = vars(activation.agent)
        generators = put_away(attributes)
        try:
            self._check_own(generators, index)
            super().write(activation, index)
        finally:
            put_back(attributes, generators)

    def _check_own(self, generators: Mapping[str, Any], index: int) -> None:
        for name, generator in generators.items():
            other, _ = self._generators.setdefault(id(generator), (index, generator))
            if other != index:
                raise UsageError(
                    f"agents: {name} ({type(generator).__name__}): agent {index} has it in common "
                    f"with agent {other}, and would have its own copy afterwards; give it its own"
                )


@contextmanager
def saving(folder: Path, kind: type[Draft] = Draft) -> Iterator[Draft]:
    """A store in a new or empty folder, which is there once the block has ended. A process that is
    killed before leaves a hidden folder `.NAME.*` beside it, which is no store; any exception
    leaves nothing.

    Raises:
        StoreError: the folder cannot be used.
    """
    with ExitStack() as stack:
        yield kind(folder, stack)
