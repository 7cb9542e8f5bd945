"""PyMDP's JAX agent: its keywords, and one step of a batch by PyMDP's own calls; importing this
imports JAX and PyMDP."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import tree_map
from pymdp import control
from pymdp.agent import Agent
from pymdp.control import Policies

__all__ = ["Agent", "Policies"]

Call = Callable[..., Any]

# PyMDP's defaults, by keyword; `inspect.Parameter.empty` for those that it requires.
DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(Agent.__init__).parameters.items()
    if name != "self"
}
LISTS = ("A", "B", "C", "D", "H", "I", "pA", "pB")
NUMBERS = ("gamma", "alpha", "inductive_threshold", "inductive_epsilon")
# What may differ from agent to agent; all else is a setting of the program that serves them all.
LEAVES = (*LISTS, "E", *NUMBERS)
# The ledger's component of each attribute; all others are "other agent objects".
COMPONENTS = {
    **{name: name for name in "ABCDE"},
    **dict.fromkeys(("pA", "pB"), "learning (pA, pB)"),
}


def parts_of(agent: Agent) -> Iterator[tuple[str, Any]]:
    """What an agent or a batch of them holds, by component of the ledger."""
    arrays = vars(agent)
    yield from ((component, arrays[name]) for name, component in COMPONENTS.items())
    yield "other agent objects", agent


def leaves_of(agent: Agent) -> tuple[str, ...]:
    """The attributes of an agent with a row per agent of its batch; all others are settings."""
    static = {each.name for each in fields(agent) if each.metadata.get("static")}
    return tuple(name for name in vars(agent) if name not in static)


def settings_of(agent: Agent) -> dict[str, Any]:
    """All that agents of one program have in common: the fields without rows, but for the size of
    the batch."""
    rows = leaves_of(agent)
    return {n: v for n, v in vars(agent).items() if n not in rows and n != "batch_size"}


def made_of(kind: type[Agent], attributes: Mapping[str, Any]) -> Agent:
    """An agent of `batch_size=1` with these attributes, as they are."""
    made = object.__new__(kind)
    for name, value in {**attributes, "batch_size": 1}.items():
        object.__setattr__(made, name, value)
    return made


def with_rows(agent: Agent, rows: Mapping[str, Any], size: int) -> Agent:
    """The agent of one row as a batch of `size`: `rows` are those of its attributes that have a row
    per agent, all others are repeated. PyMDP makes I of three of them."""
    made = object.__new__(type(agent))
    leaves = leaves_of(agent)
    for name, value in vars(agent).items():
        found = rows.get(name, value)
        if name in leaves and name not in rows:
            found = tree_map(lambda x: jnp.broadcast_to(x, (size, *x.shape[1:])), value)
        object.__setattr__(made, name, found)
    object.__setattr__(made, "batch_size", size)
    if "I" not in rows and {"B", "H", "inductive_threshold"} & rows.keys() and plans_back(made):
        reachable = partial(control.generate_I_matrix, depth=made.inductive_depth)
        goals = jax.vmap(reachable)(made.H, made.B, made.inductive_threshold)
        object.__setattr__(made, "I", goals)
    return made


def resized(agent: Agent, size: int) -> Agent:
    """The agent as a batch of `size`, in shapes alone."""
    made = object.__new__(type(agent))
    leaves = leaves_of(agent)
    for name, value in vars(agent).items():
        found = rows_of(value, size) if name in leaves else value
        object.__setattr__(made, name, found)
    object.__setattr__(made, "batch_size", size)
    return made


def rows_of(tree: Any, size: int) -> Any:
    """Arrays with a row per agent as those of so many agents, in shapes alone; agents among them
    too."""

    def of(x: Any) -> Any:
        if isinstance(x, Agent):
            return resized(x, size)
        return jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)

    return tree_map(of, tree, is_leaf=lambda x: isinstance(x, Agent))


def own_of(agent: Agent, differing: Iterable[str], learning: Iterable[str]) -> frozenset[str]:
    """Attributes of which each agent of a batch has its own under `share`: what it learns, such as
    `("A", "B")`, and what is `differing` from agent to agent."""
    learned = {*learning}
    own = {*differing} | learned | {f"p{letter}" for letter in learned - {"D"}}
    if plans_back(agent):
        if own & {"B", "H", "inductive_threshold"}:
            own |= {"I"}  # which PyMDP makes of these
        if "B" not in learned:
            own -= {"H"}  # and makes again when B is learned
    return frozenset(own)


def plans_back(agent: Agent) -> bool:
    """Whether PyMDP makes I of the goals in H."""
    return bool(agent.use_inductive) and agent.H is not None


class Mind(NamedTuple):
    """What agents carry from one step to the next, a row per agent.

    Attributes:
        qs: posterior beliefs, per factor of shape (agents, 1, states).
        action: the last action, shape (agents, factors); -1 before the first.
    """

    qs: list[Any]
    action: Any

    @classmethod
    def first(cls, agent: Agent, D: list[Any] | None = None) -> Mind:
        """Before the first step of an episode; with D of their own, of as many agents as it has
        rows."""
        D = agent.D if D is None else D
        action = np.full((len(D[0]), agent.policies.policy_arr.shape[-1]), -1, np.int32)
        return cls([d[:, None] for d in D], action)


class Acted(NamedTuple):
    """What agents believed and did, a row per agent.

    Attributes:
        qs: posterior beliefs, per factor of shape (agents, 1, states).
        q_pi: posterior over policies, shape (agents, policies).
        action: shape (agents, factors).
    """

    qs: list[Any]
    q_pi: Any
    action: Any


def _directly(operation: str, function: Call, *arguments: Any) -> Any:
    return function(*arguments)


def act(
    agent: Agent, mind: Mind, observation: list[Any], keys: Any, call: Call = _directly
) -> tuple[Agent, Mind, Acted]:
    """Perceive, plan, learn and act once, in the order of PyMDP's `infer_and_plan`.

    Args:
        observation: per modality an index per agent, shape (agents, 1).
        keys: a random key per agent, shape (agents, 2), for the choice of the action.
        call: called with the name of each operation, its function and arguments.
    """
    agent, mind, acted, _ = plan_and_act(agent, mind, observation, keys, _policies, call)
    return agent, mind, acted


def plan_and_act(
    agent: Agent,
    mind: Mind,
    observation: list[Any],
    keys: Any,
    search: Call,
    call: Call = _directly,
) -> tuple[Agent, Mind, Acted, dict[str, Any]]:
    """`act`, with `search(agent, qs)` for the posterior over policies; and what PyMDP's rollout
    reports beside of a step."""
    prior = call("update_empirical_prior", _prior, agent, mind)
    qs = call("infer_states", agent.infer_states, observation, prior)
    q_pi, found = call("infer_policies", search, agent, qs)
    if agent.learning_mode == "online" and (agent.learn_A or agent.learn_B):
        agent = call("infer_parameters", _learn, agent, mind, qs, observation)
    if agent.learn_D:
        agent = call("learn_D", _learn_D, agent, mind, qs)
    action = call("sample_action", agent.sample_action, q_pi, keys)
    more = {"empirical_prior": prior, **found}
    return agent, Mind([q[:, -1:] for q in qs], action), Acted(qs, q_pi, action), more


def _policies(agent: Agent, qs: list[Any]) -> tuple[Any, dict[str, Any]]:
    return agent.infer_policies(qs)[0], {}


def _prior(agent: Agent, mind: Mind) -> list[Any]:
    """D before the first action, as PyMDP's rollout has it."""
    predicted = partial(agent.update_empirical_prior, mind.action, mind.qs)
    if isinstance(mind.action, jax.core.Tracer):
        prior = lax.cond(jnp.any(mind.action < 0), lambda: agent.D, predicted)
    else:  # as a loop in Python has it
        prior = agent.D if (np.asarray(mind.action) < 0).any() else predicted()
    found: list[Any] = prior
    return found


def _learn(agent: Agent, mind: Mind, qs: list[Any], observation: list[Any]) -> Agent:
    """A and B, from two beliefs in a row and the action between them."""
    if not agent.learn_B:
        return agent.infer_parameters(qs, observation, mind.action)
    both = [jnp.concatenate(pair, axis=1) for pair in zip(mind.qs, qs, strict=True)]
    return agent.infer_parameters(qs, observation, mind.action[:, None], beliefs_B=both)


def _learn_D(agent: Agent, mind: Mind, qs: list[Any]) -> Agent:
    """Count the first posterior, as PyMDP's NumPy agent does; its JAX agent takes the option
    `learn_D` and has no update for it. The prior counts are D itself."""
    first = jnp.any(mind.action < 0, axis=-1, keepdims=True)

    def learned(d: Any, q: Any) -> Any:
        counts = d + q[:, -1]
        return jnp.where(first, counts / counts.sum(-1, keepdims=True), d)

    return eqx.tree_at(lambda a: a.D, agent, list(map(learned, agent.D, qs)))
