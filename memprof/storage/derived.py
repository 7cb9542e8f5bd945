"""Attributes that PyMDP computes from others of the same agent, with PyMDP's own functions.

A record leaves such an attribute out when computing it anew gives the same bits, which is checked
every time that a record is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from memprof.storage.flatten import is_objects
from memprof.storage.segments import equal, words_of

_MOST_FACTORS = 1024
"""Or modalities; a prior of more is no longer cheap to compute with."""


def _policy_posterior(state: dict[str, Any]) -> Any:
    """As `control.update_posterior_policies_factorized` ends, and its MMP form with `F`."""
    from pymdp.legacy.maths import softmax, spm_log_single

    evidence = state.get("F", 0) if state.get("inference_algo") == "MMP" else 0
    shape = state["G"].shape
    for term in (state["G"], state["gamma"], state["E"], evidence):
        if not _is_numeric(term) or np.shape(term) not in (shape, ()):
            raise ValueError("numbers that PyMDP would not add")
    energy = state["G"] * state["gamma"]
    if state.get("inference_algo") == "MMP":
        energy = energy - state["F"]
    return softmax(energy + spm_log_single(state["E"]))


def _expected(prior: str) -> Callable[[dict[str, Any]], Any]:
    """As `Agent.update_A`, `update_B` and `update_D` end: the mean of the Dirichlet posterior."""

    def derive(state: dict[str, Any]) -> Any:
        from pymdp.legacy.utils import norm_dist_obj_arr

        counts = state.get(prior)
        if counts is None:
            return None
        if not is_objects(counts) or counts.ndim != 1 or len(counts) > _MOST_FACTORS:
            raise ValueError(f"{prior} is no prior of PyMDP's")
        if not all(type(each) is np.ndarray and _is_numeric(each) for each in counts):
            raise ValueError(f"{prior} holds what are no counts")
        return norm_dist_obj_arr(counts)

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


def _is_numeric(value: Any) -> bool:
    """Whether computing with a value makes numbers, and few more than there are."""
    if type(value) is np.ndarray:
        return value.dtype.kind in "biufc"
    return type(value) in (int, float) or isinstance(value, np.number)


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
