"""Agents that share a model take one turn together: row by row what PyMDP computes one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from memprof.optimise.choice import Choice, choose
from memprof.optimise.facts import Facts
from memprof.optimise.perception import fixed_point
from memprof.optimise.planning import Model, Planner, Unfit
from memprof.optimise.policies import Tree
from memprof.optimise.pool import in_range
from memprof.optimise.sums import AllAtOnce, softmax
from memprof.storage.cohorts import NEVER
from memprof.storage.constants import constant
from memprof.upstream.numpy_agent import Agent, maths
from memprof.upstream.steps import READ


class Uncovered(Exception):
    """Agents that PyMDP has to step itself, and why, as a clause."""


class Turn(NamedTuple):
    """What agents believe, plan and choose; a row for each.

    Attributes:
        beliefs: of each factor, [agents, states].
        policies: q_pi, [agents, policies].
        energies: G, likewise.
        choice: their actions, as far as they are not drawn.
        doubtful: those that PyMDP has to step itself, [agents].
        exact: whether all of it has PyMDP's bits.
    """

    beliefs: list[np.ndarray]
    policies: np.ndarray
    energies: np.ndarray
    choice: Choice
    doubtful: np.ndarray
    exact: bool


@dataclass(slots=True)
class Group:
    """What agents have in common that take turns together.

    Attributes:
        kind: their class.
        states, outcomes, controls: how many there are, of each factor or modality.
        likelihoods: the logarithm of A, of each modality; [outcomes, states...].
        first: the logarithm of D, of each factor.
        settings: the attributes that decide how an agent perceives, plans and chooses.
        proven: whether a turn was compared with PyMDP's own.
    """

    kind: type
    states: list[int]
    outcomes: list[int]
    controls: list[int]
    model: Model
    likelihoods: list[np.ndarray]
    first: list[np.ndarray]
    habits: np.ndarray
    policies: int
    tree: Tree
    settings: dict[str, Any]
    facts: Facts
    sums_exact: bool
    proven: bool = False

    @classmethod
    def of(cls, agent: Agent, facts: Facts) -> Group:
        """What this agent has in common with those whose model has the same bits.

        Raises:
            Uncovered: they cannot take turns together.
        """
        own = vars(agent)
        settings = {name: own.get(name) for name in _SETTINGS}
        if why := not_covered(own):
            raise Uncovered(why)
        A, B, D = (_constants(own[name], name) for name in "ABD")
        C = _constants(own["C"], "C", np.isfinite)
        paths = None if own.get("I") is None else _constants(own["I"], "I")
        gains = settings["use_states_info_gain"]
        utility = C if settings["use_utility"] else None
        factors = own["A_factor_list"], own["B_factor_list"]
        if len(B) > 1 and not _as_pymdp_reads(own["mb_dict"], own["A_factor_list"], len(B)):
            raise Uncovered("their A_factor_list is not in ascending order, or mb_dict is another")
        policies = [constant(policy) for policy in own["policies"]]
        tree = facts.tree(policies)
        if tree is None or tree.first.min() < 0 or _beyond(tree, own["num_controls"]):
            raise Uncovered("their policies are no arrays of actions, all of one shape")
        return cls(
            kind=type(agent),
            states=[*own["num_states"]],
            outcomes=[*own["num_obs"]],
            controls=[*own["num_controls"]],
            model=Model(A, B, utility, *factors, bool(gains), paths),
            likelihoods=[constant(maths.spm_log_single(each)) for each in A],
            first=list(map(maths.spm_log_single, D)),
            habits=maths.spm_log_single(own["E"]),
            policies=len(policies),
            tree=tree,
            settings=settings,
            facts=facts,
            sums_exact=len(B) == 1 and all(facts.matrix(each).facts for each in _each_action(B)),
        )

    def turn(
        self, observations: np.ndarray, beliefs: Sequence[np.ndarray], actions: np.ndarray
    ) -> Turn:
        """One turn.

        Args:
            observations: [agents, modalities], each within its outcomes.
            beliefs: of each factor, as of the last turn; [agents, states].
            actions: the last ones, `NEVER` where there was none; [agents, factors].

        Raises:
            Unfit: PyMDP has to step all of them.
        """
        sums = AllAtOnce(self.facts, np.zeros(len(actions), bool), self.sums_exact)
        prior = self._prior(beliefs, actions, sums)
        believed = self._perceived(observations, prior, sums)
        planner = Planner(self.model, self.tree, self.facts, sums)
        energies = np.ascontiguousarray(planner.energies(believed).T)
        policies = softmax(energies * self.settings["gamma"] + self.habits)
        if not np.isfinite(policies).all():
            raise Unfit
        choice = choose(policies, self.tree, self.controls, sums, **self._choosing())
        return Turn(believed, policies, energies, choice, sums.doubtful, sums.exact)

    def _choosing(self) -> dict[str, Any]:
        return {n: self.settings[n] for n in _CHOOSING}

    def _prior(
        self, beliefs: Sequence[np.ndarray], actions: np.ndarray, sums: AllAtOnce
    ) -> list[np.ndarray]:
        """The logarithm of what each expects before it observes: [agents, states]."""
        found = []
        for factor, (column, first) in enumerate(zip(actions.T, self.first, strict=True)):
            expected = np.zeros((len(actions), len(first)))
            for action in np.unique(column).tolist():
                rows = column == action
                before = beliefs if rows.all() else [each[rows] for each in beliefs]
                if action != NEVER:
                    expected[rows] = self._after(factor, action, before, sums)
            logs = maths.spm_log_single(expected)
            logs[column == NEVER] = first
            found.append(logs)
        return found

    def _after(
        self, factor: int, action: int, beliefs: Sequence[np.ndarray], sums: AllAtOnce
    ) -> np.ndarray:
        """The states of a factor that beliefs lead to."""
        assert self.model.B_factors is not None
        matrix = self.model.B[factor][..., action]
        vectors = [beliefs[each] for each in self.model.B_factors[factor]]
        entries = self.facts.matrix(matrix).facts if len(vectors) == 1 else None
        if entries is None:
            return sums.product(matrix, vectors)
        if not in_range(vectors[0]):
            raise Unfit
        return entries.products(vectors[0])

    def _perceived(
        self, observations: np.ndarray, prior: list[np.ndarray], sums: AllAtOnce
    ) -> list[np.ndarray]:
        """Beliefs after observing: [agents, states] of each factor."""
        seen = [
            table[column] for table, column in zip(self.likelihoods, observations.T, strict=True)
        ]
        if len(prior) == 1:
            evidence = np.zeros_like(prior[0])
            for likelihood in seen:
                evidence += likelihood
            return [softmax(evidence + prior[0])]
        assert self.model.A_factors is not None
        return fixed_point(seen, self.model.A_factors, prior, sums, self.settings)


_CHOOSING = ("sampling_mode", "action_selection", "gamma", "alpha")
_SETTINGS = (*_CHOOSING, "inference_params", "use_utility", "use_states_info_gain")


def not_covered(own: dict[str, Any]) -> str:
    """What of an agent's attributes PyMDP has to see to itself; empty if nothing."""
    if lacking := sorted(READ - own.keys()):
        return f"they have no {lacking[0]}"
    if own["inference_algo"] != "VANILLA":
        return f"they infer by {own['inference_algo']}"
    if own.get("sophisticated"):
        return "they plan by sophisticated inference"
    if own.get("use_param_info_gain") and not (own.get("pA") is None and own.get("pB") is None):
        return "they plan for what they gain of parameters"
    if "qs_hist" in own or "q_pi_hist" in own:
        return "they keep their past beliefs (save_belief_hist)"
    if {*own["inference_params"]} != {"num_iter", "dF", "dF_tol", "compute_vfe"}:
        return f"their inference_params are {', '.join(own['inference_params'])}"
    if own["sampling_mode"] not in ("marginal", "full"):
        return f"their sampling_mode is {own['sampling_mode']!r}"
    if own["action_selection"] not in ("deterministic", "stochastic"):
        return f"their action_selection is {own['action_selection']!r}"
    return ""


