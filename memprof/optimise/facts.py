"""What the kernels of `pool` know of constants and of kinds of calls."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from memprof.optimise.policies import Tree
from memprof.optimise.pool import Case, Cases, Entries, Kinds, Surprise, gathered, in_range
from memprof.upstream.numpy_agent import maths

_NOTHING: Case[Any] = Case(None)


class Facts:
    """Found once for every constant, and forgotten with it."""

    def __init__(self) -> None:
        self.readable: Cases[bool] = Cases(in_range)
        self.surprise: Cases[Surprise] = Cases(Surprise.of)
        self.preferences: Cases[list[np.ndarray]] = Cases(_log_preferences)
        self.kinds = Kinds()
        self.gathered: Cases[Entries] = Cases(gathered)
        self.trees: Cases[Tree] = Cases(Tree.of)

    def matrix(self, X: np.ndarray) -> Case[Entries]:
        """The case of a constant matrix, or of a view of a constant, such as B's of one action."""
        owner = self.gathered.constant_under(X) if type(X) is np.ndarray else None
        if owner is None:
            return _NOTHING
        if owner is X:
            return self.gathered.of(X, None, X)
        key = (X.__array_interface__["data"], X.shape, X.strides)  # X.ctypes takes twice as long
        return self.gathered.of(owner, key, X)

    def tree(self, policies: Any) -> Tree | None:
        """The tree of a list of constants."""
        if type(policies) is not list or not policies or type(policies[0]) is not np.ndarray:
            return None
        key = len(policies), id(policies[-1])
        case = self.trees.of(policies[0], key, policies)
        if case.facts is not None and not case.facts.is_of(policies):
            case.facts = Tree.of(policies)
        return case.facts


def is_belief(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is an array of that shape, whose numbers facts hold for."""
    fits = type(array) is np.ndarray and array.shape == shape and array.dtype == np.float64
    return fits and in_range(array)


def _log_preferences(C: np.ndarray, n_steps: int) -> list[np.ndarray]:
    """As calc_expected_utility computes them, for one modality."""
    tiled = np.tile(C[:, None], (1, n_steps)) if C.ndim == 1 else copy.deepcopy(C)
    probabilities = maths.softmax(tiled)
    return [maths.spm_log_single(probabilities[:, step]) for step in range(n_steps)]
