"""What agents did: their actions, round by round; a few bits for each."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from memprof.storage.compression import compressed, decompressed

_ROUNDS = 32  # of a chunk
_LEVEL = 9


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rounds that are compressed."""

    frame: bytes
    rounds: int


class Past:
    """The actions of agents, in rounds in which each of them acted or did not.

    Attributes:
        limit: how many an agent keeps; None for all.
    """

    __slots__ = ("_chunks", "_dtype", "_factors", "_none", "_open", "_rows", "limit")

    def __init__(self, rows: int, factors: int, most: int, limit: int | None = None) -> None:
        """`most` is the largest action that there can be."""
        self._rows, self._factors, self.limit = rows, factors, limit
        self._dtype = np.min_scalar_type(most + 1)
        self._none = np.iinfo(self._dtype).max  # in place of an action: there was none
        self._chunks: list[_Chunk] = []
        self._open: list[np.ndarray] = []

    @classmethod
    def of(
        cls, histories: Sequence[np.ndarray], factors: int, most: int, limit: int | None
    ) -> Past:
        """That of agents that did these; [steps, factors] each."""
        past = cls(len(histories), factors, most, limit)
        past._begin(histories)
        return past

    def _begin(self, histories: Sequence[np.ndarray]) -> None:
        """Rows that did these, and nothing else."""
        longest = max(map(len, histories), default=0)
        together = self._nothing(longest)
        for row, history in enumerate(histories):
            together[longest - len(history) :, row] = history
        self._chunks, self._open = [], [*together]
        self._seal()

    def copied(self) -> Past:
        """The same once more, independent of this."""
        other = copy(self)
        other._chunks, other._open = [*self._chunks], [*self._open]
        return other

    @property
    def nbytes(self) -> int:
        """Of all rounds."""
        return sum(len(c.frame) for c in self._chunks) + sum(each.nbytes for each in self._open)

    def append(self, rows: np.ndarray, actions: np.ndarray) -> None:
        """What these rows did in one round; [rows, factors]."""
        (now,) = self._nothing(1)
        now[rows] = actions
        self._open.append(now)
        self._seal()
        if self.limit is not None and len(self._chunks) > 2 * (self.limit // _ROUNDS + 2):
            self._begin(self.histories())  # without what is older, whoever acts how often

    def row(self, row: int) -> np.ndarray:
        """What one agent did, oldest first; [steps, factors]."""
        found = np.concatenate([self._nothing(0)[:, 0], *(each[:, row] for each in self._each())])
        kept: np.ndarray = found[found[:, 0] != self._none].astype(np.int64)
        return kept if self.limit is None else kept[-self.limit :]

    def histories(self) -> list[np.ndarray]:
        """That of every row."""
        together = np.concatenate([self._nothing(0), *self._each()])
        kept = [each[each[:, 0] != self._none] for each in together.swapaxes(0, 1)]
        return kept if self.limit is None else [each[-self.limit :] for each in kept]

    def _each(self) -> list[np.ndarray]:
        """All rounds, in stretches of [rounds, rows, factors]."""
        shape = self._rows, self._factors
        return [
            *(
                np.frombuffer(decompressed(each.frame), self._dtype).reshape(each.rounds, *shape)
                for each in self._chunks
            ),
            *(each[np.newaxis] for each in self._open),
        ]

    def _nothing(self, rounds: int) -> np.ndarray:
        return np.full((rounds, self._rows, self._factors), self._none, self._dtype)

    def _seal(self) -> None:
        """Make chunks of full stretches."""
        while len(self._open) >= 2 * _ROUNDS:
            rounds = np.stack(self._open[:_ROUNDS])
            del self._open[:_ROUNDS]
            frame = compressed(rounds.tobytes(), _LEVEL)
            self._chunks.append(_Chunk(frame, _ROUNDS))
