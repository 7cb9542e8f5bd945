"""Agents whose past is bounded behave as if it were not, and hold still in memory."""

import statistics
from itertools import pairwise

import psutil
import pytest
from msgspec.structs import replace
from pymdp.legacy.agent import Agent

import memprof
from memprof.errors import UsageError
from memprof.instruments import heap, process
from memprof.leak.worker import Cycles
from memprof.models import model_builder
from memprof.populations import population_class
from memprof.scenario import load_scenario
from memprof.storage.history import History
from tests.conftest import ROOT, SCENARIOS
from tests.equivalence import live

BOUNDED = [("history",), ("history", "pool", "template"), ("history", "mmap")]


@pytest.mark.parametrize(("scenario", "agents", "steps"), [("grid-5", 4, 40), ("mmp", 2, 12)])
def test_agents_that_keep_a_few_steps_behave_exactly(scenario, agents, steps, tmp_path):
    path = SCENARIOS / f"{scenario}.yaml"
    plain = live(path, (), agents, steps, tmp_path / "trace")
    for passes in BOUNDED:
        found = live(path, passes, agents, steps, tmp_path / "trace", options={"history_steps": 4})
        assert found["digests"] == plain["digests"], passes
        assert found["error"] == 0


def growth_bytes(passes, history_steps):
    """What 10 agents gain in 100 steps each, after 40: five times the median cycle's, since a table
    of the interpreter's own, such as that of interned names, may double in any of them."""
    spec = load_scenario(SCENARIOS / "grid-5.yaml").spec(passes)
    spec = replace(spec, agents=10, steps=20, options={"history_steps": history_steps})
    cycles = Cycles(population_class(spec), spec, "steps")
    readings = []
    for _ in range(7):
        cycles.run()
        process.settle()
        readings.append(heap.live_bytes())
    cycles.close()
    return 5 * statistics.median(after - before for before, after in pairwise(readings[1:]))


@pytest.mark.skipif(not hasattr(psutil, "heap_info"), reason="psutil cannot read the heap here")
@pytest.mark.serial  # the figures are to a few kilobytes
def test_a_population_that_lives_on_holds_still():
    assert growth_bytes((), None) > 150_000
    for passes in BOUNDED:
        assert abs(growth_bytes(passes, 8)) < 4_000, passes


def explorer(**keywords):
    arguments = model_builder({"kind": "grid_world", "size": 3}, str(ROOT))(0).arguments
    return Agent(**arguments, **keywords)


def step(agent):
    agent.infer_states((0,))
    agent.infer_policies()
    agent.sample_action()


def test_an_optimised_population_keeps_the_steps_that_it_is_told_to(tmp_path):
    store = tmp_path / "store"
    with memprof.optimize(
        [explorer()], passes=["history", "mmap"], store=store, history_steps=3
    ) as population:
        for _ in range(5):
            with population.activate(0) as agent:
                step(agent)
    with memprof.reopen(store, Agent) as population:
        for _ in range(2):
            with population.activate(0) as agent:
                assert type(agent.prev_actions) is History
                assert len(agent.prev_actions) == 3 < agent.curr_timestep
                step(agent)
                assert len(agent.prev_actions) == 3
    with memprof.reopen(store, Agent, history_steps=5) as population:
        for _ in range(4):
            with population.activate(0) as agent:
                step(agent)
        with population.activate(0) as agent:
            assert len(agent.prev_actions) == 5


def test_agents_that_look_further_back_are_refused():
    agent = explorer(inference_algo="MMP", inference_horizon=3)
    with pytest.raises(UsageError, match=r"^history_steps: expected 4 or more.*found 3"):
        memprof.optimize([agent], history_steps=3)
    assert agent.prev_obs == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"history_steps": 0}, "history_steps: expected a whole number, 1 or more; found 0"),
        ({"history_steps": True}, "found True"),
        ({"history_steps": "8"}, "found '8'"),
        ({"history_steps": 8, "passes": "pool"}, "takes effect under history only; add it"),
    ],
)
def test_wrong_steps_are_named(options, words):
    with pytest.raises(UsageError, match=words):
        memprof.optimize([explorer()], **options)
