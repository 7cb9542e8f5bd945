"""The attributes of PyMDP's NumPy agent."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import FunctionType
from typing import Any

from memprof.upstream import is_pymdps

MODEL = frozenset(("A", "B", "C", "D", "E", "H", "I", "pA", "pB", "pD", "policies"))
"""What PyMDP replaces and never writes into, so that agents can share its arrays."""

HISTORIES = ("prev_actions", "prev_obs", "qs_hist", "q_pi_hist")
"""Lists that PyMDP appends to in every step, if it keeps them."""

LATEST = {"prev_actions": "action", "qs_hist": "qs", "q_pi_hist": "q_pi"}
"""Histories whose last entry is, after a step, the very object that another attribute is."""

RESULTS = ("q_pi", "G", "F", *HISTORIES)
"""Where PyMDP leaves the results of a step, beside `qs` and `action`."""

ARRAYS = (*sorted(MODEL - {"policies"}), "qs", "latest_belief", "q_pi", "G", "F", "action")
"""What PyMDP keeps arrays in, if it keeps them, beside histories and policies."""

MATRICES = ("A", "B", "pA", "pB")
"""Those of an agent's model that are large."""

BELIEFS = ("qs", "latest_belief")
"""About states."""

PRIORS = {"A": "pA", "B": "pB", "D": "pD"}
"""What an agent may learn, and the prior whose mean it then is."""

LEARNS = {"A": "modalities_to_learn", "B": "factors_to_learn", "D": "factors_to_learn"}
"""Which parts of it."""

COMPONENTS = {
    **{name: (name,) for name in ("A", "B", "C", "D", "E", "policies")},
    "learning (pA, pB, pD)": ("pA", "pB", "pD"),
    "beliefs (qs)": BELIEFS,
    "inference (q_pi, G, F)": ("q_pi", "G", "F"),
    "histories": HISTORIES,
}
"""By component of the ledger; all others are "other agent objects", and what a user's own class
adds goes by its name."""

_ATOMS = (type(None), bool, int, float, complex, str)
_VALUES = MODEL | {*RESULTS, *ARRAYS}
_FRESH: dict[str, Callable[[], Any]] = {
    "prev_actions": lambda: None,
    "prev_obs": list,
    "qs_hist": list,
    "q_pi_hist": list,
}
_READ_BY_MMP = ("q_pi", "prev_actions", "prev_obs", "q_pi_hist")


def left_out(state: dict[str, Any], keep: tuple[str, ...] | None) -> dict[str, Any]:
    """An agent's attributes without those results that neither `keep` names nor the next step
    reads: they are as in an agent that is new."""
    if keep is None:
        return state
    needed = _READ_BY_MMP if state.get("inference_algo") == "MMP" else ()
    gone = [name for name in RESULTS if name in state and name not in keep and name not in needed]
    if not gone:
        return state
    rest = {name: value for name, value in state.items() if name not in gone}
    return {**rest, **{name: _FRESH[name]() for name in gone if name in _FRESH}}


@lru_cache
def set_by_pymdp(kind: type) -> frozenset[str]:
    """Attributes that PyMDP's own classes set, as their code has it, and those that go by the name
    of its model and results in any case."""
    methods = [
        inspect.unwrap(method)  # which may be counted
        for base in kind.__mro__
        if is_pymdps(base.__module__)
        for method in vars(base).values()
        if isinstance(method, FunctionType)
    ]
    return _VALUES | frozenset(
        step.argval
        for method in methods
        for step in dis.get_instructions(method)
        if step.opname == "STORE_ATTR"
    )


def parts_of(agent: Any) -> Iterator[tuple[str, Any]]:
    """What an agent holds, by component of the ledger: PyMDP's own, then what a user's class adds,
    but for single numbers and words, and then all the rest."""
    attributes = dict(vars(agent))  # others may add to it
    for component, names in COMPONENTS.items():
        for name in names:
            if name in attributes:
                yield component, attributes[name]
    kind: type = type(agent)
    pymdps = set_by_pymdp(kind)
    for name, value in attributes.items() if pymdps else ():
        if name not in pymdps and type(value) not in _ATOMS:
            yield f"{type(agent).__name__}.{name}", value
    yield "other agent objects", agent


def keywords_of(agent: Any) -> dict[str, Any]:
    """Those of the keywords that a NumPy agent was built with of which PyMDP takes some together
    and fails with them in use."""
    return {
        "inference_algo": agent.inference_algo,
        "inference_horizon": agent.inference_horizon,
        "save_belief_hist": hasattr(agent, "q_pi_hist"),
        **agent.edge_handling_params,
    }
