"""Policies as a tree: what those with a common beginning expect is computed once, and all
beginnings of one length together, for one agent or for many that share a model.

PyMDP rolls out one policy after the other, though 3,125 policies of five steps have but 3,905
different beginnings among their 15,625. Every number here is computed by the operations that PyMDP
computes it by, and added in PyMDP's order, so it has the same bits: what is left of a policy's sum
after some steps is the sum of its beginning.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import call, is_
from typing import Any, NamedTuple

import numpy as np

from memprof.optimise.pool import dots
from memprof.storage.constants import is_constant

Vectors = np.ndarray
"""Of each beginning, one for each agent; [beginnings, agents, entries]."""
_BLOCK = 2**17
"""Numbers in a temporary: 1 MiB. More takes longer, and a long policy has many beginnings."""


class Move(NamedTuple):
    """Beginnings that end with the same action of a factor.

    Attributes:
        rows: theirs, among all of one length.
        parents: the rows of what they begin with, among those one step shorter.
    """

    action: int
    rows: np.ndarray
    parents: np.ndarray

    def within(self, first: int, last: int, parents_first: int) -> Move:
        """Those from row `first` to before row `last`, both counted from their first on."""
        here = slice(*np.searchsorted(self.rows, (first, last)))
        return Move(self.action, self.rows[here] - first, self.parents[here] - parents_first)


@dataclass(frozen=True, slots=True)
class Depth:
    """All beginnings of one length.

    Attributes:
        parents: of each, the row of what it begins with among those one step shorter; ascending.
        starts: of each of those, the first row that begins with it; and the end of all.
        moves: of each factor.
    """

    parents: np.ndarray
    starts: list[int]
    moves: tuple[tuple[Move, ...], ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.parents)

    @classmethod
    def of(cls, parents: np.ndarray, actions: np.ndarray) -> Depth:
        """`actions` are the last ones; [beginnings, factors]."""
        starts = np.searchsorted(parents, np.arange(parents[-1] + 2)).tolist()
        moves = []
        for column in actions.T:
            rows = {action: np.flatnonzero(column == action) for action in np.unique(column)}
            moves.append(tuple(Move(int(a), mine, parents[mine]) for a, mine in rows.items()))
        return cls(parents, starts, tuple(moves))


@dataclass(frozen=True, slots=True)
class Tree:
    """The beginnings of all policies, by length.

    Attributes:
        ends: of each policy, its row in the last depth.
        actions: that there are, each with its factor.
        first: of each policy, its first actions; [factors, policies].
    """

    depths: tuple[Depth, ...]
    ends: np.ndarray
    actions: tuple[tuple[int, int], ...]
    first: np.ndarray
    _policies: tuple[weakref.ref[np.ndarray], ...]

    @classmethod
    def of(cls, policies: Sequence[np.ndarray]) -> Tree | None:
        """Of constant arrays [steps, factors] of one shape; None of any others."""
        first = policies[0]
        if not all(map(is_constant, policies)) or first.ndim != 2 or not first.size:
            return None
        if any(each.shape != first.shape or each.dtype.kind not in "iu" for each in policies):
            return None
        actions = np.stack(policies).astype(np.int64)
        depths, rows = [], np.zeros(len(policies), np.int64)
        for step in range(actions.shape[1]):
            beginnings = np.column_stack((rows, actions[:, step]))
            found, rows = np.unique(beginnings, axis=0, return_inverse=True)
            rows = rows.reshape(-1)  # NumPy 2.0 gave it another shape
            depths.append(Depth.of(found[:, 0], found[:, 1:]))
        moves = {
            (factor, move.action): None
            for depth in depths
            for factor, each in enumerate(depth.moves)
            for move in each
        }
        first_actions = np.ascontiguousarray(actions[:, 0].T)
        known = tuple(map(weakref.ref, policies))
        return cls(tuple(depths), rows, tuple(moves), first_actions, known)

    @property
    def factors(self) -> int:
        """How many actions there are in a step."""
        return len(self.depths[0].moves)

    def is_of(self, policies: Sequence[np.ndarray]) -> bool:
        """Whether these are the very arrays that it was made of."""
        same = len(policies) == len(self._policies)
        return same and all(map(is_, map(call, self._policies), policies))  # thousands, every turn


@dataclass(frozen=True, slots=True)
class Expectations:
    """What agents' model tells of many beginnings at once, from the states of all factors.

    Attributes:
        states: of a factor after an action.
        outcomes: of each modality; none without utility.
        preferences: the logarithm of those for a modality at a step.
        gains: terms of what is learned about states; none without.
        costs: inductive, at every step, of each factor's states for each agent, [agents, states];
            None where there is no path to a goal.
    """

    states: Callable[[int, int, Sequence[Vectors]], Vectors]
    outcomes: Sequence[Callable[[Sequence[Vectors]], Vectors]]
    preferences: Callable[[int, int], np.ndarray]
    gains: Sequence[Callable[[Sequence[Vectors]], np.ndarray]]
    costs: Sequence[np.ndarray | None]


def free_energies(tree: Tree, beliefs: Sequence[np.ndarray], model: Expectations) -> np.ndarray:
    """G of every policy for each agent, [policies, agents], as PyMDP's `update_posterior_policies`
    sums it up, without what it gains of parameters. A belief of each factor: [agents, states]."""
    agents = len(beliefs[0])
    sums = np.empty((3, tree.depths[-1].count, agents))  # utility, information gain, inductive cost
    now = _Block(0, 0, 1, [belief[np.newaxis] for belief in beliefs], np.zeros((3, 1, agents)))
    waiting = [now]
    while waiting:
        block = waiting.pop()
        if block.step == len(tree.depths):
            sums[:, block.first : block.last] = block.sums
        else:
            waiting.extend(_next(tree.depths[block.step], block, model))
    G = np.zeros((len(tree.ends), agents))
    for part in sums:
        G += part[tree.ends]  # zeros where it does not count, which change no bit
    return G


class _Block(NamedTuple):
    """Beginnings of `step` steps, from row `first` to before row `last`: the states that they lead
    to, and what each has summed up until there."""

    step: int
    first: int
    last: int
    states: list[Vectors]
    sums: np.ndarray


def _next(depth: Depth, block: _Block, model: Expectations) -> Iterator[_Block]:
    """What a block's beginnings go on with, in blocks that are not too large."""
    width = sum(vectors[0].size for vectors in block.states)
    most = max(1, _BLOCK // width)
    first, end = depth.starts[block.first], depth.starts[block.last]
    for start in range(first, end, most):
        last = min(end, start + most)
        parents = depth.parents[start:last] - block.first
        states = _after(depth, block, start, last, model)
        utility, gain, cost = sums = block.sums[:, parents]
        for modality, outcomes in enumerate(model.outcomes):
            utility += dots(outcomes(states), model.preferences(modality, block.step))
        for term in model.gains:
            gain += term(states)
        for vectors, costs in zip(states, model.costs, strict=False):
            if costs is not None:
                cost += dots(vectors, costs)
        yield _Block(block.step + 1, start, last, states, sums)


def _after(
    depth: Depth, block: _Block, first: int, last: int, model: Expectations
) -> list[Vectors]:
    """The states of the rows from `first` to before `last`."""
    is_all = last - first == depth.count
    found = []
    for factor, moves in enumerate(depth.moves):
        after = np.empty((last - first, *block.states[factor].shape[1:]))
        for move in moves:
            action, rows, parents = move if is_all else move.within(first, last, block.first)
            if len(rows):
                before = block.states  # of the only beginning, as a rule of the first step
                if len(before[0]) > 1 or len(parents) > 1:
                    before = [vectors[parents] for vectors in before]
                after[rows] = model.states(factor, action, before)
        found.append(after)
    return found


def joint(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Each row's outer product over all factors."""
    return reduce(_outer, vectors)


def _outer(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    spread = right.reshape(len(right), *(1,) * (left.ndim - 1), -1)
    product: np.ndarray = left[..., np.newaxis] * spread
    return product


def one_by_one(function: Callable[[Any], Any], vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The function of every row's vectors, in an object array as PyMDP has them."""
    return np.stack([function(_objects(row)) for row in zip(*vectors, strict=True)])


def _objects(row: Sequence[np.ndarray]) -> np.ndarray:
    found = np.empty(len(row), dtype=object)
    for place, vector in enumerate(row):
        found[place] = vector
    return found
