"""Planning: the policies of agents with one model as a tree, from what is known of its matrices.

Of other matrices `pool` asks PyMDP's own functions, one beginning at a time and so to the bit
(`OneByOne`); `batch` multiplies them with all vectors at once, in another order (`AllAtOnce`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from memprof.optimise.facts import Facts
from memprof.optimise.policies import (
    Expectations,
    Tree,
    Vectors,
    free_energies,
    joint,
    one_by_one,
)
from memprof.optimise.pool import NEGLIGIBLE, Case, in_range
from memprof.upstream.numpy_agent import maths

_EPSILON = 1e-3  # as calc_inductive_cost has it


class Unfit(Exception):
    """PyMDP's own function has to compute this, and why, as a clause, where that is known."""


@dataclass(frozen=True, slots=True)
class Model:
    """What an agent plans with, as PyMDP's functions get it.

    Attributes:
        A_factors, B_factors: the factors that each modality, and each factor, depends on; None
            where all modalities depend on all factors, and every factor on itself.
        C: None without utility.
        gains: whether information about states counts.
        paths: PyMDP's I; None without inductive costs.
    """

    A: Any
    B: Any
    C: Any
    A_factors: Sequence[list[int]] | None
    B_factors: Sequence[list[int]] | None
    gains: bool
    paths: Any


