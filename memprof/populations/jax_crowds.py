"""The two forms of a population of JAX agents: PyMDP's own batch, and one template for all, mapped
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
from jax.tree_util import tree_leaves, tree_map

from memprof.optimise.jax import JaxPlan, State
from memprof.populations import EACH, ENVIRONMENT, EVERYBODY, Probe
from memprof.populations.jax_models import Models
from memprof.upstream.jax_agent import (
    COMPONENTS,
    Acted,
    Agent,
    Mind,
    World,
    act,
    rollout,
    rollout_keys,
)

MOST_PER_CHUNK = 1024
# What agents of one chunk may weigh while they are awake, and their temporary arrays of one group.
_AWAKE_BYTES = 64 * 2**20
_TEMPORARY_BYTES = 128 * 2**20

Holding = tuple[int, str, Any]
_rollout_keys = jax.jit(rollout_keys, static_argnums=(1, 2))


@jax.jit
def _keys(root: Any, step: Any, agents: Any) -> Any:
    """A key per agent for one step, the same whoever else there is; shape (agents, 2)."""
    return jax.vmap(partial(jr.fold_in, jr.fold_in(root, step)))(agents)


@jax.jit
def _start(world: World, agent: Agent, keys: Any) -> Any:
    """The first observations and states of the worlds of agents, a key each."""
    return jax.vmap(world.env(agent).reset)(keys)


class _Calls:
    """Calls through the probe that wait for their result; the first of a program, which compiles
    it, under a name of its own."""

    def __init__(self, probe: Probe, plan: JaxPlan) -> None:
        self._probe, self._plan = probe, plan
        self._known: set[Any] = set()

    def __call__(self, operation: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._probe.call(operation, _finished, function, *arguments)

    def program(self, function: Callable[..., Any], *arguments: Any) -> Any:
        operation = "step" if function in self._known else "compile and step"
        self._known.add(function)
        return self(operation, function, *arguments)

    def at_rest(self, operation: str, function: Callable[[Any], Any], agents: Any) -> Any:
        """A call that puts agents to rest or wakes them, where that changes anything."""
        return self(operation, function, agents) if self._plan.rests else function(agents)


def _finished(function: Callable[..., Any], *arguments: Any) -> Any:
    return jax.block_until_ready(function(*arguments))


class Batch:
    """What a PyMDP user has: one agent object of `batch_size=N`."""

    def __init__(
        self,
        models: Models,
        agents: int,
        plan: JaxPlan,
        probe: Probe,
        root: Any,
        compiled: bool,
        world: World,
    ) -> None:
        self.chunks = [range(agents)]
        self._agent = models.agent(range(agents))
        self._plan, self._world, self._root = plan, world, root
        self._call = _Calls(probe, plan)
        self._stored: Any = None
        self._carry: dict[str, Any] | None = None
        self._act = jax.jit(act) if compiled else None
        self._rollout = jax.jit(rollout, static_argnums=2) if compiled else rollout

    def fill(self, models: Models) -> None:
        """Build and store the agents; once, before the first step."""
        state = State(Mind.first(self._agent), {})
        self._stored = self._call.at_rest("optimise", self._plan.rest, state)

    def step(self, chunk: int, step: int, observation: list[Any]) -> Acted:
        """One step of a chunk's agents, who perceive `observation`."""
        acted: Acted
        mind = self._plan.wake(self._stored).mind
        keys = _keys(self._root, step, jnp.arange(len(self.chunks[0])))
        arguments = (self._agent, mind, observation, keys)
        if self._act is None:
            self._agent, mind, acted = act(*arguments, call=self._call)
        else:
            self._agent, mind, acted = self._call.program(self._act, *arguments)
        self._stored = self._plan.rest(State(mind, {}))
        return acted

    def roll(self, chunk: int, steps: int) -> Acted:
        """Several steps of a chunk's agents in PyMDP's world; arrays (agents, steps, ...)."""
        acted: Acted
        carry = self._carry
        if carry is not None:
            mind = self._plan.wake(self._stored).mind
            carry = {**carry, "qs": mind.qs, "action": mind.action}
        arguments = (self._agent, self._world, steps, self._root, carry)
        last, acted = self._call.program(self._rollout, *arguments)
        self._agent = last.pop("agent")
        self._stored = self._plan.rest(State(Mind(last.pop("qs"), last.pop("action")), {}))
        self._carry = {**last, "agent": self._agent}
        return acted

    def holdings(self) -> list[Holding]:
        return [
            *_of_agent(self._agent, EACH),
            (EACH, "beliefs (qs)", self._stored),
            (EACH, ENVIRONMENT, [self._carry]),
            (EVERYBODY, ENVIRONMENT, list(self._world)),
            (EACH, "other agent objects", self._agent),
        ]


