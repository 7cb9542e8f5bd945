"""Agents at rest as rows: those that differ only in what a turn changes, a column for each of that.

A cohort holds as many agents as take their turns together. Its columns are compressed, each for
itself, so that a turn reads no more than it needs.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from memprof.storage.compression import compressed, decompressed
from memprof.storage.past import Past

NEVER = -1
"""In place of an action: there is none."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the columns of agents look.

    Attributes:
        states: how many, of each factor.
        policies: how many there are.
        most: the largest action that there can be.
        limit: past actions that an agent keeps; None for all.
        names: of its user's attributes, those that are one number, text or the like each.
    """

    states: tuple[int, ...]
    policies: int
    most: int
    limit: int | None
    names: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers of an agent."""
        return sum(self.states) + 2 * self.policies

    @property
    def factors(self) -> int:
        return len(self.states)

    @property
    def places(self) -> list[slice]:
        """Where each factor's states are among those of all."""
        ends = [0, *accumulate(self.states)]
        return [slice(*pair) for pair in pairwise(ends)]


@dataclass(slots=True)
class Columns:
    """What a turn reads and writes of agents; a row for each.

    Attributes:
        beliefs: of all factors, one beside the other; [agents, states].
        actions: the last ones, `NEVER` where there is none; [agents, factors].
        times: `curr_timestep`; [agents].
        policies, energies: q_pi and G, `planned` says whether there are any; [agents, policies].
    """

    beliefs: np.ndarray
    actions: np.ndarray
    times: np.ndarray
    planned: np.ndarray
    policies: np.ndarray
    energies: np.ndarray

    @classmethod
    def empty(cls, agents: int, form: Form) -> Columns:
        """For so many agents, of which nothing is known."""
        return cls(
            np.zeros((agents, sum(form.states))),
            np.full((agents, form.factors), NEVER, np.int64),
            np.zeros(agents, np.int64),
            np.zeros(agents, bool),
            np.zeros((agents, form.policies)),
            np.zeros((agents, form.policies)),
        )

    def __getitem__(self, rows: Any) -> Columns:
        return Columns(*(getattr(self, name)[rows] for name in _COLUMNS))

    def __setitem__(self, rows: Any, values: Columns) -> None:
        for name in _COLUMNS:
            getattr(self, name)[rows] = getattr(values, name)


_COLUMNS = Columns.__slots__


class Row(NamedTuple):
    """One agent: `values` has one row, `past` is what it did, [steps, factors], and `named` has the
    values of the form's `names`."""

    pattern: Any
    values: Columns
    past: np.ndarray
    named: tuple[Any, ...]


class Cohort:
    """Agents of one pattern at rest, a row each.

    Attributes:
        pattern: what they have in common; the same for all cohorts of such agents.
        indices: the agents', ascending; [rows].
        here: whether a row is its agent's present state; [rows].
        past: what they did.
    """

    __slots__ = ("__weakref__", "_frames", "_named", "here", "indices", "past", "pattern")

    def __init__(
        self,
        pattern: Any,
        indices: np.ndarray,
        rows: Columns,
        past: Past,
        named: Sequence[tuple[Any, ...]],
    ) -> None:
        self.pattern, self.indices, self.past = pattern, indices, past
        self._named = compressed(marshal.dumps([*named])) if pattern.form.names else b""
        self.here = np.ones(len(indices), bool)
        self._frames: dict[str, _Frame] = {}
        self.store(rows)

    @classmethod
    def of(cls, pattern: Any, agents: Mapping[int, Row]) -> Cohort:
        """These agents, in the order of their indices."""
        form, indices = pattern.form, sorted(agents)
        values = Columns.empty(len(indices), form)
        for row, index in enumerate(indices):
            values[row : row + 1] = agents[index].values
        histories = [agents[index].past for index in indices]
        past = Past.of(histories, form.factors, form.most, form.limit)
        named = [agents[index].named for index in indices]
        return cls(pattern, np.array(indices, np.int64), values, past, named)

    def copied(self, pattern: Any) -> Cohort:
        """The same once more, independent of this, as of an equal pattern."""
        other = copy(self)
        other.pattern, other.here = pattern, self.here.copy()
        other.past, other._frames = self.past.copied(), dict(self._frames)
        return other

    def rows(self) -> dict[int, Row]:
        """The agents that rest here, by index."""
        values, histories, named = self.load(), self.past.histories(), self.named()
        return {
            int(self.indices[row]): Row(
                self.pattern, values[row : row + 1], histories[row], named[row]
            )
            for row in np.flatnonzero(self.here).tolist()
        }

    def named(self) -> list[tuple[Any, ...]]:
        """Of each row the values of the form's `names`."""
        if not self._named:
            return [()] * len(self.indices)
        found: list[tuple[Any, ...]] = marshal.loads(decompressed(self._named))
        return found

    def __len__(self) -> int:
        """How many agents rest here."""
        return int(self.here.sum())

    @property
    def nbytes(self) -> int:
        """Of all that its agents do not have in common with others."""
        frames = sum(len(each.data) for each in self._frames.values())
        return frames + len(self._named) + self.past.nbytes + self.indices.nbytes + self.here.nbytes

    def rows_of(self, indices: Any) -> Any:
        """The rows of these agents, which have one each."""
        return np.searchsorted(self.indices, indices)

    def load(self, names: Sequence[str] = _COLUMNS) -> Columns:
        """All rows, in arrays that may be written into; without the columns that are not named,
        whose place is empty."""
        nothing = np.empty(0)
        return Columns(*(self._frames[n].array() if n in names else nothing for n in _COLUMNS))

    def store(self, rows: Columns) -> None:
        """All rows anew."""
        for name in _COLUMNS:
            self._frames[name] = _Frame.of(getattr(rows, name))


@dataclass(frozen=True, slots=True)
class _Frame:
    """An array, compressed."""

    data: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> _Frame:
        return cls(compressed(array.tobytes()), array.dtype, array.shape)

    def array(self) -> np.ndarray:
        return np.frombuffer(bytearray(decompressed(self.data)), self.dtype).reshape(self.shape)
