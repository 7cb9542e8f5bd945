"""The two forms of a population of JAX agents: PyMDP's own batch, and one template for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import random as jr
from pymdp.agent import Agent

from memprof.optimise.jax import JaxPlan, Mind, State
from memprof.populations.base import EACH, ENVIRONMENT, EVERYBODY, Probe
from memprof.populations.jax_models import Models
from memprof.populations.jax_step import (
    Acted,
    TemplateAgent,
    World,
    act,
    act_alone,
    first_mind,
    in_groups,
    leaves_of,
    roll_alone,
    rollout_keys,
    step_keys,
)

MOST_PER_CHUNK = 1024
# What agents of one chunk may weigh while they are awake, and their temporary arrays of one group.
_AWAKE_BYTES = 64 * 2**20
_TEMPORARY_BYTES = 128 * 2**20

_COMPONENTS = {
    "A": "A",
    "B": "B",
    "C": "C",
    "D": "D",
    "E": "E",
    "pA": "learning (pA, pB)",
    "pB": "learning (pA, pB)",
}
Holding = tuple[int, str, Any]
_keys = jax.jit(step_keys)
_rollout_keys = jax.jit(rollout_keys, static_argnums=(1, 2))


@jax.jit
def _start(world: World, agent: Agent, keys: Any) -> Any:
    """The first observations and states of the worlds of agents, a key each."""
    return jax.vmap(world.env(agent).reset)(keys)


class Crowd(Protocol):
    """Agents in one form, in chunks that step together."""

    @property
    def chunks(self) -> list[range]: ...

    def fill(self, models: Models) -> None:
        """Build and store the agents; once, before the first step."""
        ...

    def step(self, chunk: int, step: int, observation: list[Any]) -> Acted:
        """One step of a chunk's agents, who perceive `observation`."""
        ...

    def roll(self, chunk: int, steps: int) -> Acted:
        """Several steps of a chunk's agents in PyMDP's world; arrays (agents, steps, ...)."""
        ...

    def holdings(self) -> list[Holding]: ...


