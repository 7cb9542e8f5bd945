"""What it costs to be watched by `memprof run`. Alone on the machine."""

import os
import subprocess
import sys
from statistics import median
from time import perf_counter

import numpy as np
import pytest

from memprof.upstream.numpy_agent import Agent
from memprof.watching.observer import END, Observer
from tests.conftest import COMMAND, SCENARIOS

PAIRS = 10
NUMPY = """
import time
from pathlib import Path
from memprof.models import model_builder
from memprof.scenario import load_scenario
from pymdp.legacy.agent import Agent

spec = load_scenario(Path({path!r})).spec(())
build = model_builder(spec.model, spec.folder, spec.builder)
start = time.perf_counter()
agents = [Agent(**build(number).arguments) for number in range(100)]
for step in range(100):
    for number, agent in enumerate(agents):
        agent.infer_states([(7 * step + number) % 100])
        agent.infer_policies()
        agent.sample_action()
print(time.perf_counter() - start)
"""
JAX = """
import time
import jax
import jax.numpy as jnp
from pymdp.agent import Agent

start = time.perf_counter()
SIZE, STATES = 20, 9
identity = jnp.eye(STATES)
moves = jnp.stack([identity, jnp.roll(identity, 1, 0)], -1)
agent = Agent(
    [jnp.broadcast_to(identity, (SIZE, STATES, STATES))],
    [jnp.broadcast_to(moves, (SIZE, STATES, STATES, 2))],
    [jnp.zeros((SIZE, STATES))], [jnp.ones((SIZE, STATES)) / STATES], batch_size=SIZE,
)


@jax.jit
def turn(agent, observation, prior, key):
    beliefs = agent.infer_states(observation, prior)
    policies, _ = agent.infer_policies(beliefs)
    action = agent.sample_action(policies, rng_key=jax.random.split(key, SIZE))
    return action, agent.update_empirical_prior(action, beliefs)


prior, key = agent.D, jax.random.PRNGKey(0)
for step in range(200):
    key, mine = jax.random.split(key)
    seen = [jnp.full((SIZE, 1), step % STATES)]
    action, prior = turn(agent, seen, prior, mine)
jax.block_until_ready(action)
print(time.perf_counter() - start)
"""


def seconds(*command):
    """Of the whole command, and of what the program says of itself."""
    alone = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    start = perf_counter()
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, env=alone
    ).stdout  # JAX compiles, as it does for users
    return perf_counter() - start, float(said.splitlines()[0])


def paired(folder, program, pairs):
    """Plain and watched in turn: seconds by kind, of whole commands and of programs."""
    (folder / "program.py").write_text(program)
    file = str(folder / "program.py")
    commands = {
        "plain": (sys.executable, file),
        "watched": (*COMMAND, "run", "--quiet", "--out", str(folder), file),
    }
    found = {name: [] for name in commands}
    for turn in range(pairs + 1):
        for name in sorted(commands, reverse=bool(turn % 2)):
            found[name].append(seconds(*commands[name]))
    return {name: list(zip(*each[1:], strict=True)) for name, each in found.items()}


@pytest.mark.parametrize(
    "program", [NUMPY.format(path=str(SCENARIOS / "grid-10.yaml")), JAX], ids=["NumPy", "JAX"]
)
def test_a_program_takes_hardly_longer_for_being_watched(tmp_path, program):
    times = paired(tmp_path, program, PAIRS)
    whole, own = (
        median(b / a for a, b in zip(times["plain"][part], times["watched"][part], strict=True))
        for part in (0, 1)
    )
    took = median(times["plain"][1])
    print(f"\n{took:.1f} s: {own:.3f} times as long watched, the whole command {whole:.3f} times")
    assert own < 1.02


def test_a_script_without_agents_takes_half_a_second_more(tmp_path):
    times = paired(tmp_path, "print(0.0)", PAIRS)
    more = median(times["watched"][0]) - median(times["plain"][0])
    print(f"\nmemprof run adds {more:.2f} s")
    assert more < 0.5


def test_the_last_look_at_ten_thousand_agents():
    watching = Observer()
    watching.start()
    try:
        A, B = np.eye(9), np.repeat(np.eye(9)[:, :, np.newaxis], 4, 2)
        agents = [Agent(A=A.copy(), B=B.copy()) for _ in range(10_000)]
        agents[0].infer_states([0])
        start = perf_counter()
        look = watching.look(END)
        took = perf_counter() - start
    finally:
        watching.stop()
    assert look.agents == len(agents)
    print(f"\n{took:.2f} s")
    assert took < 2
