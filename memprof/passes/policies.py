"""Pass `policies`: the arrays of the list of policies are rows of one that all agents share."""

from __future__ import annotations

from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.constants import constant
from memprof.store.identity import links_of


class Policies(Pass):
    """Replaces the arrays (steps x factors) in the list `agent.policies` by the rows of one
    read-only array of (policies x steps x factors), of the same type: PyMDP makes actions of its
    entries. The list is the agent's own; the rows are the same objects for all agents.

    Policies of unequal shapes or types are left as they are, as are those that the user's own
    attributes hold.
    """

    def __init__(self) -> None:
        self._rows: dict[int, tuple[np.ndarray, list[np.ndarray]]] = {}

    def empty(self) -> None:
        self._rows.clear()

    def build(self, agent: Any, index: int) -> None:
        policies = getattr(agent, "policies", None)
        if type(policies) is not list or not policies:
            return
        first = policies[0]
        if not all(
            type(policy) is np.ndarray
            and policy.dtype.kind == "i"
            and policy.dtype == first.dtype
            and policy.shape == first.shape
            for policy in policies
        ):
            return
        if "policies" in links_of(agent, copied=True).users:
            return
        together = constant(np.stack(policies))
        if id(together) not in self._rows:
            self._rows[id(together)] = together, [*together]
        vars(agent)["policies"] = [*self._rows[id(together)][1]]
