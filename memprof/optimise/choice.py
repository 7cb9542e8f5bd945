"""Which action agents take, as PyMDP's `sample_action` and `sample_policy` choose it.

PyMDP draws by chance among the best that are equal, or from all. Here it is found at once for whom
nothing is drawn; the others draw in whatever order their turns come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memprof.optimise.planning import Unfit
from memprof.optimise.policies import Tree
from memprof.optimise.sums import NEAR, AllAtOnce, softmax
from memprof.upstream.numpy_agent import maths

EQUAL = 1e-8
"""As select_highest has it."""
_NEAR = 1e-11
_HALF = 0.5
"""NumPy draws a binomial number in another way where the probability is larger."""
_USUAL, _STEEPEST = 16.0, 1e3
"""PyMDP's gamma and alpha, and a factor that is left to PyMDP: as large as they are, they make the
last bits."""


@dataclass(slots=True)
class Choice:
    """The actions of agents, as far as they are found.

    Attributes:
        actions: of each factor, [agents, factors]; those that are drawn are not there yet.
        draws: whether an agent has to draw; [agents].
        chances: for each that is chosen (a factor's action, or a policy), the probability of every
            option, [agents, options]; or where one of the best is drawn, whether it is among them.
        outcome: of each policy, the actions; [policies, factors]; None where actions are drawn.
    """

    actions: np.ndarray
    draws: np.ndarray
    chances: list[np.ndarray]
    outcome: np.ndarray | None

    @property
    def among_equals(self) -> bool:
        """Whether those that draw pick one of the best."""
        return self.chances[0].dtype == bool

    def draw(self, rows: np.ndarray, below: Callable[[np.ndarray], np.ndarray]) -> None:
        """Let these agents draw, one after the other, as PyMDP has each draw; all of them have to.

        Args:
            below: draws an integer below each of several limits, nothing for a limit of 1;
                [agents, numbers]. Whoever draws otherwise does from `np.random`.
        """
        found = self._among_equals(rows, below) if self.among_equals else self._by_chance(rows)
        self.actions[rows] = found if self.outcome is None else self.outcome[found[:, 0]]

    def _among_equals(
        self, rows: np.ndarray, below: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """One of the best of each."""
        best = [among[rows] for among in self.chances]
        counts = np.stack([among.sum(axis=1) for among in best], axis=1)
        picks = below(counts)
        return np.stack(
            [
                (among.cumsum(axis=1) > pick[:, np.newaxis]).argmax(axis=1)
                for among, pick in zip(best, picks.T, strict=True)
            ],
            axis=1,
        )

    def _by_chance(self, rows: np.ndarray) -> np.ndarray:
        """One by its probability, as `utils.sample` draws it."""
        found = np.empty((len(rows), len(self.chances)), np.int64)
        for place, row in enumerate(rows):
            for number, chances in enumerate(self.chances):
                found[place, number] = np.random.multinomial(1, chances[row]).argmax()
        return found


def choose(
    policies: np.ndarray,
    tree: Tree,
    controls: Sequence[int],
    sums: AllAtOnce,
    *,
    sampling_mode: str,
    action_selection: str,
    gamma: float,
    alpha: float,
) -> Choice:
    """What agents choose by their `policies`, [agents, policies], which `gamma` has made of G.

    Raises:
        Unfit: PyMDP has to choose for all of them.
    """
    steep = _steepness(gamma)
    if action_selection == "stochastic":
        steep *= _steepness(alpha)
    if not sums.exact and not steep <= _STEEPEST:
        raise Unfit("their gamma or alpha is so large that the last bits decide")
    if sampling_mode == "full":
        options, outcome = [policies], tree.first.T
    else:
        options, outcome = _marginals(policies, tree, controls), None
    if action_selection == "stochastic":
        chances = [softmax(maths.spm_log_single(each) * alpha) for each in options]
        for each in chances:
            if not np.isfinite(each).all():
                raise Unfit("their alpha makes no probabilities")
            sums.doubt(_of_those_left(each), _HALF, NEAR * steep)
        everyone = np.ones(len(policies), bool)
        return Choice(np.empty((len(policies), len(controls))), everyone, chances, outcome)
    best = []
    for each in options:
        below = each.max(axis=1, keepdims=True) - each
        best.append(below <= EQUAL)
        sums.doubt(below, EQUAL, _NEAR * steep)
    found = np.stack([among.argmax(axis=1) for among in best], axis=1)
    draws = np.any([among.sum(axis=1) > 1 for among in best], axis=0)
    actions = found if outcome is None else outcome[found[:, 0]]
    return Choice(actions.astype(np.float64), draws, best, outcome)


def _steepness(precision: Any) -> float:
    """How much more a precision makes of the last bits than PyMDP's usual one; 1 if not more."""
    return float(max(1.0, np.max(np.abs(precision)) / _USUAL))


def _of_those_left(chances: np.ndarray) -> np.ndarray:
    """The probability of each option when none before it was drawn: what a multinomial draw asks
    one after the other."""
    before = np.cumsum(chances, axis=1) - chances
    left: np.ndarray = chances / np.maximum(1 - before, np.finfo(float).tiny)
    return left


def _marginals(policies: np.ndarray, tree: Tree, controls: Sequence[int]) -> list[np.ndarray]:
    """The probability of each factor's first action, [agents, actions], in PyMDP's order of
    sums."""
    of_policy = np.ascontiguousarray(policies.T)
    found = []
    for first, count in zip(tree.first.tolist(), controls, strict=True):
        sums = np.zeros((count, len(policies)))
        for action, probability in zip(first, of_policy, strict=True):
            sums[action] += probability
        mine = np.ascontiguousarray(sums.T)
        mine /= mine.sum(axis=1, keepdims=True)
        found.append(mine)
    return found
