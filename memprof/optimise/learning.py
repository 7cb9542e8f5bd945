"""PyMDP's learning, which counts what was seen, in temporaries that stay in the cache."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from memprof.optimise.facts import is_belief
from memprof.optimise.pool import settle
from memprof.optimise.replacements import Replacements
from memprof.upstream.numpy_agent import maths, utils

BLOCK = 4096
"""Numbers in a temporary: 32 KiB, which stays in the processor's cache."""


class LearningKernels(Replacements):
    """The updates of A's and B's Dirichlet priors."""

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
        return self._learned_A(
            "update_obs_likelihood_dirichlet_factorized",
            own,
            (pA, A, obs, lr, modalities),
            lambda modality: qs[A_factor_list[modality]],
        )

    def update_obs_likelihood_dirichlet(
        self,
        pA: np.ndarray,
        A: np.ndarray,
        obs: Any,
        qs: np.ndarray,
        lr: float = 1.0,
        modalities: Any = "all",
    ) -> Any:
        """The same, where every modality depends on all factors."""
        own = (pA, A, obs, qs, lr, modalities)
        return self._learned_A(
            "update_obs_likelihood_dirichlet", own, (pA, A, obs, lr, modalities), lambda _: qs
        )

    def _learned_A(
        self,
        name: str,
        own: tuple[Any, ...],
        learned: tuple[Any, ...],
        beliefs_of: Callable[[int], Any],
    ) -> Any:
        """`own` are PyMDP's arguments, `learned` those on which its versions agree."""
        if not getattr(self._stands, name)():
            return getattr(self._own, name)(*own)
        pA, A, obs, lr, modalities = learned
        sizes = [prior.shape[0] for prior in pA]
        observed = utils.to_obj_array(utils.process_observation(obs, len(pA), sizes))
        qA, changes = copy.deepcopy(pA), []
        for modality in range(len(pA)) if modalities == "all" else modalities:
            if sum(each is qA[modality] for each in qA) > 1:
                qA[modality] = qA[modality].copy()  # PyMDP makes a new array of each
            states = maths.spm_cross(beliefs_of(modality))
            changes.append((qA[modality], A[modality], observed[modality], states, lr))
        if not all(target.flags.c_contiguous for target, *_ in changes):
            return getattr(self._own, name)(*own)
        return self._learned(name, own, qA, changes)

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
        if not self._stands.update_state_likelihood_dirichlet_interactions():
            return self._own.update_state_likelihood_dirichlet_interactions(*own)
        qB, changes = copy.deepcopy(pB), []
        for factor in range(len(pB)) if factors == "all" else factors:
            target, support = (each[factor][..., int(actions[factor])] for each in (qB, B))
            before = maths.spm_cross(qs_prev[B_factor_list[factor]])
            changes.append((target, support, qs[factor], before, lr))
        return self._learned("update_state_likelihood_dirichlet_interactions", own, qB, changes)

    def update_state_likelihood_dirichlet(
        self,
        pB: np.ndarray,
        B: np.ndarray,
        actions: np.ndarray,
        qs: np.ndarray,
        qs_prev: np.ndarray,
        lr: float = 1.0,
        factors: Any = "all",
    ) -> Any:
        """The same, where every factor depends on itself alone."""
        own = (pB, B, actions, qs, qs_prev, lr, factors)
        if not self._stands.update_state_likelihood_dirichlet():
            return self._own.update_state_likelihood_dirichlet(*own)
        qB, changes = copy.deepcopy(pB), []
        for factor in range(len(pB)) if factors == "all" else factors:
            target, support = (each[factor][:, :, int(actions[factor])] for each in (qB, B))
            changes.append((target, support, qs[factor], qs_prev[factor], lr))
        return self._learned("update_state_likelihood_dirichlet", own, qB, changes)

    def _learned(self, name: str, own: tuple[Any, ...], posterior: Any, changes: list[Any]) -> Any:
        """The posterior with its changes, which are elementwise: layouts decide how it is added."""
        pymdps = getattr(self._own, name)
        if not all(_fits(*change) for change in changes):
            return pymdps(*own)
        case = self.facts.kinds.of((name, *(_layout(*change) for change in changes)))
        if not case.facts:
            return pymdps(*own)
        for change in changes:
            _add_outer(*change)
        return posterior if case.proven else settle([case], posterior, pymdps(*own))


def _fits(target: np.ndarray, support: np.ndarray, x: Any, y: Any, lr: Any) -> bool:
    """Whether adding to `target` broadcasts and converts nothing, and meets no two NaNs at once."""
    return (
        type(target) is type(support) is np.ndarray
        and target.dtype == np.float64
        and target.shape == support.shape == x.shape + y.shape
        and is_belief(x, x.shape)
        and is_belief(y, y.shape)
        and isinstance(lr, float | int)
        and math.isfinite(lr)
    )


def _layout(target: np.ndarray, support: np.ndarray, x: Any, y: Any, lr: Any) -> Hashable:
    strides = target.strides, support.strides, x.strides, y.strides
    return support.dtype, x.shape, y.shape, strides, type(lr)


def _add_outer(
    target: np.ndarray, support: np.ndarray, x: np.ndarray, y: np.ndarray, lr: float
) -> None:
    """target += lr * (x's outer product with y) * (support > 0), in PyMDP's order of operations.

    Every number is computed by itself, so it does not matter how many are at a time.
    """
    rows = max(1, BLOCK // y.size)
    for start in range(0, len(x), rows):
        block = slice(start, start + rows)
        growth = np.multiply.outer(x[block], y)
        growth *= (support[block] > 0).astype("float")
        target[block] += lr * growth
