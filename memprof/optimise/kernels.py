"""PyMDP's functions in forms that allocate less and remember constants, with the same bits.

Each takes the arguments of the function whose name it has, and takes its place only where that, and
all that it calls, is known by its source. Where the kernel's conditions do not hold it calls
PyMDP's own, and so it does to compare: once for every constant that it has facts about, and once
for every kind of call where the kind decides alone on how numbers are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from memprof.optimise.facts import is_belief
from memprof.optimise.learning import BLOCK, LearningKernels
from memprof.optimise.planning import Model, Planner, Unfit
from memprof.optimise.pool import NEGLIGIBLE, in_range, settle
from memprof.storage.constants import is_constant
from memprof.upstream.numpy_agent import maths


class Kernels(LearningKernels):
    """All of them: what agents learn, perceive, plan and choose with."""

    def dot_likelihood(self, A: np.ndarray, obs: np.ndarray) -> Any:
        """A's row of the observed outcome: all others are multiplied by 0.0 and added."""
        if not self._stands.dot_likelihood():
            return self._own.dot_likelihood(A, obs)
        outcome = _observed(obs) if type(A) is np.ndarray else None
        if outcome is None or not _has_rows(A, len(obs)):
            return self._own.dot_likelihood(A, obs)
        if is_constant(A):
            case = self.facts.readable.of(A, None, A)
            readable = case.facts
        else:
            case = self.facts.kinds.of((A.dtype, A.shape, A.strides))
            readable = case.facts and in_range(A)
        if not readable:
            return self._own.dot_likelihood(A, obs)
        row = np.squeeze(A[outcome].astype(np.result_type(A, obs)))
        row = row if row.size > 1 else np.array([row.item()]).astype("float64")
        if case.proven:
            return row
        expected = _in_parts(self._own.dot_likelihood, A, obs)
        return settle([case], row.ravel(), expected).reshape(row.shape)

    def spm_dot(self, X: np.ndarray, x: np.ndarray, dims_to_omit: list[int] | None = None) -> Any:
        """Gathered for a constant matrix (or a view of one) that allows it; or the same einsum."""
        listed = dims_to_omit is None or type(dims_to_omit) is list
        if not self._stands.spm_dot() or x.dtype != object or not listed:
            return self._own.spm_dot(X, x, dims_to_omit)
        if X.ndim == 2 and len(x) == 1 and dims_to_omit is None:
            matrix, vector = self.facts.matrix(X), x[0]
            facts = matrix.facts  # read once: another thread may find that the case is none
            if facts and is_belief(vector, X.shape[1:]):
                product = facts.product(vector)
                if matrix.proven:
                    return product
                return settle([matrix], product, self._own.spm_dot(X, x))
        first, kept = X.ndim - len(x), [0] if dims_to_omit is None else dims_to_omit
        operands: list[Any] = [X, list(range(X.ndim))]
        for position, vector in enumerate(x):
            if dims_to_omit is None or position not in dims_to_omit:
                operands += vector, [first + position]
        Y: np.ndarray = np.einsum(*operands, kept)
        # PyMDP's einsum with the same operands, in the order that these decide.
        case = self.facts.kinds.of((X.ndim, len(x), dims_to_omit is None, Y.size > 1, *kept))
        if not case.facts:
            return self._own.spm_dot(X, x, dims_to_omit)
        Y = Y if Y.size > 1 else np.array([Y.item()]).astype("float64")
        return Y if case.proven else settle([case], Y, self._own.spm_dot(X, x, dims_to_omit))

    def spm_MDP_G(self, A: np.ndarray, x: np.ndarray) -> Any:
        """PyMDP's loop over states, with each state's part remembered."""
        if not self._stands.spm_MDP_G():
            return self._own.spm_MDP_G(A, x)
        case = self.facts.surprise.of(A, None, A)
        facts = case.facts
        if not facts or type(A) is not np.ndarray or x.dtype != object:
            return self._own.spm_MDP_G(A, x)
        joint = reduce(np.multiply.outer, x)
        if not is_belief(joint, A.shape[1:]):
            return self._own.spm_MDP_G(A, x)
        likely = (joint * (joint > NEGLIGIBLE)).ravel()
        if not likely.any():
            return self._own.spm_MDP_G(A, x)
        outcomes, certainty = facts.under(likely)
        G = certainty - outcomes.dot(maths.spm_log_single(outcomes))
        return G if case.proven else settle([case], G, self._own.spm_MDP_G(A, x))

    def calc_expected_utility(self, qo_pi: Sequence[np.ndarray], C: np.ndarray) -> Any:
        """PyMDP's sum, with the logarithm of the softmax of C remembered."""
        if not self._stands.calc_expected_utility():
            return self._own.calc_expected_utility(qo_pi, C)
        n_steps, utility = len(qo_pi), 0
        cases = [self.facts.preferences.of(prior, n_steps, prior, n_steps) for prior in C]
        facts = [case.facts for case in cases]
        if not all(facts):
            return self._own.calc_expected_utility(qo_pi, C)
        for step, qo in enumerate(qo_pi):
            for modality, known in enumerate(facts):
                utility += qo[modality].dot(known[step])  # type: ignore[index]
        if all(case.proven for case in cases):
            return utility
        return settle(cases, utility, self._own.calc_expected_utility(qo_pi, C))

    def update_posterior_policies_factorized(
        self,
        qs: np.ndarray,
        A: np.ndarray,
        B: np.ndarray,
        C: np.ndarray,
        A_factor_list: Sequence[list[int]],
        B_factor_list: Sequence[list[int]],
        policies: list[np.ndarray],
        use_utility: bool = True,
        use_states_info_gain: bool = True,
        use_param_info_gain: bool = False,
        pA: Any = None,
        pB: Any = None,
        E: Any = None,
        I: Any = None,  # noqa: E741
        gamma: Any = 16.0,
    ) -> Any:
        """PyMDP's sums over policies, with what several begin with computed once."""
        factors, gains = (A_factor_list, B_factor_list), (use_states_info_gain, use_param_info_gain)
        return self._planned(
            "update_posterior_policies_factorized",
            (qs, A, B, C, *factors, policies, use_utility, *gains, pA, pB, E, I, gamma),
            Model(A, B, C if use_utility else None, *factors, use_states_info_gain, I),
            use_param_info_gain and not (pA is None and pB is None),
            (policies, E, gamma),
        )

    def update_posterior_policies(
        self,
        qs: np.ndarray,
        A: np.ndarray,
        B: np.ndarray,
        C: np.ndarray,
        policies: list[np.ndarray],
        use_utility: bool = True,
        use_states_info_gain: bool = True,
        use_param_info_gain: bool = False,
        pA: Any = None,
        pB: Any = None,
        E: Any = None,
        gamma: Any = 16.0,
    ) -> Any:
        """The same, where every modality depends on all factors, and every factor on itself."""
        gains = use_states_info_gain, use_param_info_gain
        return self._planned(
            "update_posterior_policies",
            (qs, A, B, C, policies, use_utility, *gains, pA, pB, E, gamma),
            Model(A, B, C if use_utility else None, None, None, use_states_info_gain, None),
            use_param_info_gain and not (pA is None and pB is None),
            (policies, E, gamma),
        )

    def _planned(
        self,
        name: str,
        own: tuple[Any, ...],
        model: Model,
        learns: bool,
        choice: tuple[Any, Any, Any],
    ) -> Any:
        """The posterior over policies, and G; `own` are PyMDP's arguments."""
        policies, habits, precision = choice
        pymdps = getattr(self._own, name)
        tree = None if learns or not getattr(self._stands, name)() else self.facts.tree(policies)
        sizes = [(len(matrices),) for matrices in model.B]
        if tree is None or len(own[0]) != len(sizes) or not all(map(is_belief, own[0], sizes)):
            return pymdps(*own)
        planner = Planner(model, tree, self.facts)
        try:
            G = planner.energies([belief[np.newaxis] for belief in own[0]])[:, 0]
        except Unfit:
            return pymdps(*own)
        case = self.facts.kinds.of((name, *planner.kind))
        if not case.facts or not np.isfinite(G).all():  # there are NaNs of several kinds
            return pymdps(*own)
        prior = maths.spm_log_single(np.ones(len(G)) / len(G) if habits is None else habits)
        found = maths.softmax(G * precision + prior), G
        cases = [case, *planner.cases]
        return found if all(each.proven for each in cases) else settle(cases, found, pymdps(*own))

    def sample_action(
        self,
        q_pi: np.ndarray,
        policies: list[np.ndarray],
        num_controls: Sequence[int],
        action_selection: str = "deterministic",
        alpha: Any = 16.0,
    ) -> Any:
        """PyMDP's choice of each factor's action, from sums over policies that are made at once."""
        pymdps, own = self._own.sample_action, (q_pi, policies, num_controls)
        choice = action_selection, alpha
        tree = self.facts.tree(policies) if self._stands.sample_action() else None
        if tree is None or not is_belief(q_pi, (len(policies),)):
            return pymdps(*own, *choice)
        least, most = tree.first.min(axis=1), tree.first.max(axis=1)
        if len(num_controls) != tree.factors or least.min() < 0 or (most >= num_controls).any():
            return pymdps(*own, *choice)
        case = self.facts.kinds.of(("sample_action", tree.factors, len(q_pi)))
        if not case.facts:
            return pymdps(*own, *choice)
        drawn = None if case.proven else np.random.get_state()
        found = np.zeros(tree.factors)
        for factor, actions in enumerate(tree.first):
            sums = np.bincount(actions, q_pi, num_controls[factor])
            each = [np.array([[action]]) for action in range(len(sums))]
            found[factor] = pymdps(sums, each, num_controls[factor : factor + 1], *choice)[0]
        if drawn is None:
            return found
        np.random.set_state(drawn)
        return settle([case], found, pymdps(*own, *choice))


def _has_rows(A: np.ndarray, outcomes: int) -> bool:
    fits = len(A) == outcomes if A.ndim else False
    return fits and (A.ndim == 2 or (A.ndim > 2 and A.flags.c_contiguous))


def _observed(obs: np.ndarray) -> int | None:
    """The index of the 1.0 in a vector that is 0.0 elsewhere."""
    if type(obs) is not np.ndarray or obs.ndim != 1 or obs.size == 0 or obs.dtype != np.float64:
        return None
    outcome = int(obs.argmax())
    return outcome if obs[outcome] == 1.0 and np.count_nonzero(obs) == 1 else None


def _in_parts(dot_likelihood: Callable[..., Any], A: np.ndarray, obs: np.ndarray) -> np.ndarray:
    """The likelihood, some states at a time, as each state's is computed by itself.

    At least two, because PyMDP makes a single number a float64.
    """
    states = A.reshape(len(A), -1)
    parts = max(1, min(A.size // BLOCK, states.shape[1] // 2))
    return np.concatenate(
        [dot_likelihood(part, obs) for part in np.array_split(states, parts, axis=1)]
    )
