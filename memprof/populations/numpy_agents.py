"""Populations of PyMDP's NumPy agent.

Agents that the user's own code builds: what contradicts them, and why they fail.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar

import numpy as np
import numpy.ma  # else NumPy loads it at some step, and it looks like agents' memory

from memprof.errors import MemprofError, ScenarioError
from memprof.models import GenerativeModel, check_model, model_builder, per_factor
from memprof.optimise.plan import Plan
from memprof.populations import (
    Behaviour,
    Lived,
    Population,
    Probe,
    begin_random,
    check_together,
    model_field,
    refused,
    step_seed,
)
from memprof.populations.as_built import AsBuilt
from memprof.populations.batch_turns import TOGETHER, Turns
from memprof.populations.environment import Environments
from memprof.populations.pending import Taken
from memprof.populations.roster import Roster
from memprof.populations.seeds import AfterResets
from memprof.populations.turn import begin_anew, take_turn
from memprof.storage.batch import Batch
from memprof.storage.constants import compared_once
from memprof.storage.flatten import is_objects
from memprof.text import own_traceback, raised
from memprof.upstream import is_jax_agent
from memprof.upstream.attributes import keywords_of
from memprof.upstream.keywords import check_numpy_together
from memprof.upstream.numpy_agent import Agent, utils
from memprof.values.measurements import Rewards, WorkingSetUse
from memprof.values.population import PopulationSpec

T = TypeVar("T")


class NumpyPopulation(Population):
    """Agents that perceive, learn, plan and act as in PyMDP's own examples; each in a world of its
    own, or where `surroundings` has them live with others."""

    def __init__(self, spec: PopulationSpec, probe: Probe, surroundings: Any = None) -> None:
        self._surroundings = surroundings
        self._spec = spec
        self._probe = probe
        self._model = model_builder(spec.model, spec.folder, spec.builder)
        self._open()

    def _open(self) -> None:
        spec = self._spec
        self._plan = plan = Plan.of(spec.passes, spec.options, spec.backend)
        self._roster = Roster(plan)
        self._together = None
        if isinstance(plan.storage, Batch) and not spec.learning:
            self._together = Turns(plan.storage)
        self._environments = self._surroundings or Environments(plan.world_array, spec.share)
        self._built = AsBuilt(spec.episodes.puts_back if spec.episodes else ())
        self._handed: dict[str, Any] | None = None
        self._new: tuple[Agent, Any, dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self._roster)

    def grow(self, agents: int) -> range:
        first = self._roster.count
        for index in self._spec.share.indices(range(first, first + agents - len(self))):
            self._probe.call("build", self._build, index)
            if self._spec.passes:
                self._probe.call("optimise", self._optimise)
        return range(first, self._roster.count)

    def leave(self, agents: range) -> None:
        for agent in agents:
            self._roster.leave(agent)
            self._environments.leave(agent)
            self._built.leave(agent)
        if not len(self):
            self._handed = None

    def _build(self, index: int) -> None:
        """PyMDP's agent and its world, by its number in the whole; taken over at once where there
        is nothing to optimise."""
        if self._spec.share.first and not (self._spec.private or self._handed):
            self._handed = {**self._model_of(0).arguments, **self._spec.agent}
        model = self._model_of(index)
        arguments = {**model.arguments, **self._spec.agent}
        if model.agent is not None:
            check_ready(self._spec, model.agent)
            if type(model.agent) is Agent:  # a class of the user's own may do otherwise
                check_together(check_numpy_together, keywords_of(model.agent), self._spec, index)
        else:
            check_together(check_numpy_together, arguments, self._spec, index)
        if index == 0:
            check_model(arguments, model_field(self._spec))
        if not self._spec.private:
            self._handed = arguments = self._handed or arguments
        agent = self._construct(arguments) if model.agent is None else model.agent
        world = model.world or arguments
        world = {**world, **{name: per_factor(world[name]) for name in "ABD" if name in world}}
        # Lists of the same arrays: the agent's containers are its own.
        lists = {name: [*value] for name, value in world.items() if is_objects(value)}
        self._new = agent, model.environment, {**world, **lists}
        if not self._spec.passes:
            self._optimise()

    def _model_of(self, index: int) -> GenerativeModel:
        begin_random(step_seed(self._spec.seed, index, -1))
        return self._model(index)

    def _optimise(self) -> None:
        """What memprof makes of the agent that was built, and of its world."""
        assert self._new is not None
        agent, environment, world = self._new
        self._new = None  # what no agent needs any more is freed in here
        self._built.add(agent)
        with compared_once():
            self._roster.add(agent)
            self._environments.add(environment, world)

    def live(self, agents: range, steps: range) -> Iterator[Lived]:
        for step in steps:
            if self._together is not None:
                for first in range(agents.start, agents.stop, TOGETHER):
                    part = range(first, min(agents.stop, first + TOGETHER))
                    turns = self._live_together(self._together, part, step)
                    yield from map(Lived, part, repeat(step), turns)
                continue
            for agent in self._roster.in_turn(agents):
                yield Lived(agent, step, self._live(agent, step))

    def _live(self, agent: int, step: int) -> Behaviour:
        call, roster = self._probe.call, self._roster
        if not self._plan.rests:
            return self._act_checked(roster.at(agent), agent, step)
        body = call("activate", roster.wake, agent)
        try:
            return self._act_checked(body, agent, step)
        finally:
            call("passivate", roster.rest, agent)

    def _live_together(self, together: Turns, agents: range, step: int) -> Iterator[Behaviour]:
        """All perceive, and then all take their turns; each goes on with the random numbers that
        its world has left it."""
        begins = self._spec.begins(step)
        last = [None] * len(agents) if begins else together.last_actions(agents)
        seeds = [self._seed(agent, step) for agent in agents]
        observations, onwards = self._probe.call(
            "environment", self._environments.observe_each, agents, last, seeds
        )
        told = self._environments.begun.intersection(agents)
        self._environments.begun -= told
        if anew := agents if begins and step else sorted(told):
            onwards = AfterResets(onwards)
            for agent in anew:
                self._begin_anew(agent, step, onwards.drawing(agent - agents.start))

        def one_by_one(place: int) -> Behaviour:
            agent = agents[place]
            body = self._roster.wake(agent)
            if type(body) is not Agent:
                random.seed(seeds[place])
            try:
                return self._checked(
                    body,
                    agent,
                    step,
                    lambda: self._turn(body, observations[place], first=begins),
                )
            finally:
                self._roster.rest(agent)

        taken: list[Taken] = self._probe.call(
            "turns", list, together.take(agents, observations, one_by_one, onwards)
        )
        behaviours = chain.from_iterable(each.behaviours() for each in taken)
        for did, seen in zip(behaviours, observations, strict=True):
            yield Behaviour(did.beliefs, did.policies, did.action, seen)

    def _begin_anew(self, agent: int, step: int, drawing: AbstractContextManager[None]) -> None:
        """An agent at rest, which may be in the block of those who draw."""
        body = self._roster.wake(agent)
        is_users = type(body) is not Agent
        if is_users:
            random.seed(self._seed(agent, step))
        try:
            with drawing if is_users else nullcontext():  # PyMDP draws nothing
                self._checked(body, agent, step, lambda: self._reset(body, agent))
        finally:
            self._roster.rest(agent)

    def _seed(self, agent: int, step: int) -> int:
        return step_seed(self._spec.seed, self._spec.share.index(agent), step)

    def _act_checked(self, body: Agent, agent: int, step: int) -> Behaviour:
        return self._checked(body, agent, step, partial(self._act, body, agent, step))

    def _checked(self, body: Agent, agent: int, step: int, act: Callable[[], T]) -> T:
        try:
            return act()
        except (MemprofError, MemoryError):
            raise
        except Exception as error:
            where = f"step {step} of agent {self._spec.share.index(agent)}"
            if type(body) is not Agent:
                raise failed(self._spec, body, error, where) from None
            raise refused(self._spec, error, f"failed at {where}") from None

    def _act(self, body: Agent, agent: int, step: int) -> Behaviour:
        call = self._probe.call
        seed = self._seed(agent, step)
        np.random.seed(seed)
        if type(body) is not Agent or self._environments.is_own(agent):
            random.seed(seed)  # of which PyMDP draws nothing
        begins = self._spec.begins(step)
        last = None if begins else body.action  # a ready agent may have acted elsewhere before
        observation: Any = call("environment", self._environments.observe, agent, last)
        begun = self._environments.begun
        if agent in begun:
            begun.remove(agent)
            begins = True
        if begins and step:
            self._reset(body, agent)
        first = begins or self._environments.is_new(agent)
        return self._turn(body, observation, first=first)

    def _reset(self, body: Agent, agent: int) -> None:
        self._probe.call("reset", begin_anew, body, self._built.of(agent))

    def _turn(self, body: Agent, observation: Any, *, first: bool) -> Behaviour:
        learning, call = self._spec.learning, self._probe.call
        return take_turn(body, observation, learning, first=first, call=call)

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        yield from self._roster.holdings()
        yield from self._environments.holdings()
        yield from self._built.holdings()

    @property
    def file_bytes(self) -> int:
        return self._plan.storage.file_bytes

    @property
    def kept_whole(self) -> tuple[str, ...]:
        return tuple(f"{name} ({kind})" for name, kind in self._plan.storage.kept_whole.items())

    def working_set(self) -> WorkingSetUse | None:
        return self._roster.working_set()

    def rewards(self) -> Rewards | None:
        return self._environments.rewards.total()

    def facts(self) -> dict[str, str]:
        left = [f"{name} ({what})" for name, what in self._plan.not_replaced.items()]
        return {"device": "cpu", **({"not replaced by pool": ", ".join(left)} if left else {})}

    def close(self) -> None:
        self._roster.close()
        self._open()

    def _construct(self, arguments: dict[str, Any]) -> Agent:
        priors = {}
        for letter in self._spec.learning:
            if arguments.get(letter) is None:
                raise ScenarioError("learning", f"{letter} cannot be learned: the model has none")
            if arguments.get(f"p{letter}") is None:
                priors[f"p{letter}"] = utils.dirichlet_like(arguments[letter])
        try:
            return Agent(**{**arguments, **priors})
        except MemoryError:
            raise
        except Exception as error:
            raise refused(self._spec, error, "refused its arguments") from None


READ_ONLY = (
    "agents share the arrays of their models, and large ones are lent, so these arrays are "
    "read-only. Give the agent its own copy first, agent.C[0] = agent.C[0].copy(); or agent.C = "
    "agent.C.copy(), if agents share the container"
)
"""What to do about a write that NumPy has refused."""


def check_ready(spec: PopulationSpec, agent: Any) -> None:
    """Check that the scenario asks for nothing that would have to be known before it was built.

    Raises:
        ScenarioError: at the field that contradicts a ready agent.
    """
    made = f"{spec.model['callable']} returned a ready agent"
    if is_jax_agent(agent):
        raise ScenarioError(
            "backend", f"{made} of PyMDP's JAX backend, which NumPy cannot run; set backend: jax"
        )
    if spec.agent:
        raise ScenarioError(
            "agent",
            f"{made}, which takes no further keyword arguments; found {sorted(spec.agent)}. "
            "Remove agent, and pass them where the agent is built",
        )
    if not spec.private:
        raise ScenarioError(
            "model.private",
            f"false gives all agents the same keyword arguments, but {made}; remove it",
        )
    for letter in spec.learning:
        if getattr(agent, f"p{letter}", None) is None:
            raise ScenarioError(
                "learning",
                f"{letter} cannot be learned: {made} without p{letter}. Give it one where it is "
                f"built, or leave {letter} out of learning",
            )


def failed(spec: PopulationSpec, agent: Any, error: Exception, where: str) -> ScenarioError:
    """What a ready agent raised in use, with its traceback; passes have the blame where they broke
    what its own code takes for granted."""
    field, remedy = model_field(spec), "its traceback says where"
    if spec.passes and "read-only" in str(error):
        field = "passes"
        remedy = f"under {', '.join(spec.passes)} {READ_ONLY}. Or leave the pass out"
    elif spec.passes and "is stored in a population" in str(error):
        field = "passes"
        remedy = (
            f"under {', '.join(spec.passes)} an agent is stored after each use, and cannot be "
            "used by others in the meantime. Leave the pass out"
        )
    problem = f"{type(agent).__name__} failed at {where}: {raised(error)}; {remedy}"
    return ScenarioError(field, problem, detail=own_traceback(error))
