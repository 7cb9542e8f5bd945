"""PyMDP's functions in forms that allocate less and remember constants, with the same bits.

Each takes the arguments of the function whose name it has. Where its conditions do not hold it
calls PyMDP's own, and so it does once for every constant that it meets, to compare.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import reduce
from types import SimpleNamespace
from typing import Any

import numpy as np
from pymdp.legacy import control, learning, maths, utils

from memprof.passes.facts import Case, Cases, settle
from memprof.passes.structure import NEGLIGIBLE, Entries, Surprise, gathered, in_range
from memprof.store.constants import is_constant

_REPLACED = (
    (maths, "dot_likelihood"),
    (maths, "spm_dot"),
    (maths, "spm_MDP_G"),
    (control, "calc_expected_utility"),
    (learning, "update_obs_likelihood_dirichlet_factorized"),
    (learning, "update_state_likelihood_dirichlet_interactions"),
)
_BLOCK = 4096  # numbers in a temporary: 32 KiB, which stays in the processor's cache


class Kernels:
    """The replacements, and what they remember of constants."""

    def __init__(self) -> None:
        self._readable: Cases[bool] = Cases(in_range)
        self._gathered: Cases[Entries] = Cases(gathered)
        self._surprise: Cases[Surprise] = Cases(Surprise.of)
        self._preferences: Cases[list[np.ndarray]] = Cases(_log_preferences)
        self._own = SimpleNamespace(**{name: getattr(home, name) for home, name in _REPLACED})
        self.replacements: dict[Callable[..., Any], Callable[..., Any]] = {
            function: getattr(self, name) for name, function in vars(self._own).items()
        }

    def dot_likelihood(self, A: np.ndarray, obs: np.ndarray) -> Any:
        """A's row of the observed outcome: all others are multiplied by 0.0 and added."""
        outcome = _observed(obs)
        rows = obs.shape == A.shape[:1] and (A.ndim == 2 or (A.ndim > 2 and A.flags.c_contiguous))
        if outcome is None or not rows:
            return self._own.dot_likelihood(A, obs)
        case = self._readable.of(A, None, A) if is_constant(A) else Case(in_range(A), proven=True)
        if not case.facts:
            return self._own.dot_likelihood(A, obs)
        row = np.squeeze(A[outcome].astype(np.result_type(A, obs)))
        row = row if row.size > 1 else np.array([row.item()]).astype("float64")
        if case.proven:
            return row
        expected = _in_parts(self._own.dot_likelihood, A, obs)
        return settle([case], row.ravel(), expected).reshape(row.shape)

    def spm_dot(self, X: np.ndarray, x: np.ndarray, dims_to_omit: list[int] | None = None) -> Any:
        """Gathered for a constant matrix (or a view of one) that allows it; or the same einsum."""
        if x.dtype != object:
            return self._own.spm_dot(X, x, dims_to_omit)
        if X.ndim == 2 and len(x) == 1 and dims_to_omit is None:
            case, vector = self._matrix(X), x[0]
            facts = case.facts  # read once: another thread may find that the case is none
            if facts and _is_belief(vector, X.shape[1:]):
                product = facts.product(vector)
                return product if case.proven else settle([case], product, self._own.spm_dot(X, x))
        first, kept = X.ndim - len(x), [0] if dims_to_omit is None else dims_to_omit
        operands: list[Any] = [X, list(range(X.ndim))]
        for position, vector in enumerate(x):
            if dims_to_omit is None or position not in dims_to_omit:
                operands += vector, [first + position]
        Y: np.ndarray = np.einsum(*operands, kept)
        return Y if Y.size > 1 else np.array([Y.item()]).astype("float64")

    def spm_MDP_G(self, A: np.ndarray, x: np.ndarray) -> Any:
        """PyMDP's loop over states, with each state's part remembered."""
        case = self._surprise.of(A, None, A)
        facts = case.facts
        if not facts or x.dtype != object:
            return self._own.spm_MDP_G(A, x)
        joint = reduce(np.multiply.outer, x)
        if not _is_belief(joint, A.shape[1:]):
            return self._own.spm_MDP_G(A, x)
        likely = (joint * (joint > NEGLIGIBLE)).ravel()
        if not likely.any():
            return self._own.spm_MDP_G(A, x)
        outcomes, certainty = facts.under(likely)
        G = certainty - outcomes.dot(maths.spm_log_single(outcomes))
        return G if case.proven else settle([case], G, self._own.spm_MDP_G(A, x))

    def calc_expected_utility(self, qo_pi: Sequence[np.ndarray], C: np.ndarray) -> Any:
        """PyMDP's sum, with the logarithm of the softmax of C remembered."""
        n_steps, utility = len(qo_pi), 0
        cases = [self._preferences.of(prior, n_steps, prior, n_steps) for prior in C]
        facts = [case.facts for case in cases]
        if not all(facts):
            return self._own.calc_expected_utility(qo_pi, C)
        for step, qo in enumerate(qo_pi):
            for modality, known in enumerate(facts):
                utility += qo[modality].dot(known[step])  # type: ignore[index]
        if all(case.proven for case in cases):
            return utility
        return settle(cases, utility, self._own.calc_expected_utility(qo_pi, C))

    def update_obs_likelihood_dirichlet_factorized(
        self,
        pA: np.ndarray,
        A: np.ndarray,
        obs: Any,
        qs: np.ndarray,
        A_factor_list: Sequence[list[int]],
        lr: float = 1.0,
        modalities: Any = "all",
    ) -> Any:
        """PyMDP's elementwise update, some rows at a time."""
        own = (pA, A, obs, qs, A_factor_list, lr, modalities)
        sizes = [prior.shape[0] for prior in pA]
        observed = utils.to_obj_array(utils.process_observation(obs, len(pA), sizes))
        qA = utils.obj_array(len(pA))
        for modality, prior in enumerate(pA):
            qA[modality] = copy.deepcopy(prior)
        for modality in range(len(pA)) if modalities == "all" else modalities:
            states = maths.spm_cross(qs[A_factor_list[modality]])
            change = (qA[modality], A[modality], observed[modality], states, lr)
            if not qA[modality].flags.c_contiguous or not _fits(*change):
                return self._own.update_obs_likelihood_dirichlet_factorized(*own)
            _add_outer(*change)
        return qA

    def update_state_likelihood_dirichlet_interactions(
        self,
        pB: np.ndarray,
        B: np.ndarray,
        actions: np.ndarray,
        qs: np.ndarray,
        qs_prev: np.ndarray,
        B_factor_list: Sequence[list[int]],
        lr: float = 1.0,
        factors: Any = "all",
    ) -> Any:
        """PyMDP's elementwise update, some rows at a time."""
        own = (pB, B, actions, qs, qs_prev, B_factor_list, lr, factors)
        qB = copy.deepcopy(pB)
        for factor in range(len(pB)) if factors == "all" else factors:
            target, support = (each[factor][..., int(actions[factor])] for each in (qB, B))
            before = maths.spm_cross(qs_prev[B_factor_list[factor]])
            change = (target, support, qs[factor], before, lr)
            if not _fits(*change):
                return self._own.update_state_likelihood_dirichlet_interactions(*own)
            _add_outer(*change)
        return qB

    def _matrix(self, X: np.ndarray) -> Case[Entries]:
        """The case of a constant matrix, or of a view of a constant, such as B's of one action."""
        owner = X if X.base is None else X.base
        key = None if owner is X else (X.ctypes.data, X.shape, X.strides)
        return self._gathered.of(owner, key, X)


