"""The two forms of a population of JAX agents: PyMDP's own batch, and one template for all, mapped
over what is each agent's own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import random as jr
from jax.tree_util import tree_map

from memprof.errors import NoAccount
from memprof.optimise.jax import Block, JaxPlan, State
from memprof.populations import AGENT, EACH, ENVIRONMENT, EVERYBODY, PUT_BACK, Probe
from memprof.populations.jax_account import bytes_of, program_memory, shapes_of
from memprof.populations.jax_chunks import (
    AWAKE_BYTES,
    MOST_PER_CHUNK,
    TEMPORARY_BYTES,
    grouped,
    padded,
    temporary_bytes,
)
from memprof.populations.jax_models import Models
from memprof.populations.jax_template import (
    Template,
    act_alone,
    in_groups,
    leaves_of,
    roll_alone,
    with_leaves,
)
from memprof.populations.jax_worlds import Worlds
from memprof.upstream.jax_agent import COMPONENTS, Acted, Agent, Mind, act, rows_of
from memprof.upstream.jax_world import World, rollout, rollout_keys
from memprof.values.instruments import Account, ProgramMemory

REPORTED = "returned by rollout"

_CALL_BY_CALL = (
    "loop: eager runs many small programs, and XLA accounts for one; set loop: jit, or add the "
    "pass jit"
)
_IN_PARTS = (
    "PyMDP's rollout is compiled in parts at every call, and XLA accounts for one program; add the "
    "pass jit, share or template"
)

Holding = tuple[int, str, Any]
T = TypeVar("T")
_rollout_keys = jax.jit(rollout_keys, static_argnums=(1, 2))


@jax.jit
def _keys(root: Any, step: Any, agents: Any) -> Any:
    """A key per agent for one step, the same whoever else there is; shape (agents, 2)."""
    return jax.vmap(partial(jr.fold_in, jr.fold_in(root, step)))(agents)


@jax.jit
def _start(world: World, agent: Agent, keys: Any, params: Any) -> Any:
    """The first observations and states of the worlds of agents, a key and `env_params` each."""
    return jax.vmap(partial(_reset, world.env(agent)))(keys, params)


def _reset(env: Any, key: Any, params: Any) -> Any:
    return env.reset(key, env_params=params)


class _Calls:
    """Calls through the probe that wait for their result; the first of a program, which compiles
    it, under a name of its own."""

    def __init__(self, probe: Probe, plan: JaxPlan) -> None:
        self._probe, self._plan = probe, plan
        self._known: dict[Any, tuple[Any, ...]] = {}

    def __call__(self, operation: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._probe.call(operation, _finished, function, *arguments)

    def program(self, function: Callable[..., Any], *arguments: Any) -> Any:
        operation = "step" if function in self._known else "compile and step"
        if function not in self._known:
            self._known[function] = shapes_of(arguments)
        return self(operation, function, *arguments)

    def called(self, function: Callable[..., Any]) -> tuple[Any, ...]:
        """The arguments of a program's first call, in shapes; nothing keeps the arrays."""
        return self._known[function]

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
        numbers: range,
        plan: JaxPlan,
        probe: Probe,
        root: Any,
        compiled: bool,
        worlds: Worlds,
        rolls: bool,
        again: Collection[str] | None = None,
    ) -> None:
        """
        Args:
            numbers: of the agents in the whole, which their keys are made of.
            again: attributes that agents have, at the beginning of every episode, as they were
                built; None where there is only one.
        """
        agents = range(len(numbers))
        self.chunks, self._numbers = [agents], numbers
        self._agent = models.agent(agents)
        self._plan, self._root = plan, root
        self._world, self._params = worlds.world, worlds.params(agents)
        self._call = _Calls(probe, plan)
        self._rolls = rolls
        self._stored: Any = None
        self._carry: dict[str, Any] | None = worlds.carry(agents) or None
        self._start, self._begins = None if again is None else self._carry, True
        self._built = leaves_of(self._agent, tuple(again or ()))
        self._reported: dict[str, Any] | None = None
        self._act = jax.jit(act) if compiled else None
        self._rollout = jax.jit(rollout, static_argnums=3) if compiled else rollout

    def fill(self, models: Models) -> None:
        """Build and store the agents; once, before the first step."""
        state = State(Mind.first(self._agent), {})
        self._stored = self._call.at_rest("optimise", self._plan.rest, state)

    def begin(self) -> None:
        """The next episode of all agents, from their D on: what they learned stays, but for what is
        as it was built again."""
        self._agent = with_leaves(self._agent, self._built)
        self._stored = self._plan.rest(State(Mind.first(self._agent), {}))
        self._carry, self._begins = self._start, True

    def step(self, chunk: int, step: int, observation: list[Any]) -> Acted:
        """One step of a chunk's agents, who perceive `observation`."""
        acted: Acted
        mind = self._plan.wake(self._stored).mind
        keys = _keys(self._root, step, np.asarray(self._numbers))
        arguments = (self._agent, mind, observation, keys)
        if self._act is None:
            self._agent, mind, acted = act(*arguments, call=self._call)
        else:
            self._agent, mind, acted = self._call.program(self._act, *arguments)
        self._stored = self._plan.rest(State(mind, {}))
        return acted

    def roll(self, chunk: int, steps: int) -> dict[str, Any]:
        """What PyMDP's rollout reports of several steps of a chunk's agents; arrays (agents, steps,
        ...)."""
        carry = self._carry
        if not self._begins:
            mind = self._plan.wake(self._stored).mind
            carry = {**(carry or {}), "qs": mind.qs, "action": mind.action}
        arguments = (self._agent, self._world, self._params, steps, self._root, carry)
        last, self._reported = self._call.program(self._rollout, *arguments)
        self._root = last["rng_key"]
        self._agent = last.pop("agent")
        self._stored = self._plan.rest(State(Mind(last.pop("qs"), last.pop("action")), {}))
        self._carry, self._begins = {**last, "agent": self._agent}, False
        return self._reported

    def account(self, agents: int, chunk: int | None) -> Account:
        """What so many agents like these would take; they step all at once, whatever the `chunk`.

        Raises:
            NoAccount: they do not live by one compiled program.
        """
        program: Any
        arguments: tuple[Any, ...]
        if self._rolls:
            if not hasattr(self._rollout, "lower"):
                raise NoAccount(_IN_PARTS)
            program = self._rollout
            agent, world, params, steps, root, carry = self._call.called(program)
            agent, params, carry = (rows_of(each, agents) for each in (agent, params, carry))
            arguments = (agent, world, params, steps, root, carry)
        else:
            if self._act is None:
                raise NoAccount(_CALL_BY_CALL)
            program, steps = self._act, 1
            arguments = rows_of(self._call.called(program), agents)
        found = program_memory(program, arguments, agents, steps)
        return Account(agents, found, bytes_of(arguments), found.argument_bytes + found.added_bytes)

    def holdings(self) -> list[Holding]:
        return [
            *_of_agent(self._agent, EACH),
            (EACH, "beliefs (qs)", self._stored),
            (EACH, ENVIRONMENT, [self._carry, self._start, self._params]),
            (EVERYBODY, ENVIRONMENT, self._world.holdings()),
            (EACH, REPORTED, self._reported),
            (EACH, AGENT, self._agent),
            (EACH, PUT_BACK, self._built),
        ]


