"""Agents that several threads step at once behave as they do in one thread."""

import sys
import threading

import pytest
from msgspec.structs import replace

from memprof.density.threads import Crew
from memprof.errors import MemoryLimitReached, ScenarioError
from memprof.instruments import DirectCalls
from memprof.launch.spawn import run_worker
from memprof.populations import population_class
from memprof.populations.thread_random import thread_random
from memprof.populations.trace import DigestTrace
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.values.requests import StepInThreads
from tests.conftest import SCENARIOS, digests_of

AGENTS, STEPS = 5, 6
SMALL = ("grid-5", "t-maze", "learning-10", "factory")
PLANS = ((), ("share", "pool", "template"), ("history", "pool", "template"))


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def spec_of(path, passes, agents=AGENTS, steps=STEPS):
    return replace(load_scenario(path).spec(passes), agents=agents, steps=steps)


def lived_by_threads(path, passes, running=4):
    """Digests of agents that four threads let live, by turns with this one."""
    spec = spec_of(path, passes)
    population = population_class(spec)(spec, DirectCalls())
    digests = DigestTrace(AGENTS, STEPS)
    try:
        population.grow(AGENTS)
        with Crew(population, 4, digests) as crew:
            crew.live(range(2), running)
            crew.live_alone(range(2, 3))
            crew.live(range(3, STEPS), running)
    finally:
        population.close()
    return digests.per_agent()


@pytest.mark.parametrize("passes", PLANS, ids=",".join)
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.usefixtures("hasty")
def test_threads_change_nothing(name, passes):
    path = SCENARIOS / f"{name}.yaml"
    expected = digests_of(path, passes, AGENTS, STEPS)
    for running in (4, 4, 2):
        with thread_random():
            assert lived_by_threads(path, passes, running) == expected


@pytest.mark.parametrize("passes", PLANS[::2], ids=",".join)
@pytest.mark.usefixtures("hasty")
def test_threads_change_nothing_about_message_passing(passes):
    path = SCENARIOS / "mmp.yaml"
    expected = digests_of(path, passes, AGENTS, STEPS)
    with thread_random():
        assert lived_by_threads(path, passes) == expected


@pytest.fixture
def dice(scenario):
    """Agents whose world lets other threads run between the seed and the draw."""
    path = scenario(model={"kind": "factory", "callable": "dice:make"})
    path.with_name("dice.py").write_text(
        "import time\n"
        "import numpy as np\n"
        "class World:\n"
        "    def reset(self):\n"
        "        time.sleep(0.001)\n"
        "        return int(np.random.randint(2))\n"
        "    def step(self, action):\n"
        "        return self.reset()\n"
        "def make(agent):\n"
        "    A, B = np.empty(1, object), np.empty(1, object)\n"
        "    A[0], B[0] = np.eye(2), np.ones((2, 2, 1)) / 2\n"
        "    return {'A': A, 'B': B}, World()\n"
    )
    return path


def test_threads_that_shared_one_generator_would_be_caught(dice):
    expected = digests_of(dice, (), AGENTS, STEPS)
    assert any(lived_by_threads(dice, ()) != expected for _ in range(5))
    for _ in range(5):
        with thread_random():
            assert lived_by_threads(dice, ()) == expected


class Recorder:
    def __init__(self):
        self.lived = []

    def record(self, agent, step, behaviour):
        self.lived.append((agent, step, threading.current_thread()))


class Strained:
    """Agents of which one raises what it is told to."""

    def __init__(self, error=None):
        self.error = error

    def __len__(self):
        return 9

    def live(self, agents, steps):
        for step in steps:
            for agent in agents:
                if self.error is not None and (agent, step) == (4, 1):
                    raise self.error
                yield agent, step, None


