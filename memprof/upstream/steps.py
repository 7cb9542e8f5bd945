"""A turn of PyMDP's NumPy agent: whether it is the one that `batch` computes for many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memprof.upstream.functions import Place, name_of, rests_on
from memprof.upstream.numpy_agent import Agent

METHODS = ("infer_states", "infer_policies", "sample_action", "step_time")
"""What an agent does in a turn in which it learns nothing."""

# What these call of other kinds of agents only; and Python's own.
_OF_OTHERS = (
    "update_posterior_states_full_factorized",
    "update_posterior_policies_full_factorized",
    "sophisticated_inference_search",
    "deepcopy",
)
_ASKED = ("__getattribute__", "__getattr__", "__setattr__", "__delattr__")


class PymdpsTurn:
    """PyMDP's own turn. `own` is what memprof has put another function in the place of.

    Attributes:
        unknown: what of it has another source than is known; None if all of it is known.
        places: where it finds what is PyMDP's.
    """

    def __init__(self, own: Callable[[Any], Any]) -> None:
        self._own = own
        self._methods = {name: getattr(Agent, name) for name in METHODS}
        found: dict[tuple[int, str], Place] = {}
        self.unknown: str | None = None
        for method in self._methods.values():
            unknown, places = rests_on(method, own, without=_OF_OTHERS)
            self.unknown = self.unknown or unknown
            found |= {(id(place.home), place.name): place for place in places}
        self.places = tuple(found.values())

    def changed(self) -> str | None:
        """What of it is not PyMDP's own, or not any more; None where all of it is."""
        if self.unknown is not None:
            return self.unknown
        for name, method in self._methods.items():
            if getattr(Agent, name) is not method:
                return name_of(getattr(Agent, name))
        for place in self.places:
            if self._own(place.home.get(place.name)) is not place.value:
                return str(place)
        return None


def overridden(agent: Any) -> str | None:
    """What of a turn the agent, or its class, does in its own way; None if nothing."""
    kind: type = type(agent)
    return next((name for name in METHODS if name in vars(agent)), None) or overrides(kind)


def overrides(kind: type) -> str | None:
    """What of a turn agents of this class do in their own way; None if nothing."""
    for name in METHODS:
        if getattr(kind, name) is not getattr(Agent, name):
            return name
    if kind is Agent:
        return None
    for name in _ASKED:
        if getattr(kind, name, None) is not getattr(Agent, name, None):
            return name
    own = (name for base in kind.__mro__ if base not in Agent.__mro__ for name in vars(base))
    return next((name for name in own if name == "__slots__" or name in _STATE), None)


READ = frozenset(
    (
        *("A", "B", "C", "D", "E", "I", "action", "prev_actions", "policies"),
        *("curr_timestep", "num_obs", "num_states", "num_controls", "mb_dict", "gamma", "alpha"),
        *("A_factor_list", "B_factor_list", "inference_algo", "inference_params", "pA", "pB"),
        *("use_utility", "use_states_info_gain", "use_param_info_gain", "sampling_mode"),
        *("action_selection", "sophisticated"),
    )
)
"""Attributes that a turn cannot do without."""
_STATE = READ | {"qs", "q_pi", "G", "edge_handling_params", "inference_horizon"}
_STATE |= {"qs_hist", "q_pi_hist"}  # to which a turn appends where there are any
"""Attributes that a turn reads or sets: a class that defines one, as a property for example, may do
something else then."""
