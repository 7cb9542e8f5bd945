"""Pass `policies`: the list of policies as one compact array that all agents share."""

from __future__ import annotations

from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.constants import constant
from memprof.store.identity import links_of


class Policies(Pass):
    """Replaces `agent.policies`, a list of arrays (steps x factors), by one read-only array of
    (policies x steps x factors), of the same type: PyMDP makes actions of its entries.

    PyMDP iterates over policies and indexes them; an array gives it the same numbers. Policies of
    unequal shapes or types are left as they are, as are those that the user's own attributes hold.
    """

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
        vars(agent)["policies"] = constant(np.stack(policies))