class _Calls:
    """Calls through the probe that wait for their result; the first of a program, which compiles
    it, under a name of its own."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._known: set[Any] = set()

    def __call__(self, operation: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._probe.call(operation, _finished, function, *arguments)

    def program(self, function: Callable[..., Any], *arguments: Any) -> Any:
        operation = "step" if function in self._known else "compile and step"
        self._known.add(function)
        return self(operation, function, *arguments)


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
        self._call = _Calls(probe)
        self._stored: Any = None
        self._carry: dict[str, Any] | None = None
        self._act = jax.jit(act) if compiled else None
        self._rollout = jax.jit(_batch_rollout, static_argnums=2) if compiled else _batch_rollout

    def fill(self, models: Models) -> None:
        self._stored = _optimised(self._plan, self._call, State(first_mind(self._agent), {}))

    def step(self, chunk: int, step: int, observation: list[Any]) -> Acted:
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


def _batch_rollout(agent: Agent, world: World, steps: int, rng: Any, carry: Any) -> Any:
    """PyMDP's `rollout` of a batch; what it reports at each step, without what it learned."""
    from pymdp.envs.rollout import rollout

    last, info = rollout(agent, world.env(agent), steps - 1, rng, initial_carry=carry)
    return last, Acted([q[:, :, None] for q in info["qs"]], info["qpi"], info["action"])


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
        self._call = _Calls(probe)
        agent = models.agent(range(1))
        state = State(first_mind(agent), leaves_of(agent, self._own))
        plan.open(state)
        size = _chunk_size(agents, state, plan)
        groups = -(-size // max(1, min(size, _TEMPORARY_BYTES // _temporary_bytes(agent, state))))
        self._width = -(-size // groups)
        self._size = self._width * groups
        self.chunks = [range(i, min(agents, i + self._size)) for i in range(0, agents, self._size)]
        self._template = TemplateAgent.of(agent, self._own)
        self._first: State | None = state
        self._stored: list[Any] = []
        self._carried: list[Any] = []
        self._step_keys: list[np.ndarray] = []

    def fill(self, models: Models) -> None:
        plan, call = self._plan, self._call
        for chunk in self.chunks:  # one by one, and nothing keeps a state that is stored
            stored = _optimised(
                plan, call, call("build", self._first_state, models, self._first, chunk)
            )
            self._stored.append(stored)
        self._first = None

    def _first_state(self, models: Models, state: State, chunk: range) -> State:
        rows = [*chunk, *[chunk[-1]] * (self._size - len(chunk))]
        if models.differing:
            agent = models.agent(rows)
            return State(first_mind(agent), leaves_of(agent, self._own))
        copies: State = jax.tree_util.tree_map(
            lambda x: jnp.broadcast_to(x, (len(rows), *x.shape[1:])), state
        )
        return copies

    def step(self, chunk: int, step: int, observation: list[Any]) -> Acted:
        agents = self._padded(np.asarray(self.chunks[chunk]))
        rows = (
            self._wake(chunk),
            [self._padded(each) for each in observation],
            _keys(self._root, step, agents),
        )
        state, acted = self._program(act_alone, (self._template,), rows)
        self._rest(chunk, state)
        return self._real(chunk, acted)

    def roll(self, chunk: int, steps: int) -> Acted:
        if chunk == 0:
            self._next_keys(steps)
        agents = self._padded(np.asarray(self.chunks[chunk]))
        for_action, for_world = (keys[agents] for keys in self._step_keys)
        rows = (self._wake(chunk), self._carried[chunk], (for_action, for_world))
        fixed = (self._template, self._world)
        state, self._carried[chunk], acted = self._program(roll_alone, fixed, rows)
        if chunk == len(self.chunks) - 1:
            self._step_keys = []  # they have served everybody
        self._rest(chunk, state)
        return self._real(chunk, acted)

    def _program(self, function: Callable[..., Any], fixed: tuple[Any, ...], rows: Any) -> Any:
        return self._call.program(in_groups, function, self._width, fixed, rows)

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
        if not self._plan.rests:
            return self._plan.wake(self._stored[chunk])
        state: State = self._call("wake", self._plan.wake, self._stored[chunk])
        return state

    def _rest(self, chunk: int, state: State) -> None:
        if not self._plan.rests:
            self._stored[chunk] = state
        else:
            self._stored[chunk] = self._call("rest", self._plan.rest, state)

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        return np.pad(rows, [(0, self._size - len(rows))] + [(0, 0)] * (rows.ndim - 1), "edge")

    def _real(self, chunk: int, acted: Acted) -> Acted:
        real: Acted = jax.tree_util.tree_map(lambda x: x[: len(self.chunks[chunk])], acted)
        return real

    def holdings(self) -> list[Holding]:
        found: list[Holding] = []
        for stored in self._stored:
            if isinstance(stored, State):
                found.append((EACH, "beliefs (qs)", stored.mind))
                for name, arrays in stored.leaves.items():
                    found.append((EACH, _COMPONENTS.get(name, "other agent objects"), arrays))
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


def _optimised(plan: JaxPlan, call: _Calls, state: State) -> Any:
    """The stored form of newly built agents."""
    return call("optimise", plan.rest, state) if plan.rests else plan.rest(state)


def _of_agent(agent: Agent, owner: int) -> list[Holding]:
    arrays = vars(agent)
    return [(owner, component, arrays[name]) for name, component in _COMPONENTS.items()]


def _chunk_size(agents: int, state: State, plan: JaxPlan) -> int:
    """Agents per chunk: as chosen, else as many as may be awake at once; in even chunks."""
    if not plan.chunks:
        return agents
    each = sum(array.nbytes for array in jax.tree_util.tree_leaves(state))
    most = plan.chunk or max(1, min(MOST_PER_CHUNK, _AWAKE_BYTES // each))
    return -(-agents // -(-agents // most))


def _temporary_bytes(agent: Agent, state: State) -> int:
    """What one agent's step needs in passing: by XLA's account twice the transitions of its action
    or the likelihoods of its observation, and for learning some copies of what is learned."""
    arrays: list[int] = [array.nbytes for array in agent.A]
    arrays += [b.nbytes // b.shape[-1] for b in agent.B]
    learned: int = sum(array.nbytes for array in jax.tree_util.tree_leaves(state.leaves))
    return 2 * max(arrays) + 2 * learned