@pytest.mark.parametrize("running", [1, 2, 3, 4])
def test_every_thread_does_a_share_of_the_agents(running):
    recorder = Recorder()
    with Crew(Strained(), 4, recorder) as crew:
        crew.live(range(3), running)
    assert sorted((agent, step) for agent, step, _ in recorder.lived) == [
        (agent, step) for agent in range(9) for step in range(3)
    ]
    shares = {}
    for agent, step, thread in recorder.lived:
        shares.setdefault(thread, []).append((step, agent))
    assert len(shares) == 4
    agents = [{agent for _, agent in share} for share in shares.values()]
    assert sum(map(len, agents)) == 9, "no two threads use one agent"
    assert all(share == sorted(share) for share in shares.values()), "steps in their order"
    assert threading.current_thread() not in shares


@pytest.mark.parametrize("error", [MemoryError("none left"), ScenarioError("model", "odd")])
def test_the_error_of_a_thread_is_the_crew_s_and_no_thread_stays(error):
    before = threading.active_count()
    with pytest.raises(type(error)) as caught, Crew(Strained(error), 4, Recorder()) as crew:
        crew.live(range(3), 4)
    assert caught.value is error
    assert threading.active_count() == before


def run(path, threads=3, passes=(), **counts):
    spec = spec_of(path, passes, **counts)
    return run_worker(
        StepInThreads(spec, threads=threads), Limits(timeout_seconds=120), lambda mark: None
    ).value


def test_the_job_reports_every_operation_and_the_same_behaviour():
    path, passes = SCENARIOS / "t-maze.yaml", ("history", "pool", "template")
    found = run(path, passes=passes)
    assert (found.agents, found.steps, found.operations) == (AGENTS, STEPS, AGENTS * STEPS)
    assert (found.threads, len(found.one_thread_seconds), len(found.threads_seconds)) == (3, 3, 3)
    assert 1 <= found.running <= 3
    assert all(seconds > 0 for seconds in found.one_thread_seconds + found.threads_seconds)
    assert (len(found.one_thread_cpu_seconds), len(found.threads_cpu_seconds)) == (3, 3)
    assert found.peak_rss_bytes is None or found.peak_rss_bytes >= found.after_private_bytes
    assert found.digests == digests_of(path, passes, AGENTS, STEPS)


def test_calibration_agents_that_wait_do_so_side_by_side(fake):
    found = run(fake(model={"delay": 0.01}), threads=5)
    assert found.running == 5
    # The best of some: waiting takes no processor, but a busy machine wakes threads late.
    assert min(found.threads_seconds) < 0.5 * min(found.one_thread_seconds)


@pytest.mark.parametrize(
    ("changes", "options", "field", "words"),
    [
        ({"backend": "jax"}, {}, "threads", "live as one computation"),
        ({}, {"threads": 6}, "threads", "expected 1 to 5"),
        ({}, {"threads": 0}, "threads", "found 0"),
        ({}, {"steps": 1}, "steps", "expected 2 at least"),
    ],
)
def test_what_cannot_be_is_said(scenario, changes, options, field, words):
    with pytest.raises(ScenarioError, match=words) as caught:
        run(scenario(**changes), **options)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("error", "expected"), [("ValueError", ScenarioError), ("MemoryError", MemoryLimitReached)]
)
def test_what_an_agent_s_world_raises_in_a_thread_ends_the_job(scenario, error, expected):
    path = scenario(model={"kind": "factory", "callable": "tired:make"})
    path.with_name("tired.py").write_text(
        "import threading\n"
        "import numpy as np\n"
        "class World:\n"
        "    def reset(self):\n"
        "        return 0\n"
        "    def step(self, action):\n"
        "        if threading.current_thread() is not threading.main_thread():\n"
        f"            raise {error}('tired of it')\n"
        "        return 0\n"
        "def make(agent):\n"
        "    A, B = np.empty(1, object), np.empty(1, object)\n"
        "    A[0], B[0] = np.eye(2), np.ones((2, 2, 1)) / 2\n"
        "    return {'A': A, 'B': B}, World()\n"
    )
    with pytest.raises(expected, match="tired of it"):
        run(path)