class Sums(Protocol):
    """How sums over states are computed of which no facts are known; of vectors in rows."""

    def product(
        self, matrix: np.ndarray, vectors: Sequence[np.ndarray], *, by_dot: bool
    ) -> np.ndarray:
        """A matrix of as many axes more as there are vectors, times these; [rows, outcomes].
        `by_dot` where PyMDP calls the matrix's own `dot`."""
        ...

    def gain(self, A: np.ndarray, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """PyMDP's spm_MDP_G; [rows]."""
        ...

    def doubt(self, numbers: np.ndarray, limit: float) -> None:
        """Told of numbers, in rows, that PyMDP compares with a limit."""
        ...


class OneByOne:
    """As PyMDP does it, row by row."""

    def product(
        self, matrix: np.ndarray, vectors: Sequence[np.ndarray], *, by_dot: bool
    ) -> np.ndarray:
        if by_dot:
            return np.stack([matrix.dot(vector) for vector in vectors[0]])
        return one_by_one(partial(maths.spm_dot, matrix), vectors)

    def gain(self, A: np.ndarray, vectors: Sequence[np.ndarray]) -> np.ndarray:
        return one_by_one(partial(maths.spm_MDP_G, A), vectors)

    def doubt(self, numbers: np.ndarray, limit: float) -> None:
        """They have PyMDP's bits."""


@dataclass(slots=True)
class Planner:
    """Plans once, for one agent or for many.

    Attributes:
        sums: what computes what no facts tell.
        cases: of the matrices of which facts were used.
        kind: how it computed: with facts or without, matrix by matrix, and with which shapes.
    """

    model: Model
    tree: Tree
    facts: Facts
    sums: Sums = field(default_factory=OneByOne)
    cases: list[Case[Any]] = field(default_factory=list)
    kind: list[Any] = field(default_factory=list)

    def energies(self, beliefs: Sequence[np.ndarray]) -> np.ndarray:
        """G of every policy for each agent, [policies, agents], from what they believe of each
        factor, [agents, states].

        Raises:
            Unfit: it is none of the kinds that this is for.
        """
        model, steps = self.model, len(self.tree.depths)
        sizes = [len(matrices) for matrices in model.B]
        if (
            self.tree.factors != len(sizes)
            or [belief.shape[1] for belief in beliefs] != sizes
            or not all(map(in_range, beliefs))
            or any(
                len(each) != len(model.A) for each in (model.C, model.A_factors) if each is not None
            )
        ):
            raise Unfit
        self.kind += [steps, len(self.tree.ends), *sizes, model.gains]
        utility = model.C is not None
        modalities = range(len(model.A)) if utility else ()
        preferences = [self._preferences_of(each, steps) for each in (model.C if utility else ())]
        return free_energies(
            self.tree,
            beliefs,
            Expectations(
                states=self._states(),
                outcomes=[self._outcomes(modality) for modality in modalities],
                preferences=lambda modality, step: preferences[modality][step],
                gains=list(self._gains()) if model.gains else (),
                costs=self._costs(beliefs),
            ),
        )

    def _use(self, case: Case[Any]) -> Any:
        """The facts of a case; None where there are none."""
        facts = case.facts
        self.kind.append(bool(facts))
        if facts:
            self.cases.append(case)
        return facts

    def _preferences_of(self, prior: np.ndarray, steps: int) -> list[np.ndarray]:
        facts = self._use(self.facts.preferences.of(prior, steps, prior, steps))
        if not facts:
            raise Unfit
        return list(facts)

    def _states(self) -> Callable[[int, int, Sequence[Vectors]], Vectors]:
        """What finds a factor's states after an action."""
        model = self.model
        known = {}
        for factor, action in self.tree.actions:
            on = [factor] if model.B_factors is None else model.B_factors[factor]
            matrix, by_dot = model.B[factor][..., action], model.B_factors is None
            known[factor, action] = self._product(matrix, on, by_dot=by_dot)
        return lambda factor, action, before: known[factor, action](before)

    def _outcomes(self, modality: int) -> Callable[[Sequence[Vectors]], Vectors]:
        return self._product(self.model.A[modality], self._factors_of(modality))

    def _factors_of(self, modality: int) -> Sequence[int]:
        model = self.model
        return range(len(model.B)) if model.A_factors is None else model.A_factors[modality]

    def _product(
        self, matrix: np.ndarray, factors: Sequence[int], *, by_dot: bool = False
    ) -> Callable[[Sequence[Vectors]], Vectors]:
        """The matrix times the states of these factors, from its entries if they are known."""
        is_plain = type(matrix) is np.ndarray and matrix.ndim == 2 and len(factors) == 1
        entries = self._use(self.facts.matrix(matrix)) if is_plain else None
        self.kind += [matrix.shape, matrix.strides, matrix.dtype, by_dot]

        def product(vectors: Sequence[np.ndarray]) -> np.ndarray:
            if entries is not None:
                if not in_range(vectors[0]):
                    raise Unfit
                found: np.ndarray = entries.products(vectors[0])
                return found
            return self.sums.product(matrix, vectors, by_dot=by_dot)

        return _in_rows(product, factors)

    def _gains(self) -> Any:
        """A term for each modality, or one for all of them."""
        model = self.model
        if model.A_factors is None:
            return [_in_rows(partial(self.sums.gain, model.A), range(len(model.B)))]
        return [self._gain(A, factors) for A, factors in zip(model.A, model.A_factors, strict=True)]

    def _gain(
        self, A: np.ndarray, factors: Sequence[int]
    ) -> Callable[[Sequence[Vectors]], np.ndarray]:
        surprise = self._use(self.facts.surprise.of(A, None, A)) if type(A) is np.ndarray else None

        def gain(vectors: Sequence[np.ndarray]) -> np.ndarray:
            if surprise is None:
                return self.sums.gain(A, vectors)
            likely = joint(vectors)
            if likely.shape[1:] != A.shape[1:] or not in_range(likely):
                raise Unfit
            likely = likely.reshape(len(likely), -1)
            self.sums.doubt(likely, NEGLIGIBLE)
            found: np.ndarray | None = surprise.gains(likely)
            if found is None:
                raise Unfit
            return found

        return _in_rows(gain, factors)

    def _costs(self, beliefs: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """As calc_inductive_cost finds them, which are the same at every step."""
        found: list[np.ndarray | None] = []
        paths_of_all = () if self.model.paths is None else self.model.paths
        for belief, paths in zip(beliefs, paths_of_all, strict=False):
            if type(paths) is not np.ndarray or paths.dtype != np.float64 or paths.ndim != 2:
                raise Unfit
            if belief.shape[1] > 1:  # how far the second most likely state is from the first
                second, first = np.partition(belief, -2, axis=1)[:, -2:].T
                self.sums.doubt((first - second)[:, np.newaxis], 0.0)
            there = paths[:, np.argmax(belief, axis=1)] == 1  # [steps before the goal, agents]
            towards = (1 - paths[np.maximum(there.argmax(axis=0) - 1, 0)]) * np.log(_EPSILON)
            reaches = there.any(axis=0)
            found.append(np.where(reaches[:, np.newaxis], towards, 0.0) if reaches.any() else None)
        self.kind.append(len(found))
        return found


def _in_rows(
    function: Callable[[Sequence[np.ndarray]], np.ndarray], factors: Sequence[int]
) -> Callable[[Sequence[Vectors]], np.ndarray]:
    """The function of the states of these factors, which takes the vectors in rows."""

    def of_all(states: Sequence[Vectors]) -> np.ndarray:
        mine = [states[factor] for factor in factors]
        found = function([vectors.reshape(-1, vectors.shape[-1]) for vectors in mine])
        return found.reshape(*mine[0].shape[:2], *found.shape[1:])

    return of_all
