"""Pass `policies`: the list of policies as one compact array that all agents share."""

from __future__ import annotations

from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.constants import constant

_SMALLEST = (np.int8, np.int16, np.int32, np.int64)


class Policies(Pass):
    """Replaces `agent.policies`, a list of arrays (steps x factors), by one read-only array of
    (policies x steps x factors), in the smallest integers that hold every action.

    PyMDP iterates over policies, indexes them and makes `int`s of their entries; an array gives it
    the same numbers. Policies of unequal shapes or types are left as they are.
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
        stacked = np.stack(policies)
        for dtype in _SMALLEST:
            limits = np.iinfo(dtype)
            if limits.min <= stacked.min(initial=0) and stacked.max(initial=0) <= limits.max:
                agent.policies = constant(stacked.astype(dtype))
                return