class Shared:
    """One template agent for all, mapped over what is each agent's own.

    Agents step in chunks, all of which have the same size, so that one program serves them all; the
    last one is filled up with copies of its last agent.
    """

    def __init__(
        self,
        models: Models,
        numbers: range,
        plan: JaxPlan,
        probe: Probe,
        root: Any,
        worlds: Worlds,
        again: Collection[str] | None = None,
    ) -> None:
        """Args: numbers, again: as of `Batch`."""
        agents = len(numbers)
        self._own, self._plan, self._root, self._worlds = models.own, plan, root, worlds
        self._agents, self._numbers = agents, numbers
        self._call = _Calls(probe, plan)
        agent = models.agent(range(1))
        state = State(Mind.first(agent), leaves_of(agent, self._own))
        plan.open(state)
        self._each, self._temporary = bytes_of(state), temporary_bytes(agent, state.leaves)
        self._size, self._width = self._chunked(agents, plan.chunk)
        self.chunks = [range(i, min(agents, i + self._size)) for i in range(0, agents, self._size)]
        self._template = Template.of(agent, self._own)
        self._again = tuple(again or ())
        self._built: list[Any] = []
        self._first: State | None = state
        self._stored: list[Any] = []
        self._carried: list[Any] = []
        self._step_keys: list[np.ndarray] = []
        self._search_keys: Any = None
        self._reported: list[dict[str, Any]] = []

    def _chunked(self, agents: int, chunk: int | None) -> tuple[int, int]:
        """Agents per chunk, and those of it that are computed at once."""
        awake = max(1, min(MOST_PER_CHUNK, AWAKE_BYTES // self._each))
        most = (chunk or awake) if self._plan.chunks else agents
        return grouped(agents, most, TEMPORARY_BYTES // self._temporary)

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
        self._built = [*self._stored] if self._again else []

    def _first_state(self, models: Models, state: State, chunk: range) -> State:
        if models.differing:
            agent = models.agent(self._rows(chunk))
            found = State(Mind.first(agent), leaves_of(agent, self._own))
        else:
            found = self._repeated(state)
        return self._at_start(found, chunk)

    def begin(self) -> None:
        """As of `Batch`."""
        for number, chunk in enumerate(self.chunks):
            leaves = dict(self._wake(number).leaves)
            if self._again:
                built = self._plan.wake(self._built[number]).leaves
                leaves |= {name: built[name] for name in self._again}
            agent = self._template.agent
            mind = Mind.first(agent, leaves.get("D") or self._repeated(agent.D))
            self._rest(number, self._at_start(State(mind, leaves), chunk))
        self._carried = []

    def _at_start(self, state: State, chunk: range) -> State:
        """With what the agents' `initial_carry` says of their minds."""
        given = self._worlds.carry(self._rows(chunk))
        mind = state.mind._replace(**{n: given[n] for n in Mind._fields if n in given})
        return State(mind, state.leaves)

    def _rows(self, chunk: range) -> list[int]:
        return [*chunk, *[chunk[-1]] * (self._size - len(chunk))]

    def _repeated(self, one: T) -> T:
        """Arrays of one row as those of a chunk."""
        found: T = tree_map(lambda x: jnp.broadcast_to(x, (self._size, *x.shape[1:])), one)
        return found

    def step(self, chunk: int, step: int, observation: list[Any]) -> Acted:
        """One step of a chunk's agents, who perceive `observation`."""
        here = self.chunks[chunk]
        numbers = self._padded(np.asarray(self._numbers[here.start : here.stop]))
        rows = (
            self._wake(chunk),
            [self._padded(each) for each in observation],
            _keys(self._root, step, numbers),
        )
        acted: Acted
        state, acted = self._program(act_alone, (self._template,), rows)
        self._rest(chunk, state)
        return self._real(chunk, acted)

    def roll(self, chunk: int, steps: int) -> dict[str, Any]:
        """What PyMDP's rollout reports of several steps of a chunk's agents; arrays (agents, steps,
        ...)."""
        if chunk == 0:
            self._next_keys(steps)
        agents = self._padded(np.asarray(self.chunks[chunk]))
        for_action, for_world = (keys[agents] for keys in self._step_keys)
        params = self._worlds.own_params(agents.tolist())
        rows = (self._wake(chunk), self._carried[chunk], params, (for_action, for_world))
        fixed = (self._template, self._worlds.world, self._search_keys)
        state, self._carried[chunk], report = self._program(roll_alone, fixed, rows)
        if chunk == len(self.chunks) - 1:
            self._step_keys = []  # they have served everybody
        self._rest(chunk, state)
        self._reported[chunk : chunk + 1] = [self._real(chunk, report)]
        return self._reported[chunk]

    def _program(self, function: Callable[..., Any], fixed: tuple[Any, ...], rows: Any) -> Any:
        return self._call.program(in_groups, function, self._width, fixed, rows)

    def _next_keys(self, steps: int) -> None:
        """The keys of the next `steps` of all agents; the first time, their worlds too."""
        if not self._carried:
            keys = jr.split(self._root, self._agents + 1)
            self._root = keys[0]
            for chunk in self.chunks:
                agents = self._padded(np.asarray(chunk))
                mine, params = keys[1:][agents], self._worlds.params(agents.tolist())
                start = _start(self._worlds.world, self._template.agent, mine, params)
                given = self._worlds.carry(agents.tolist())
                self._carried.append(
                    (given.get("observation", start[0]), given.get("env_state", start[1]))
                )
        self._root, keys, self._search_keys = _rollout_keys(self._root, self._agents, steps)
        self._step_keys = [np.asarray(each).swapaxes(0, 1) for each in keys]

    def _wake(self, chunk: int) -> State:
        state: State = self._call.at_rest("activate", self._plan.wake, self._stored[chunk])
        return state

    def _rest(self, chunk: int, state: State) -> None:
        self._stored[chunk] = self._call.at_rest("passivate", self._plan.rest, state)

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        return padded(rows, self._size)

    def _real(self, chunk: int, padded: T) -> T:
        real: T = tree_map(lambda x: x[: len(self.chunks[chunk])], padded)
        return real

    def account(self, agents: int, chunk: int | None) -> Account:
        """What so many agents like these would take, in chunks of so many, or of the size that
        memprof would choose. What one takes at rest is a mean over these."""
        function, _, fixed, rows = self._call.called(in_groups)
        size, width = self._chunked(agents, chunk or self._plan.chunk)
        chunks = -(-agents // size)
        rows = rows_of(rows, size)
        steps = 1 if function is act_alone else rows[-1][0].shape[1]
        found = program_memory(in_groups, (function, width, fixed, rows), size, steps)
        state, *carried = rows[:2] if function is roll_alone else rows[:1]
        stored = size * self._stored_bytes() // (self._size * len(self.chunks))
        carried_bytes, reported = bytes_of(carried), 0
        if function is roll_alone:  # what earlier chunks of the same rollout reported, too
            reported = found.output_bytes - bytes_of((state, carried))
        return Account(
            agents=agents,
            program=found,
            held_bytes=chunks * (stored + carried_bytes) + (chunks - 1) * reported,
            device_bytes=found.argument_bytes
            + found.added_bytes
            + (chunks - 1) * (carried_bytes + reported),
            copied_bytes=self._copied_bytes(state, found),
        )

    def _stored_bytes(self) -> int:
        blocks = [each for each in self._stored if isinstance(each, Block)]
        return sum(len(each.frame) for each in blocks) + bytes_of(self._stored)

    def _copied_bytes(self, state: State, program: ProgramMemory) -> int:
        """What is on the host while a chunk that rests is awake, beyond what its program adds: its
        arrays for Python and for XLA; or, later, those for Python with their differences from the
        template, and these joined for compression."""
        if not self._plan.rests:
            return 0
        awake = bytes_of(state)
        at_rest = 3 * awake + program.output_bytes
        return max(2 * awake, at_rest - program.added_bytes)

    def holdings(self) -> list[Holding]:
        found: list[Holding] = []
        for stored in self._stored:
            if isinstance(stored, State):
                found.append((EACH, "beliefs (qs)", stored.mind))
                for name, arrays in stored.leaves.items():
                    found.append((EACH, COMPONENTS.get(name, AGENT), arrays))
            else:
                found.append((EACH, "records", stored))
        found += [(EACH, PUT_BACK, built) for built in self._built]
        found += [(EACH, ENVIRONMENT, carried) for carried in self._carried]
        found += [(EACH, REPORTED, reported) for reported in self._reported]
        found.append((EVERYBODY, ENVIRONMENT, self._worlds.world.holdings()))
        found += self._worlds.holdings()
        template = self._template
        return [
            *found,
            *_of_agent(template.agent, EVERYBODY),
            (EVERYBODY, "B", template.transitions),
            (EVERYBODY, AGENT, template),
            (EVERYBODY, "passes", self._plan),
        ]


Crowd = Batch | Shared
"""Agents in one form, in chunks that step together."""


def _of_agent(agent: Agent, owner: int) -> list[Holding]:
    arrays = vars(agent)
    return [(owner, component, arrays[name]) for name, component in COMPONENTS.items()]
