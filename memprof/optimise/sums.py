"""Sums over states for many agents at once, in whatever order is fast; and which of the agents come
so close to where PyMDP decides that the last bits could matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memprof.optimise.facts import Facts
from memprof.optimise.policies import joint
from memprof.optimise.pool import NEGLIGIBLE, dots
from memprof.upstream.numpy_agent import maths

BOUND = 1e-12
"""Largest change of a belief that another order of sums may cause."""
NEAR = 1e3 * BOUND


@dataclass(slots=True)
class AllAtOnce:
    """Sums of several agents' vectors at once.

    Attributes:
        doubtful: agents that PyMDP has to step itself: what it decides rests on the last bits;
            [agents].
        exact: whether all that was computed has PyMDP's bits, so that nothing is doubtful.
    """

    facts: Facts
    doubtful: np.ndarray
    exact: bool = True

    def product(
        self, matrix: np.ndarray, vectors: Sequence[np.ndarray], *, by_dot: bool = False
    ) -> np.ndarray:
        """As `planning.Sums` has it."""
        self.exact = False
        likely = joint(vectors)
        found: np.ndarray = likely.reshape(len(likely), -1) @ matrix.reshape(len(matrix), -1).T
        return found

    def gain(self, A: np.ndarray, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """As `planning.Sums` has it."""
        likely = joint(vectors).reshape(len(vectors[0]), -1)
        self.doubt(likely, NEGLIGIBLE)
        self.exact = False
        likely *= likely > NEGLIGIBLE
        columns = A.reshape(len(A), -1)
        outcomes = likely @ columns.T
        certainty = (columns * np.log(columns + NEGLIGIBLE)).sum(axis=0)
        found: np.ndarray = likely @ certainty - dots(outcomes, maths.spm_log_single(outcomes))
        return found

    def doubt(self, numbers: np.ndarray, limit: float, near: float = NEAR) -> None:
        """Note the agents some of whose numbers lie next to a limit that PyMDP compares them with.
        Rows of `numbers` are of one agent after the other, over and over."""
        if not self.exact:
            close = (np.abs(numbers - limit) <= near).any(axis=1)
            self.doubtful |= close.reshape(-1, len(self.doubtful)).any(axis=0)


def softmax(rows: np.ndarray) -> np.ndarray:
    """PyMDP's softmax of each row."""
    found: np.ndarray = np.exp(rows - rows.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found
