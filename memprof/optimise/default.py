"""The plan that `optimize` takes by itself: how each agent is kept, by what it learns.

PyMDP's learning changes a matrix only where it was not zero. A learned matrix that is mostly zeros
therefore stays few changes of the template's, cheap next to PyMDP's own step. A dense one changes
everywhere sooner or later, and would be compressed at every rest: such agents stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from memprof.optimise.plan import Plan
from memprof.optimise.pool import Pool
from memprof.optimise.settings import keep_freed
from memprof.optimise.transforms import Histories, Share
from memprof.storage.activation import Activation, Loans
from memprof.storage.batch import Batch, rests_as_data
from memprof.storage.copies import copy_of
from memprof.storage.flatten import Handed, is_objects
from memprof.storage.template import Template
from memprof.text import format_size
from memprof.upstream.attributes import LEARNS, PRIORS

DEFAULT = ("history", "pool", "template")
"""Names of the passes that `optimize` takes by itself."""

MOST_DENSE_BYTES = 64 << 10
"""An agent that learns more than so much in dense matrices stays active."""

_DENSE = 0.125  # a share of nonzero entries; a record of more changes is no longer sparse
_FREED_PER_REPLACED = 4  # what a step takes and frees at once: priors, means and temporaries


def default_plan(history_steps: int | None = None, keep: tuple[str, ...] | None = None) -> Plan:
    """The plan that `optimize` chooses by itself; naming results to `keep` asks for records."""
    storage = ByAgent() if keep is None else Template(keep)
    storage.history_steps = history_steps
    return Plan([Pool()], [Histories(history_steps)], storage)


class ByAgent(Batch):
    """`template`, but agents that learn large dense matrices stay active, and share what is equal;
    turns are taken together, as under `batch`, where they have PyMDP's bits.

    Attributes:
        staying: how many bytes of dense matrices each of those learns, by index.
        learn: whether any agent learns.
    """

    exact_only = True

    def __init__(self) -> None:
        super().__init__()
        self.staying: dict[int, int] = {}
        self.learn = False
        self._share = Share()

    def build(self, agent: Any, index: int) -> None:
        self.staying.pop(index, None)
        learned = [(prior, mean) for prior, mean, learns in _replaced(agent) if learns]
        self.learn = self.learn or bool(learned)
        dense = sum(prior.nbytes for prior, mean in learned if _is_dense(mean))
        if dense > MOST_DENSE_BYTES:
            self.staying[index] = dense
            self._share.build(agent, index)

    def passivate(self, agent: Any, index: int, activation: Activation | None = None) -> Any:
        return agent if index in self.staying else super().passivate(agent, index, activation)

    def release(self, agent: Any, index: int) -> None:
        if index not in self.staying:
            super().release(agent, index)

    def drop(self, agent: Any, index: int) -> None:
        if index not in self.staying:
            super().drop(agent, index)

    def activate(self, stored: Any, index: int) -> Activation:
        if index in self.staying:
            return Activation(stored, Loans(self._scratch), Handed())
        return super().activate(stored, index)

    def shown(self, stored: Any, index: int) -> Activation:
        return (
            self.activate(stored, index) if index in self.staying else super().shown(stored, index)
        )

    def _without_agents(self) -> Self:
        other = super()._without_agents()
        other.staying = dict(self.staying)
        return other

    def _copied(self, stored: Any) -> Any:
        return super()._copied(stored) if rests_as_data(stored) else copy_of(stored)

    def held_by_others(self) -> list[int]:
        return [*super().held_by_others(), *self.staying]

    def leave(self, index: int) -> None:
        super().leave(index)
        self.staying.pop(index, None)

    def reason(self) -> str:
        """What was chosen for the present agents, and why, as a clause."""
        if not self.staying:
            if not self.learn:
                return "the agents learn nothing, and differ from a template in few bytes"
            return "what the agents learn takes few bytes as differences from a template"
        most = format_size(max(self.staying.values()))
        return (
            f"{len(self.staying)} stay active (share), because they learn up to {most} in dense "
            "matrices, and records of these would be much slower"
        )


def keep_what_rest_frees(agent: Any) -> None:
    """Let the process keep what an agent like this one frees when it comes to rest as a record."""
    keep_freed(_FREED_PER_REPLACED * sum(prior.nbytes for prior, _, _ in _replaced(agent)))


def _replaced(agent: Any) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """The priors that PyMDP replaces when it learns, their means, and whether they change."""
    for mean_name, prior_name in PRIORS.items():
        priors: Any = getattr(agent, prior_name, None)
        means: Any = getattr(agent, mean_name, None)
        if not (is_objects(priors) and is_objects(means) and priors.shape == means.shape):
            continue
        which = getattr(agent, LEARNS[mean_name], "all")
        for number, (prior, mean) in enumerate(zip(priors, means, strict=True)):
            if isinstance(prior, np.ndarray) and isinstance(mean, np.ndarray):
                yield prior, mean, isinstance(which, str) or number in which


def _is_dense(array: np.ndarray) -> bool:
    return bool(np.count_nonzero(array) > _DENSE * array.size)