class Shared:
    """One template agent for all, mapped over what is each agent's own.

    Agents step in chunks, all of which have the same size, so that one program serves them all; the
    last one is filled up with copies of its last agent.
    """

    def __init__(
        self,
        models: Models,
        agents: int,
        plan: JaxPlan,
        probe: Probe,
        root: Any,
        world: World,
    ) -> None:
        self._own, self._plan, self._root, self._world = models.own, plan, root, world
        self._agents = agents
        self._call = _Calls(probe, plan)
        agent = models.agent(range(1))
        state = State(Mind.first(agent), _leaves_of(agent, self._own))
        plan.open(state)
        size = _chunk_size(agents, state, plan)
        groups = -(-size // max(1, min(size, _TEMPORARY_BYTES // _temporary_bytes(agent, state))))
        self._width = -(-size // groups)
        self._size = self._width * groups
        self.chunks = [range(i, min(agents, i + self._size)) for i in range(0, agents, self._size)]
        self._template = _Template.of(agent, self._own)
        self._first: State | None = state
        self._stored: list[Any] = []
        self._carried: list[Any] = []
        self._step_keys: list[np.ndarray] = []

    def fill(self, models: Models) -> None:
        """Build and store the agents; once, before the first step."""
        rest, call = self._plan.rest, self._call
        for chunk in self.chunks:  # one by one, and nothing keeps a state that is stored
            self._stored.append(
                call.at_rest(
                    "optimise", rest, call("build", self._first_state, models, self._first, chunk)
                )
            )
        self._first = None

    def _first_state(self, models: Models, state: State, chunk: range) -> State:
        rows = [*chunk, *[chunk[-1]] * (self._size - len(chunk))]
        if models.differing:
            agent = models.agent(rows)
            return State(Mind.first(agent), _leaves_of(agent, self._own))
        copies: State = tree_map(lambda x: jnp.broadcast_to(x, (len(rows), *x.shape[1:])), state)
        return copies

    def step(self, chunk: int, step: int, observation: list[Any]) -> Acted:
        """One step of a chunk's agents, who perceive `observation`."""
        agents = self._padded(np.asarray(self.chunks[chunk]))
        rows = (
            self._wake(chunk),
            [self._padded(each) for each in observation],
            _keys(self._root, step, agents),
        )
        state, acted = self._program(_act_alone, (self._template,), rows)
        self._rest(chunk, state)
        return self._real(chunk, acted)

    def roll(self, chunk: int, steps: int) -> Acted:
        """Several steps of a chunk's agents in PyMDP's world; arrays (agents, steps, ...)."""
        if chunk == 0:
            self._next_keys(steps)
        agents = self._padded(np.asarray(self.chunks[chunk]))
        for_action, for_world = (keys[agents] for keys in self._step_keys)
        rows = (self._wake(chunk), self._carried[chunk], (for_action, for_world))
        fixed = (self._template, self._world)
        state, self._carried[chunk], acted = self._program(_roll_alone, fixed, rows)
        if chunk == len(self.chunks) - 1:
            self._step_keys = []  # they have served everybody
        self._rest(chunk, state)
        return self._real(chunk, acted)

    def _program(self, function: Callable[..., Any], fixed: tuple[Any, ...], rows: Any) -> Any:
        return self._call.program(_in_groups, function, self._width, fixed, rows)

    def _next_keys(self, steps: int) -> None:
        """The keys of the next `steps` of all agents; the first time, their worlds too."""
        if not self._carried:
            keys = jr.split(self._root, self._agents + 1)
            self._root = keys[0]
            for chunk in self.chunks:
                mine = keys[1:][self._padded(np.asarray(chunk))]
                self._carried.append(_start(self._world, self._template.agent, mine))
        self._root, keys = _rollout_keys(self._root, self._agents, steps)
        self._step_keys = [np.asarray(each).swapaxes(0, 1) for each in keys]

    def _wake(self, chunk: int) -> State:
        state: State = self._call.at_rest("wake", self._plan.wake, self._stored[chunk])
        return state

    def _rest(self, chunk: int, state: State) -> None:
        self._stored[chunk] = self._call.at_rest("rest", self._plan.rest, state)

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        return np.pad(rows, [(0, self._size - len(rows))] + [(0, 0)] * (rows.ndim - 1), "edge")

    def _real(self, chunk: int, acted: Acted) -> Acted:
        real: Acted = tree_map(lambda x: x[: len(self.chunks[chunk])], acted)
        return real

    def holdings(self) -> list[Holding]:
        found: list[Holding] = []
        for stored in self._stored:
            if isinstance(stored, State):
                found.append((EACH, "beliefs (qs)", stored.mind))
                for name, arrays in stored.leaves.items():
                    found.append((EACH, COMPONENTS.get(name, "other agent objects"), arrays))
            else:
                found.append((EACH, "records", stored))
        found += [(EACH, ENVIRONMENT, carried) for carried in self._carried]
        found.append((EVERYBODY, ENVIRONMENT, list(self._world)))
        template = self._template
        return [
            *found,
            *_of_agent(template.agent, EVERYBODY),
            (EVERYBODY, "B", template.transitions),
            (EVERYBODY, "other agent objects", template),
            (EVERYBODY, "passes", self._plan),
        ]


Crowd = Batch | Shared
"""Agents in one form, in chunks that step together."""


def _of_agent(agent: Agent, owner: int) -> list[Holding]:
    arrays = vars(agent)
    return [(owner, component, arrays[name]) for name, component in COMPONENTS.items()]


def _chunk_size(agents: int, state: State, plan: JaxPlan) -> int:
    """Agents per chunk: as chosen, else as many as may be awake at once; in even chunks."""
    if not plan.chunks:
        return agents
    each = sum(array.nbytes for array in tree_leaves(state))
    most = plan.chunk or max(1, min(MOST_PER_CHUNK, _AWAKE_BYTES // each))
    return -(-agents // -(-agents // most))


def _temporary_bytes(agent: Agent, state: State) -> int:
    """What one agent's step needs in passing: by XLA's account twice the transitions of its action
    or the likelihoods of its observation, and for learning some copies of what is learned."""
    arrays: list[int] = [array.nbytes for array in agent.A]
    arrays += [b.nbytes // b.shape[-1] for b in agent.B]
    learned: int = sum(array.nbytes for array in tree_leaves(state.leaves))
    return 2 * max(arrays) + 2 * learned


# From this size on, a gather of one action's matrix out of B is slow for want of cache.
_LARGE_BYTES = 2**20


class _Template(NamedTuple):
    """One agent of `batch_size=1`.

    Large transitions are in an order of their own: the actions come first, so that the matrix of
    one action is one piece of memory. None where they stay in the agent.
    """

    agent: Agent
    transitions: list[Any] | None

    @classmethod
    def of(cls, agent: Agent, own: tuple[str, ...]) -> _Template:
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


def _leaves_of(agent: Agent, own: tuple[str, ...]) -> dict[str, list[Any]]:
    """The arrays of the attributes `own`, by attribute."""
    return {name: getattr(agent, name) for name in own}


def _act_alone(
    template: _Template, state: State, observation: list[Any], key: Any
) -> tuple[State, Acted]:
    """`act` for one agent, without batch axes: the template agent with this agent's leaves."""
    agent = _with_leaves(template.whole(), _batched(state.leaves))
    agent, mind, acted = act(agent, *_batched((state.mind, observation, key)))
    return State(_single(mind), _single(_leaves_of(agent, tuple(state.leaves)))), _single(acted)


def _roll_alone(
    template: _Template, world: World, state: State, carried: Any, keys: Any
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
    state = State(_single(mind), _single(_leaves_of(agent, tuple(state.leaves))))
    return state, carried, tree_map(lambda x: x[:, 0], acted)


@partial(jax.jit, static_argnums=(0, 1))
def _in_groups(function: Callable[..., Any], width: int, fixed: tuple[Any, ...], rows: Any) -> Any:
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


def _batched(tree: Any) -> Any:
    return tree_map(lambda x: x[None], tree)


def _single(tree: Any) -> Any:
    return tree_map(lambda x: x[0], tree)


def _with_leaves(agent: Agent, leaves: dict[str, list[Any]]) -> Agent:
    if not leaves:
        return agent
    return eqx.tree_at(
        lambda a: [getattr(a, name) for name in leaves],
        agent,
        list(leaves.values()),
        is_leaf=lambda x: x is None,
    )
