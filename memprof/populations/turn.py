"""One turn of a NumPy agent: it perceives, learns, plans and acts, as in PyMDP's own examples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from memprof.models import object_array
from memprof.populations import Behaviour


def plainly(_: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the function of an operation, which nobody watches."""
    return function(*arguments)


def begin_anew(agent: Any, built: Mapping[str, Any] = MappingProxyType({})) -> None:
    """A new episode: PyMDP's `reset`, which leaves what was learned and the histories; and nothing
    that came before enters its inference, so that its D is the prior again. What it was `built`
    with, by attribute, it has again."""
    vars(agent).update(built)  # MMP begins with D
    agent.reset()
    vars(agent).update(built)  # PyMDP has made A and B of their counts
    agent.action = None
    if agent.inference_algo == "MMP":
        agent.prev_obs, agent.prev_actions = [], None
        if hasattr(agent, "q_pi_hist"):
            agent.q_pi_hist = []


def take_turn(
    agent: Any,
    observation: Any,
    learning: Collection[str] = (),
    *,
    first: bool,
    call: Callable[..., Any] = plainly,
) -> Behaviour:
    """`observation`, a sequence, has an index or a distribution for each modality. `learning` names
    the parameters (A, B, D) that the agent learns: B from its second turn on, D in its `first`."""
    seen = observation
    previous = agent.qs if "B" in learning and not first else None
    infer_states = agent.infer_states
    if any(isinstance(each, np.ndarray) and each.ndim for each in observation):
        observation = _distributions(observation, agent.num_obs)
        infer_states = partial(infer_states, distr_obs=True)
    else:  # `update_A` takes an array of indices for a one-hot vector
        observation = tuple(observation)
    beliefs = call("infer_states", infer_states, observation)
    if "A" in learning:
        call("update_A", agent.update_A, observation)
    if previous is not None:
        call("update_B", agent.update_B, previous)
    if "D" in learning and first:
        call("update_D", agent.update_D, beliefs)
    policies, _ = call("infer_policies", agent.infer_policies)
    action = call("sample_action", agent.sample_action)
    return Behaviour(beliefs, policies, action, seen)


def _distributions(observation: Sequence[Any], outcomes: Sequence[int]) -> np.ndarray:
    """An observation of which PyMDP takes no index any more, but a distribution per modality."""
    return object_array(
        [
            np.asarray(seen, float) if np.ndim(seen) else np.eye(size)[int(seen)]
            for seen, size in zip(observation, outcomes, strict=True)
        ]
    )
