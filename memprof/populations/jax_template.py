"""One agent in place of a batch: a template, mapped over what is each agent's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import tree_leaves, tree_map

from memprof.optimise.jax import State
from memprof.upstream import jax_world
from memprof.upstream.jax_agent import Acted, Agent, act
from memprof.upstream.jax_world import World

# From this size on, a gather of one action's matrix out of B is slow for want of cache.
_LARGE_BYTES = 2**20


class Template(NamedTuple):
    """One agent of `batch_size=1`.

    Large transitions are in an order of their own: the actions come first, so that the matrix of
    one action is one piece of memory. None where they stay in the agent.
    """

    agent: Agent
    transitions: list[Any] | None

    @classmethod
    def of(cls, agent: Agent, own: tuple[str, ...]) -> Template:
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
    template: Template, state: State, observation: list[Any], key: Any
) -> tuple[State, Acted]:
    """`act` for one agent, without batch axes: the template agent with this agent's leaves."""
    agent = with_leaves(template.whole(), batched(state.leaves))
    agent, mind, acted = act(agent, *batched((state.mind, observation, key)))
    return State(single(mind), single(leaves_of(agent, tuple(state.leaves)))), single(acted)


def roll_alone(
    template: Template,
    world: World,
    search_keys: Any,
    state: State,
    carried: Any,
    params: Any,
    keys: tuple[Any, Any],
) -> tuple[State, Any, dict[str, Any]]:
    """PyMDP's rollout of the template agent with this agent's leaves."""
    agent, mind = with_leaves(template.whole(), batched(state.leaves)), batched(state.mind)
    params = world.params if params is None else params
    agent, mind, carried, report = jax_world.roll_alone(
        agent, world, params, mind, carried, (*keys, search_keys)
    )
    state = State(single(mind), single(leaves_of(agent, tuple(state.leaves))))
    return state, carried, report


@partial(jax.jit, static_argnums=(0, 1))
def in_groups(function: Callable[..., Any], width: int, fixed: tuple[Any, ...], rows: Any) -> Any:
    """`function` of one agent, with the arguments `fixed`, mapped over the leading axis of `rows`,
    its last arguments: `width` agents at a time, so that the temporary arrays of no more agents
    exist at once.

    Compiled once for all populations that are alike. A function compiled for each would stay with
    JAX in part (15 KB), and make a leak of populations that come and go.
    """

    def one(row: Any) -> Any:
        return function(*fixed, *row)

    each = jax.vmap(one)
    count = tree_leaves(rows)[0].shape[0]
    if count <= width:
        return each(rows)
    split = partial(tree_map, lambda x: x.reshape(-1, width, *x.shape[1:]))
    joined = partial(tree_map, lambda x: x.reshape(-1, *x.shape[2:]))
    return joined(lax.map(each, split(rows)))


def batched(tree: Any) -> Any:
    return tree_map(lambda x: x[None], tree)


def single(tree: Any) -> Any:
    return tree_map(lambda x: x[0], tree)


def with_leaves(agent: Agent, leaves: dict[str, list[Any]]) -> Agent:
    if not leaves:
        return agent
    return eqx.tree_at(
        lambda a: [getattr(a, name) for name in leaves],
        agent,
        list(leaves.values()),
        is_leaf=lambda x: x is None,
    )