def _observed(obs: np.ndarray) -> int | None:
    """The index of the 1.0 in a vector that is 0.0 elsewhere."""
    if obs.ndim != 1 or obs.size == 0 or obs.dtype != np.float64:
        return None
    outcome = int(obs.argmax())
    return outcome if obs[outcome] == 1.0 and np.count_nonzero(obs) == 1 else None


def _is_belief(array: Any, shape: tuple[int, ...]) -> bool:
    fits = isinstance(array, np.ndarray) and array.shape == shape and array.dtype == np.float64
    return fits and in_range(array)


def _in_parts(dot_likelihood: Callable[..., Any], A: np.ndarray, obs: np.ndarray) -> np.ndarray:
    """The likelihood, some states at a time, as each state's is computed by itself.

    At least two, because PyMDP makes a single number a float64.
    """
    states = A.reshape(len(A), -1)
    parts = max(1, min(A.size // _BLOCK, states.shape[1] // 2))
    return np.concatenate(
        [dot_likelihood(part, obs) for part in np.array_split(states, parts, axis=1)]
    )


def _log_preferences(C: np.ndarray, n_steps: int) -> list[np.ndarray]:
    """As calc_expected_utility computes them, for one modality."""
    tiled = np.tile(C[:, None], (1, n_steps)) if C.ndim == 1 else copy.deepcopy(C)
    probabilities = maths.softmax(tiled)
    return [maths.spm_log_single(probabilities[:, step]) for step in range(n_steps)]


def _fits(target: np.ndarray, support: np.ndarray, x: Any, y: Any, lr: Any) -> bool:
    """Whether adding to `target` broadcasts and converts nothing, and meets no two NaNs at once."""
    return (
        target.dtype == np.float64
        and target.shape == support.shape == x.shape + y.shape
        and _is_belief(x, x.shape)
        and _is_belief(y, y.shape)
        and isinstance(lr, float | int)
        and math.isfinite(lr)
    )


def _add_outer(
    target: np.ndarray, support: np.ndarray, x: np.ndarray, y: np.ndarray, lr: float
) -> None:
    """target += lr * (x's outer product with y) * (support > 0), in PyMDP's order of operations.

    Every number is computed by itself, so it does not matter how many are at a time.
    """
    rows = max(1, _BLOCK // y.size)
    for start in range(0, len(x), rows):
        block = slice(start, start + rows)
        growth = np.multiply.outer(x[block], y)
        growth *= (support[block] > 0).astype("float")
        target[block] += lr * growth
