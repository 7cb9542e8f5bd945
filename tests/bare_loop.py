"""The same agents stepped by a user's own loop and by the clean worker's code, in turn.

`python -m tests.bare_loop SCENARIO` prints the seconds of one agent's step in every round of both,
as JSON. One process holds both, because two processes differ by more than what is looked for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

from memprof.instruments import Stopwatch
from memprof.populations import step_seed
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.populations.trace import DigestTrace
from memprof.scenario import load_scenario
from memprof.worker.growth import Growth

ROUNDS = 20


def main(path: str) -> None:
    spec = load_scenario(Path(path)).spec(())
    population = NumpyPopulation(spec, Stopwatch())
    digests = DigestTrace(spec.agents, 2 * ROUNDS + 1)
    growth = Growth(population, 1, digests)
    growth.come(spec.agents)
    bare, clean = [], []
    for turn in range(ROUNDS):
        step = 2 * turn + 1
        order = (bare_round, clean_round) if turn % 2 else (clean_round, bare_round)
        for offset, one_round in enumerate(order):
            seconds = one_round(population, growth, spec, step + offset) / spec.agents
            (bare if one_round is bare_round else clean).append(seconds)
    print(json.dumps({"bare_step_seconds": bare, "clean_step_seconds": clean}))


def clean_round(population, growth, spec, step):
    """As the clean worker lets its agents live."""
    return growth.live(range(spec.agents), range(step, step + 1))


def bare_round(population, growth, spec, step):
    """As PyMDP's README lets agents live."""
    agents = [population._roster.wake(index) for index in range(spec.agents)]
    observe = population._environments.observe
    start = perf_counter()
    for index, agent in enumerate(agents):
        np.random.seed(step_seed(spec.seed, index, step))
        observation = observe(index, agent.action)
        agent.infer_states(observation)
        agent.infer_policies()
        agent.sample_action()
    elapsed = perf_counter() - start
    for index in range(spec.agents):
        population._roster.rest(index)
    return elapsed


if __name__ == "__main__":
    main(sys.argv[1])
