"""Agents stepped as a user's own script does it, without memprof's worker: what a step costs bare.

`python -m tests.bare_loop SCENARIO` prints the median seconds of one agent's step as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from pymdp.legacy.agent import Agent

from memprof.models.base import model_builder
from memprof.populations.base import step_seed
from memprof.populations.environment import GenerativeProcess, SampledEnvironment
from memprof.scenario_file import load_scenario


def main(path: str) -> None:
    loaded = load_scenario(Path(path))
    spec = loaded.spec(())
    build = model_builder(spec.model, spec.folder)
    live(build, 1, 2, spec)
    print(json.dumps(statistics.median(live(build, spec.agents, spec.steps, spec))))


def live(build, count, steps, spec):
    """Seconds per agent of each round of steps."""
    models = [build(index).arguments for index in range(count)]
    process = GenerativeProcess(models[0])
    worlds = [SampledEnvironment(process) for _ in models]
    agents = [Agent(**model, **spec.agent) for model in models]
    seconds = []
    for step in range(steps):
        start = perf_counter()
        for index, (agent, world) in enumerate(zip(agents, worlds, strict=True)):
            np.random.seed(step_seed(spec.seed, index, step))
            observation = world.reset() if agent.action is None else world.step(agent.action)
            agent.infer_states(observation)
            agent.infer_policies()
            agent.sample_action()
        seconds.append((perf_counter() - start) / count)
    return seconds


if __name__ == "__main__":
    main(sys.argv[1])
