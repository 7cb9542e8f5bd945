"""Populations of PyMDP's NumPy agent, `pymdp.legacy.agent.Agent`."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent

from memprof.errors import ScenarioError
from memprof.models.base import GenerativeModel, check_model, model_builder
from memprof.passes.plan import Plan
from memprof.populations.base import Behaviour, Probe, step_seed
from memprof.populations.environment import (
    GenerativeProcess,
    SampledEnvironment,
    UserEnvironment,
)
from memprof.spec import PopulationSpec

# Attributes of the agent, by the ledger's component; all others are "other agent objects".
_COMPONENTS = {
    "A": ("A",),
    "B": ("B",),
    "C": ("C",),
    "D": ("D",),
    "E": ("E",),
    "policies": ("policies",),
    "learning (pA, pB, pD)": ("pA", "pB", "pD"),
    "beliefs (qs)": ("qs", "latest_belief"),
    "inference (q_pi, G, F)": ("q_pi", "G", "F"),
    "histories": ("prev_actions", "prev_obs", "qs_hist", "q_pi_hist"),
}


class NumpyPopulation:
    """Agents that perceive, learn, plan and act as in PyMDP's own examples."""

    def __init__(self, spec: PopulationSpec, probe: Probe) -> None:
        self._spec = spec
        self._probe = probe
        self._plan = Plan.of(spec.passes)
        self._plan.install()
        self._model = model_builder(spec.model, spec.folder)
        self._handed: dict[str, Any] | None = None
        self._process: GenerativeProcess | None = None
        self._agents: list[Agent] = []
        self._environments: list[Any] = []

    def __len__(self) -> int:
        return len(self._agents)

    def build(self) -> None:
        self._probe.call("build", self._build)

    def _build(self) -> None:
        index = len(self._agents)
        np.random.seed(step_seed(self._spec.seed, index, -1))
        model = self._model(index)
        arguments = {**model.arguments, **self._spec.agent}
        if index == 0:
            check_model(arguments, _model_field(self._spec))
        if not self._spec.private:
            self._handed = arguments = self._handed or arguments
        environment = self._environment(model, arguments)
        agent = self._construct(arguments)
        self._plan.build(agent, index)
        self._environments.append(environment)
        self._agents.append(agent)

    def step(self, agent: int, step: int) -> Behaviour:
        try:
            return self._step(agent, step)
        except (ScenarioError, MemoryError):
            raise
        except Exception as error:
            raise self._refused(error, f"failed at step {step} of agent {agent}") from None

    def _step(self, agent: int, step: int) -> Behaviour:
        call, body, environment = self._probe.call, self._agents[agent], self._environments[agent]
        np.random.seed(step_seed(self._spec.seed, agent, step))
        call("wake", self._plan.wake, body, agent)
        if body.action is None:
            observation = call("environment", environment.reset)
        else:
            observation = call("environment", environment.step, body.action)
        learning = self._spec.learning
        previous = body.qs if "B" in learning else None
        beliefs = call("infer_states", body.infer_states, observation)
        if "A" in learning:
            call("update_A", body.update_A, observation)
        if "B" in learning and step > 0:
            call("update_B", body.update_B, previous)
        if "D" in learning and step == 0:
            call("update_D", body.update_D, beliefs)
        policies, _ = call("infer_policies", body.infer_policies)
        action = call("sample_action", body.sample_action)
        call("rest", self._plan.rest, body, agent)
        return Behaviour(beliefs, policies, action)

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        for index, agent in enumerate(self._agents):
            for component, names in _COMPONENTS.items():
                for name in names:
                    if name in vars(agent):
                        yield index, component, vars(agent)[name]
            yield index, "other agent objects", agent
            yield index, "environment", self._environments[index]
        yield -1, "environment", self._process
        if self._plan.passes:
            yield -1, "passes", self._plan

    def close(self) -> None:
        self._agents.clear()
        self._environments.clear()
        self._process = self._handed = None
        self._plan.close()
        self._plan = Plan.of(self._spec.passes)
        self._plan.install()

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
            raise self._refused(error, "refused its arguments") from None

    def _refused(self, error: Exception, what: str) -> ScenarioError:
        """PyMDP's own word on agents that it cannot build or step, with its traceback."""
        return ScenarioError(
            "agent" if self._spec.agent else _model_field(self._spec),
            f"PyMDP's Agent {what}: {type(error).__name__}: {error}; check its keywords and the "
            "shapes of its arrays",
            detail=traceback.format_exc(),
        )

    def _environment(
        self, model: GenerativeModel, arguments: dict[str, Any]
    ) -> UserEnvironment | SampledEnvironment:
        """The model's own environment, or one that samples from its world or from itself."""
        if model.environment is not None:
            return UserEnvironment(model.environment, [a.shape[0] for a in arguments["A"]])
        process = GenerativeProcess(model.world or arguments)
        if self._process is None or self._process != process:
            self._process = process
        return SampledEnvironment(self._process)


def _model_field(spec: PopulationSpec) -> str:
    return {"npz": "model.path", "factory": "model.callable"}.get(spec.model["kind"], "model")