def _constants(arrays: Any, name: str, fits: Any = in_range) -> list[np.ndarray]:
    """The arrays of a model, of which facts can be remembered."""
    found = []
    for array in arrays:
        if type(array) is not np.ndarray or array.dtype != np.float64 or not np.all(fits(array)):
            raise Uncovered(f"their {name} is no plain array of float64, from 0 to below 2")
        found.append(constant(array))
    return found


def _as_pymdp_reads(blanket: Any, of_modalities: Any, factors: int) -> bool:
    """Whether PyMDP's free energy, which reads a likelihood's axes as those of ascending factors,
    and its evidence for each factor, which goes by mb_dict, are of these factors."""
    mine = [[*map(int, on)] for on in of_modalities]
    of_factors = [[m for m, on in enumerate(mine) if f in on] for f in range(factors)]
    read = [
        [[*map(int, on)] for on in blanket[f"A_{name}_list"]] for name in ("factor", "modality")
    ]
    return read == [mine, of_factors] and all(on == sorted({*on}) for on in mine)


def _beyond(tree: Tree, controls: Sequence[int]) -> bool:
    """Whether a policy begins with an action that there is not."""
    return tree.factors != len(controls) or bool((tree.first.max(axis=1) >= controls).any())


def _each_action(B: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [matrices[..., action] for matrices in B for action in range(matrices.shape[-1])]
