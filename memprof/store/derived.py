"""Attributes that PyMDP computes from others of the same agent, with PyMDP's own functions.

A record leaves such an attribute out when computing it anew gives the same bits, which is checked
every time that a record is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from memprof.store.flatten import is_objects
from memprof.store.segments import equal, words_of


def _policy_posterior(state: dict[str, Any]) -> Any:
    """As `control.update_posterior_policies_factorized` ends, and its MMP form with `F`."""
    from pymdp.legacy.maths import softmax, spm_log_single

    energy = state["G"] * state["gamma"]
    if state.get("inference_algo") == "MMP":
        energy = energy - state["F"]
    return softmax(energy + spm_log_single(state["E"]))


def _expected(prior: str) -> Callable[[dict[str, Any]], Any]:
    """As `Agent.update_A`, `update_B` and `update_D` end: the mean of the Dirichlet posterior."""

    def derive(state: dict[str, Any]) -> Any:
        from pymdp.legacy.utils import norm_dist_obj_arr

        return None if state.get(prior) is None else norm_dist_obj_arr(state[prior])

    return derive


DERIVED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "q_pi": _policy_posterior,
    "A": _expected("pA"),
    "B": _expected("pB"),
    "D": _expected("pD"),
}


PRIORS = {"A": "pA", "B": "pB", "D": "pD"}
"""What is derived of a prior alone."""


def derives(name: str, state: dict[str, Any]) -> bool:
    """Whether computing the attribute anew gives the bits that it has."""
    try:
        with np.errstate(all="ignore"):
            derived = DERIVED[name](state)
    except Exception:  # a user's own attribute of that name, with another meaning
        return False
    return _same_bits(derived, state[name])


def _same_bits(left: Any, right: Any) -> bool:
    if type(left) is not np.ndarray or type(right) is not np.ndarray:
        return False
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if is_objects(left):
        return all(map(_same_bits, left.ravel().tolist(), right.ravel().tolist()))
    if left.strides != right.strides:
        return False
    mine, theirs = words_of(left), words_of(right)
    if mine is None or theirs is None:
        return left.tobytes() == right.tobytes()
    return equal(mine, theirs)
