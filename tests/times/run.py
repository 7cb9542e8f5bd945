"""What it costs to be watched by `memprof run`. Alone on the machine."""

import os
import signal
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
PAUSE = """
import os, sys, time

def pause():
    global began
    print(os.getpid(), time.perf_counter() - began[0], time.process_time() - began[1], flush=True)
    sys.stdin.readline()
    began = time.perf_counter(), time.process_time()
"""
NUMPY = (
    PAUSE
    + """
from pathlib import Path
from memprof.models import model_builder
from memprof.scenario import load_scenario
from pymdp.legacy.agent import Agent

spec = load_scenario(Path({path!r})).spec(())
build = model_builder(spec.model, spec.folder, spec.builder)
began = time.perf_counter(), time.process_time()
agents = [Agent(**build(number).arguments) for number in range(100)]
for step in range(100):
    for number, agent in enumerate(agents):
        agent.infer_states([(7 * step + number) % 100])
        agent.infer_policies()
        agent.sample_action()
    pause()
"""
)
JAX = (
    PAUSE
    + """
import jax
import jax.numpy as jnp
from pymdp.agent import Agent

began = time.perf_counter(), time.process_time()
SIZE, STATES = 20, 9
identity = jnp.eye(STATES)
moves = jnp.stack([identity, jnp.roll(identity, 1, 0)], -1)
agent = Agent(
    [jnp.broadcast_to(identity, (SIZE, STATES, STATES))],
    [jnp.broadcast_to(moves, (SIZE, STATES, STATES, 2))],
    [jnp.zeros((SIZE, STATES))], [jnp.ones((SIZE, STATES)) / STATES], batch_size=SIZE,
)
pause()


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
    if step % 50 == 0:
        jax.block_until_ready(action)
        pause()
jax.block_until_ready(action)
pause()
"""
)


class Program:
    """One that works from one `pause` to the next when it is told to, and is stopped meanwhile."""

    def __init__(self, *command):
        alone = {name: value for name, value in os.environ.items() if "CACHE" not in name}
        self._running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone
        )  # JAX compiles, as it does for users
        self.seconds = []
        self._pid = 0
        self._stop()

    def go_on(self):
        """False if it has ended."""
        os.kill(self._pid, signal.SIGCONT)
        self._running.stdin.write("\n")
        self._running.stdin.flush()
        return self._stop()

    def end(self):
        if self._pid:
            os.kill(self._pid, signal.SIGCONT)
        self._running.communicate()
        assert self._running.returncode == 0

    def _stop(self):
        said = self._running.stdout.readline().split()
        if not said:
            self._pid = 0
            return False
        self._pid = int(said[0])
        self.seconds.append([*map(float, said[1:])])
        os.kill(self._pid, signal.SIGSTOP)
        return True


def paired(folder, program):
    """The same program plain and watched, from pause to pause in turn: the seconds of each, by the
    clock and of the processor. What a machine does to one it does to the other, as long as that
    lasts longer than a pause."""
    (folder / "program.py").write_text(program)
    file = str(folder / "program.py")
    plain = Program(sys.executable, file)
    watched = Program(*COMMAND, "run", "--quiet", "--out", str(folder), file)
    try:
        while plain.go_on() & watched.go_on():
            pass
    finally:
        for each in (watched, plain):
            each.end()
    assert len(plain.seconds) == len(watched.seconds) > 1
    return np.array([plain.seconds, watched.seconds]).sum(axis=1)


@pytest.mark.parametrize(
    "program", [NUMPY.format(path=str(SCENARIOS / "grid-10.yaml")), JAX], ids=["NumPy", "JAX"]
)
def test_a_program_takes_hardly_longer_for_being_watched(tmp_path, program):
    pairs = np.array([paired(tmp_path, program) for _ in range(PAIRS)])
    took = np.median(pairs[:, 0, 0])
    ratio, of_processor = np.median(pairs[:, 1] / pairs[:, 0], axis=0)
    print(
        f"\n{took:.1f} s: {ratio:.3f} times as long watched, {of_processor:.3f} of processor time"
    )
    assert ratio < 1.02


def seconds(*command):
    start = perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return perf_counter() - start


def test_a_script_without_agents_takes_half_a_second_more(tmp_path):
    (tmp_path / "program.py").write_text("print('nothing')")
    file = str(tmp_path / "program.py")
    watched = *COMMAND, "run", "--quiet", "--out", str(tmp_path), file
    times = [(seconds(*watched), seconds(sys.executable, file)) for _ in range(PAIRS)]
    more = median(watched - plain for watched, plain in times)
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
