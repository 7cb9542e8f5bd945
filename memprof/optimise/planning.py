"""Planning for `pool`: the policies of one agent as a tree, from what is known of its matrices, or
from PyMDP's own functions, one beginning at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from memprof.optimise.facts import Facts, is_belief
from memprof.optimise.policies import (
    Expectations,
    Tree,
    Vectors,
    dots,
    free_energies,
    joint,
    one_by_one,
)
from memprof.optimise.pool import NEGLIGIBLE, Case, in_range
from memprof.upstream.numpy_agent import maths

_EPSILON = 1e-3  # as calc_inductive_cost has it


class Unfit(Exception):
    """PyMDP's own function has to compute this."""


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


@dataclass(slots=True)
class Planner:
    """Plans once.

    Attributes:
        cases: of the matrices of which facts were used.
        kind: how it computed: with facts or without, matrix by matrix, and with which shapes.
    """

    model: Model
    tree: Tree
    facts: Facts
    cases: list[Case[Any]] = field(default_factory=list)
    kind: list[Any] = field(default_factory=list)

    def energies(self, qs: Any) -> np.ndarray:
        """G of every policy.

        Raises:
            Unfit: it is none of the kinds that this is for.
        """
        model, steps = self.model, len(self.tree.depths)
        sizes = tuple((len(matrices),) for matrices in model.B)
        if (
            self.tree.factors != len(sizes)
            or len(qs) != len(sizes)
            or not all(map(is_belief, qs, sizes))
        ):
            raise Unfit
        self.kind += [steps, len(self.tree.ends), sizes, model.gains]
        utility = model.C is not None
        modalities = range(len(model.A)) if utility else ()
        preferences = [self._preferences_of(each, steps) for each in (model.C if utility else ())]
        return free_energies(
            self.tree,
            list(qs),
            Expectations(
                states=self._states(),
                outcomes=[self._outcomes(modality) for modality in modalities],
                preferences=lambda modality, step: preferences[modality][step],
                gains=list(self._gains()) if model.gains else (),
                costs=self._costs(qs),
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

        def product(states: Sequence[Vectors]) -> Vectors:
            mine = [states[factor] for factor in factors]
            if entries is not None:
                if not in_range(mine[0]):
                    raise Unfit
                found: Vectors = entries.products(mine[0])
                return found
            if by_dot:
                return np.stack([matrix.dot(vector) for vector in mine[0]])
            return one_by_one(partial(maths.spm_dot, matrix), mine)

        return product

    def _gains(self) -> Any:
        """A term for each modality, or one for all of them."""
        model = self.model
        if model.A_factors is None:
            return [partial(one_by_one, partial(maths.spm_MDP_G, model.A))]
        return [self._gain(A, factors) for A, factors in zip(model.A, model.A_factors, strict=True)]

    def _gain(
        self, A: np.ndarray, factors: Sequence[int]
    ) -> Callable[[Sequence[Vectors]], np.ndarray]:
        surprise = self._use(self.facts.surprise.of(A, None, A)) if type(A) is np.ndarray else None

        def gain(states: Sequence[Vectors]) -> np.ndarray:
            mine = [states[factor] for factor in factors]
            if surprise is None:
                return one_by_one(partial(maths.spm_MDP_G, A), mine)
            likely = joint(mine)
            if likely.shape[1:] != A.shape[1:] or not in_range(likely):
                raise Unfit
            likely = (likely * (likely > NEGLIGIBLE)).reshape(len(likely), -1)
            if not likely.any(axis=1).all():
                raise Unfit
            outcomes, certainty = surprise.under_all(likely)
            found: np.ndarray = certainty - dots(outcomes, maths.spm_log_single(outcomes))
            return found

        return gain

    def _costs(self, qs: Any) -> list[np.ndarray | None]:
        """As calc_inductive_cost finds them, which are the same at every step."""
        found: list[np.ndarray | None] = []
        paths_of_all = () if self.model.paths is None else self.model.paths
        for belief, paths in zip(qs, paths_of_all, strict=False):
            if type(paths) is not np.ndarray or paths.dtype != np.float64 or paths.ndim != 2:
                raise Unfit
            there = np.flatnonzero(paths[:, np.argmax(belief)] == 1)
            cost = None
            if len(there):
                cost = (1 - paths[max(there[0] - 1, 0), :]) * np.log(_EPSILON)
            found.append(cost)
        self.kind.append(len(found))
        return found
