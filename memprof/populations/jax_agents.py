"""Populations of PyMDP's JAX agent, `pymdp.agent.Agent`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, starmap
from typing import Any

import numpy as np

from memprof.errors import BackendFailed, ScenarioError, UsageError
from memprof.models import GenerativeModel, OwnWorld, check_priors, model_builder, object_array
from memprof.populations import (
    EVERYBODY,
    Behaviour,
    Lived,
    Population,
    Probe,
    begin_random,
    model_field,
    refused,
    step_seed,
)
from memprof.populations.environment import Environments
from memprof.text import raised
from memprof.values.instruments import Account
from memprof.values.measurements import Rewards
from memprof.values.population import PopulationSpec

try:
    import jax

    jax.devices()
except MemoryError:
    raise
except Exception as error:
    raise BackendFailed(
        f"JAX could not start: {raised(error)}. Check JAX_PLATFORMS and the "
        "installation of jax and jaxlib, or use backend: numpy"
    ) from error

import jax.numpy as jnp
from jax import random as jr

from memprof.optimise.jax import JaxPlan
from memprof.populations.jax_crowds import Batch, Crowd, Shared
from memprof.populations.jax_given import memory_error
from memprof.populations.jax_models import Models
from memprof.populations.jax_worlds import Worlds
from memprof.upstream import is_agent
from memprof.upstream.jax_agent import Acted, own_of
from memprof.upstream.jax_world import World
from memprof.upstream.jax_world import acted as rolled


class JaxPopulation(Population):
    """Agents that perceive, learn, plan and act as PyMDP's `infer_and_plan` has it.

    Under the loops `jit` and `eager` the environment is the same as that of NumPy agents; under
    `rollout` it is PyMDP's. The population is built anew whenever it grows, since the size of
    PyMDP's batch is fixed.
    """

    rebuilds = compiles = True

    def __init__(self, spec: PopulationSpec, probe: Probe) -> None:
        self._spec = spec
        self._probe = probe
        self._model = model_builder(spec.model, spec.folder, spec.builder)
        self._rolls = spec.loop == "rollout"
        self.stride = spec.episodes.steps if spec.episodes else spec.steps
        if not self._rolls:
            self.stride = 1
        elif spec.share.every > 1:
            raise ScenarioError(
                "loop",
                "rollout gives each agent random numbers by the size of its batch, and a part of a "
                "population is one of another size; set loop: jit",
            )
        plan = self._new_plan()
        self._compiles = plan.compiles or plan.shares or spec.loop == "jit"
        self._keeps = False
        self._empty()

    def _new_plan(self) -> JaxPlan:
        return JaxPlan.of(self._spec.passes, self._spec.backend, self._spec.options)

    def _empty(self) -> None:
        self._crowd: Crowd | None = None
        self._environments = Environments(lambda array, first: array, self._spec.share)
        self._actions: np.ndarray | None = None
        self._added: list[dict[str, Any]] = []
        self._preprocess: Any = None
        self._checked: dict[str, Any] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def grow(self, agents: int) -> range:
        if self._crowd is not None:
            self._empty()
            if not self._keeps:  # programs for another number of agents are of no use
                self.drop_caches()
        try:
            models = self._probe.call("build", self._build, agents)
            assert self._crowd is not None
            self._crowd.fill(models)
        except Exception as error:
            raise memory_error(error) or error from None
        self._count = agents
        return range(agents)

    def leave(self, agents: range) -> None:
        raise UsageError(
            "JAX agents step as one batch of a fixed size: none can leave. Close the population, "
            "and build a new one from the agents that stay"
        )

    def _build(self, agents: int) -> Models:
        """The crowd, still empty, and what its agents are made of."""
        first = self._model_of(0)
        models = Models(self._spec, first.made)
        self._outcomes = [a.shape[0] for a in models.world["A"]]
        self._categorical = bool(models.template.categorical_obs)
        self._preprocess = models.template.preprocess_fn
        each = []
        for model, described in self._peopled(models, first, agents):
            self._added.append(model.added)
            if model.environment is None and model.world is None:
                self._check_start(described)
            if self._rolls:
                each.append(replace(model, arguments={}, agent=None))
            else:
                self._environments.add(model.environment, model.world or described)
        worlds = self._worlds(models, each) if self._rolls else Worlds(World())
        numbers = self._numbers(agents)
        plan, root = self._new_plan(), jr.PRNGKey(self._spec.seed)
        episodes = self._spec.episodes
        again = own_of(models.template, (), episodes.puts_back) if episodes else None
        if plan.shares:
            self._crowd = Shared(models, numbers, plan, self._probe, root, worlds, again)
        else:
            self._crowd = Batch(
                models, numbers, plan, self._probe, root, self._compiles, worlds, self._rolls, again
            )
        return models

    def _peopled(
        self, models: Models, first: GenerativeModel, agents: int
    ) -> Iterator[tuple[GenerativeModel, dict[str, Any]]]:
        """The model of each agent, with the world that it describes; `models` has them then."""
        if models.size > 1:
            self._check_batch(models.size, first)
            yield from ((first, world) for world in models.repeat(agents))
            return
        for number, agent in enumerate(self._numbers(agents)):
            if number and not self._models_differ():
                yield first, models.world
                continue
            model = self._model_of(agent) if agent and self._models_differ() else first
            (world,) = models.take([model.made])
            yield model, world

    def _numbers(self, agents: int) -> range:
        """So many agents, by their numbers in the whole."""
        return self._spec.share.indices(range(agents))

    def _check_start(self, described: dict[str, Any]) -> None:
        """The world draws its first states from D, of which PyMDP's agent takes anything."""
        if described is self._checked:
            return
        self._checked = described
        try:
            model = {name: object_array(described[name]) for name in "ABD" if name in described}
            check_priors(model, model_field(self._spec))
        except ScenarioError as error:
            raise ScenarioError(
                error.field,
                f"{error.problem}; the world draws its first states from D. Return an environment "
                "beside the agent, or mend D",
            ) from None

    def _check_batch(self, size: int, first: GenerativeModel) -> None:
        """A batch of the factory's own is the whole population. Where memprof measures with other
        numbers of agents than the scenario's, they are as many of its rows, in turn."""
        made = f"{self._spec.model.get('callable')} returned a batch of {size} agents (batch_size)"
        if size != self._spec.agents:
            raise ScenarioError(
                "agents",
                f"{made}, and the scenario says {self._spec.agents}. Set agents: {size}, or return "
                "one agent per call",
            )
        if first.of_one:
            raise ScenarioError(
                "model.callable",
                f"{made} for agent 0 alone. Return one agent per call, or leave out the parameter "
                "agent",
            )
        if not isinstance(first.environment, OwnWorld | None):
            raise ScenarioError(
                "model.callable",
                f"{made} and one environment for all of them. Return one agent and its environment "
                "per call",
            )

    def _model_of(self, agent: int) -> GenerativeModel:
        begin_random(step_seed(self._spec.seed, agent, -1))
        model = self._model(agent)
        if is_agent(model.agent):
            raise ScenarioError(
                "backend",
                f"{self._spec.model['callable']} returned a ready NumPy agent, which backend jax "
                "cannot run; set backend: numpy, or return keyword arguments",
            )
        return model

    def _models_differ(self) -> bool:
        """Whether every agent's model has to be built to know it."""
        return self._spec.differs or self._spec.model["kind"] == "factory"  # which may do anything

    def _worlds(self, models: Models, each: Sequence[GenerativeModel]) -> Worlds:
        """What agents live in under PyMDP's rollout.

        Raises:
            ScenarioError: there is none, or not one for all agents.
        """
        own = [model.environment for model in each if isinstance(model.environment, OwnWorld)]
        if len(own) == len(each):
            return Worlds.of_agents(own)
        first = each[0]
        differ = models.differing & {"A", "B", "D"} and first.world is None
        if any(model.environment is not None for model in each) or differ:
            raise ScenarioError(
                "loop",
                "rollout runs in one world: an Env of PyMDP that the factory returns, or one that "
                "PyMDP samples from the model's A and B. This model has an environment of another "
                "kind, or a model for each agent. Return an Env, or use loop: jit",
            )
        return Worlds.of_model(models, first)

    def live(self, agents: range, steps: range) -> Iterator[Lived]:
        try:
            for part in self._parts(steps):
                if part.start and self._spec.begins(part.start):
                    assert self._crowd is not None
                    self._crowd.begin()
                yield from self._roll(part) if self._rolls else self._step(part)
        except (ScenarioError, MemoryError):
            raise
        except Exception as error:
            failed = refused(self._spec, error, f"failed at step {steps.start}")
            raise memory_error(error) or failed from None

    def _parts(self, steps: range) -> Iterator[range]:
        """The steps, in stretches of one episode each."""
        cuts = [step for step in steps[1:] if self._spec.begins(step)]
        yield from starmap(range, pairwise([steps.start, *cuts, steps.stop]))

    def _step(self, steps: range) -> Iterator[Lived]:
        assert self._crowd is not None
        for step in steps:
            for number, chunk in enumerate(self._crowd.chunks):
                seen = self._probe.call("environment", self._observe, chunk, step)
                acted = _on_host(self._crowd.step(number, step, seen))
                self._remember(chunk, acted.action)
                for row, agent in enumerate(chunk):
                    yield Lived(agent, step, _behaviour(acted, row))

    def _roll(self, steps: range) -> Iterator[Lived]:
        assert self._crowd is not None
        for number, chunk in enumerate(self._crowd.chunks):
            acted = _on_host(rolled(self._crowd.roll(number, len(steps))))
            for row, agent in enumerate(chunk):
                for column, step in enumerate(steps):
                    yield Lived(agent, step, _behaviour(acted, (row, column)))

    def _observe(self, chunk: range, step: int) -> list[np.ndarray]:
        """What the agents perceive, per modality."""
        actions = None
        if self._actions is not None and not self._spec.begins(step):
            actions = self._actions[chunk.start : chunk.stop]
        numbers = self._spec.share.indices(chunk)
        seeds = [step_seed(self._spec.seed, agent, step) for agent in numbers]
        seen = self._environments.observe_all(chunk, actions, seeds)
        return list(map(self._modality, seen, self._outcomes))

    def _modality(self, seen: Sequence[Any], outcomes: int) -> np.ndarray:
        """One modality as PyMDP takes it: an index each, shape (agents, 1), or for agents with
        `categorical_obs` a distribution each, shape (agents, 1, outcomes)."""
        if self._categorical:
            rows = [e if isinstance(e, np.ndarray) else np.arange(outcomes) == e for e in seen]
            return np.array(rows, np.float32)[:, None]
        if any(isinstance(each, np.ndarray) for each in seen):
            raise ScenarioError(
                "model.callable",
                "the environment returned a distribution over outcomes, and the agents expect an "
                "index. Return indices, or set agent: {categorical_obs: true}",
            )
        return np.array(seen, np.int32)[:, None]

    def _remember(self, chunk: range, action: np.ndarray) -> None:
        if self._actions is None:
            self._actions = np.zeros((self._count, action.shape[1]), action.dtype)
        self._actions[chunk.start : chunk.stop] = action

    def account(self, agents: int, chunk: int | None = None) -> Account:
        """What so many agents like these would take, without any of them, in chunks of so many.
        These have to have stepped.

        Raises:
            NoAccount: XLA has no account of what they do.
        """
        assert self._crowd is not None
        return self._crowd.account(agents, chunk)

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        if self._preprocess is not None:  # before the agents that lead to it
            yield EVERYBODY, "preprocess_fn", self._preprocess
        if self._crowd is not None:
            yield from self._crowd.holdings()
        for agent, added in enumerate(self._added):
            for name, value in added.items():
                yield agent, name, value
        yield from self._environments.holdings()

    def rewards(self) -> Rewards | None:
        return self._environments.rewards.total()

    def facts(self) -> dict[str, str]:
        device = jax.local_devices()[0]
        on_cpu = device.platform == "cpu"
        preallocate = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
        fraction = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.75")
        return {
            "device": device.platform if on_cpu else f"{device.platform} ({device.device_kind})",
            "devices": str(jax.local_device_count()),
            "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "unset"),
            "x64": "on" if jnp.zeros(0).dtype == np.float64 else "off",
            "preallocation": "none"
            if on_cpu or preallocate.lower() in ("false", "0")
            else f"{fraction} of the device's memory",
        }

    def keep_programs(self) -> bool:
        self._keeps = self._compiles
        return self._keeps

    def drop_caches(self) -> bool:
        jax.clear_caches()
        return True

    def close(self) -> None:
        self._empty()


def _on_host(acted: Acted) -> Acted:
    found: Acted = jax.tree_util.tree_map(np.asarray, acted)
    return found


def _behaviour(acted: Acted, row: Any) -> Behaviour:
    return Behaviour([q[row] for q in acted.qs], acted.q_pi[row], acted.action[row])
