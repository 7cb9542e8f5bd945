"""One step of PyMDP's JAX agents, by PyMDP's own calls: of a batch, or of a template agent mapped
over what is each agent's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax import random as jr
from pymdp.agent import Agent

from memprof.optimise.jax import Mind, State

Call = Callable[..., Any]


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


class World(NamedTuple):
    """The generative process of PyMDP's `rollout`: A, B and D of one world, no batch axis."""

    A: list[Any]
    B: list[Any]
    D: list[Any]

    def env(self, agent: Agent) -> Any:
        """PyMDP's environment of this world, for agents with these dependencies."""
        from pymdp.envs.env import PymdpEnv  # takes 400 MB, most of it pictures of a mouse

        return PymdpEnv(
            *self,
            A_dependencies=agent.A_dependencies,
            B_dependencies=agent.B_dependencies,
            categorical_obs=agent.categorical_obs,
        )


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
    prior = call("update_empirical_prior", _prior, agent, mind)
    qs = call("infer_states", agent.infer_states, observation, prior)
    q_pi, _ = call("infer_policies", agent.infer_policies, qs)
    if agent.learn_A or agent.learn_B:
        agent = call("infer_parameters", _learn, agent, mind, qs, observation)
    if agent.learn_D:
        agent = call("learn_D", _learn_D, agent, mind, qs)
    action = call("sample_action", agent.sample_action, q_pi, keys)
    return agent, Mind([q[:, -1:] for q in qs], action), Acted(qs, q_pi, action)


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


def first_mind(agent: Agent) -> Mind:
    """The state of mind before the first step."""
    action = -jnp.ones((agent.batch_size, agent.policies.policy_arr.shape[-1]), jnp.int32)
    return Mind([d[:, None] for d in agent.D], action)


# ---------------------------------------------------------------- the template form


# From this size on, a gather of one action's matrix out of B is slow for want of cache.
_LARGE_BYTES = 2**20


class TemplateAgent(NamedTuple):
    """One agent of `batch_size=1`.

    Large transitions are in an order of their own: the actions come first, so that the matrix of
    one action is one piece of memory. None where they stay in the agent.
    """

    agent: Agent
    transitions: list[Any] | None

    @classmethod
    def of(cls, agent: Agent, own: tuple[str, ...]) -> TemplateAgent:
        """The template form of `agent`; attributes in `own` come from each agent's leaves."""
        if "B" in own or max(b.nbytes for b in agent.B) < _LARGE_BYTES:
            return cls(agent, None)
        transitions = [jnp.asarray(jnp.moveaxis(b, -1, 1)) for b in agent.B]
        return cls(eqx.tree_at(lambda a: a.B, agent, None), transitions)

    def whole(self) -> Agent:
        """The agent as PyMDP has it."""
        if self.transitions is None:
            return self.agent
        transitions = [jnp.moveaxis(b, 1, -1) for b in self.transitions]
        return eqx.tree_at(lambda a: a.B, self.agent, transitions, is_leaf=lambda x: x is None)


def leaves_of(agent: Agent, own: tuple[str, ...]) -> dict[str, list[Any]]:
    """The arrays of the attributes `own`, by attribute."""
    return {name: getattr(agent, name) for name in own}


def act_alone(
    template: TemplateAgent, state: State, observation: list[Any], key: Any
) -> tuple[State, Acted]:
    """`act` for one agent, without batch axes: the template agent with this agent's leaves."""
    agent = _with_leaves(template.whole(), _batched(state.leaves))
    agent, mind, acted = act(agent, *_batched((state.mind, observation, key)))
    return State(_single(mind), _single(leaves_of(agent, tuple(state.leaves)))), _single(acted)


def roll_alone(
    template: TemplateAgent, world: World, state: State, carried: Any, keys: Any
) -> tuple[State, Any, Acted]:
    """PyMDP's `rollout` for one agent: `carried` is its observation and the state of its world,
    `keys` the pairs of keys for action and world, a row per step."""
    agent, mind = _with_leaves(template.whole(), _batched(state.leaves)), _batched(state.mind)
    env = world.env(agent)

    def step(carry: Any, keys: Any) -> tuple[Any, Acted]:
        agent, mind, (observation, place) = carry
        for_action, for_world = keys
        agent, mind, acted = act(agent, mind, _batched(observation), for_action[None])
        return (agent, mind, env.step(for_world, place, acted.action[0])), acted

    (agent, mind, carried), acted = lax.scan(step, (agent, mind, carried), keys)
    state = State(_single(mind), _single(leaves_of(agent, tuple(state.leaves))))
    return state, carried, jax.tree_util.tree_map(lambda x: x[:, 0], acted)


@partial(jax.jit, static_argnums=(0, 1))
def in_groups(function: Call, width: int, fixed: tuple[Any, ...], rows: Any) -> Any:
    """`function` of one agent, with the arguments `fixed`, mapped over the leading axis of `rows`,
    its last arguments: `width` agents at a time, so that the temporary arrays of no more agents
    exist at once.

    Compiled once for all populations that are alike. A function compiled for each would stay with
    JAX in part (15 KB), and make a leak of populations that come and go.
    """

    def one(row: Any) -> Any:
        return function(*fixed, *row)

    each = jax.vmap(one)
    count = jax.tree_util.tree_leaves(rows)[0].shape[0]
    if count <= width:
        return each(rows)
    split = partial(jax.tree_util.tree_map, lambda x: x.reshape(-1, width, *x.shape[1:]))
    joined = partial(jax.tree_util.tree_map, lambda x: x.reshape(-1, *x.shape[2:]))
    return joined(lax.map(each, split(rows)))


# ---------------------------------------------------------------- keys


def step_keys(root: Any, step: Any, agents: Any) -> Any:
    """A key per agent for one step, the same whoever else there is; shape (agents, 2)."""
    return jax.vmap(partial(jr.fold_in, jr.fold_in(root, step)))(agents)


def rollout_keys(rng: Any, agents: int, steps: int) -> tuple[Any, tuple[Any, Any]]:
    """The keys that PyMDP's `rollout` gives a batch of `agents`: the next root, and those for
    actions and for worlds, each of shape (steps, agents, 2)."""

    def step(rng: Any, _: None) -> tuple[Any, tuple[Any, Any]]:
        keys = jr.split(rng, agents + 2)
        for_actions = jr.split(jr.split(keys[1])[0], agents + 1)[1:]
        return keys[0], (for_actions, keys[2:])

    return lax.scan(step, rng, None, length=steps)


def _batched(tree: Any) -> Any:
    return jax.tree_util.tree_map(lambda x: x[None], tree)


def _single(tree: Any) -> Any:
    return jax.tree_util.tree_map(lambda x: x[0], tree)


def _with_leaves(agent: Agent, leaves: dict[str, list[Any]]) -> Agent:
    if not leaves:
        return agent
    return eqx.tree_at(
        lambda a: [getattr(a, name) for name in leaves],
        agent,
        list(leaves.values()),
        is_leaf=lambda x: x is None,
    )
