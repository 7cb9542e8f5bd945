"""Agents that come and go while others live: what stays of them, and what their numbers mean."""

import gc
import json
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest
from memprof_fake.agents import FakePopulation
from msgspec.structs import replace
from pymdp.legacy.agent import Agent

import memprof
from memprof.errors import AgentActive, UsageError
from memprof.instruments import DirectCalls
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.populations.trace import DigestTrace
from memprof.scenario import load_scenario
from memprof.storage.disk_records import DiskRecords
from memprof.storage.records import MemoryRecords
from tests.conftest import ROOT, SCENARIOS
from tests.integration.test_stay_active import explorer, step

PLANS = [
    (),
    ("share", "template"),
    ("mmap",),
    ("template", "working_set"),
    ("mmap", "working_set"),
]

CHURN = """
    import json, sys
    from msgspec.structs import replace
    from pathlib import Path
    from memprof.instruments import process
    from memprof.instruments import DirectCalls
    from memprof.populations.numpy_agents import NumpyPopulation
    from memprof.scenario import load_scenario

    passes = tuple(json.loads(sys.argv[1]))
    spec = load_scenario(Path("scenarios/grid-10.yaml")).spec(passes)
    spec = replace(spec, model={**spec.model, "size": 12}, agents=12)
    spec = replace(spec, options={"working_set": 40_000})

    def settled():
        process.settle()
        return process.private_bytes()  # USS has pages of libraries, until others map them too

    def lives(population):
        steps = {}
        living = []
        for _ in range(4):
            new = population.grow(12)  # those that left, in new places
            living += new
            steps.update(dict.fromkeys(new, 0))
            for _ in range(2):
                for agent in living:
                    for _ in population.live(range(agent, agent + 1), range(steps[agent], 99)):
                        steps[agent] += 1
                        break
            for agent in living[:8]:
                population.leave(range(agent, agent + 1))
            living = living[8:]
        for agent in living:
            population.leave(range(agent, agent + 1))

    warm = NumpyPopulation(spec, DirectCalls())
    lives(warm)
    warm.close()
    del warm
    population = NumpyPopulation(spec, DirectCalls())
    before = settled()
    found = []
    for _ in range(2):
        lives(population)
        found.append(settled())
        assert len(population) == 0
    population.grow(12)
    found.append(settled())
    print(json.dumps([before, *found]))
"""


@pytest.mark.parametrize("passes", PLANS, ids=" ".join)
def test_agents_that_left_leave_nothing_behind(passes):
    """72 agents of a megabyte each come and go; 12 are there at once."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHURN), json.dumps(passes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    private, *found, again = json.loads(done.stdout)
    assert found == pytest.approx([private] * len(found), rel=0.05)
    if not passes:
        assert again > 1.05 * private, "the reading does see agents"


@pytest.mark.parametrize("passes", PLANS)
def test_those_that_stay_live_as_if_nobody_had_come_or_gone(passes):
    spec = load_scenario(SCENARIOS / "private-mazes.yaml").spec(passes)
    model = {**spec.model, "size": 5}  # every agent is in a world of its own
    spec = replace(spec, model=model, agents=6, options={"working_set": 30_000})
    digests = []
    for churn in (False, True):
        population = NumpyPopulation(spec, DirectCalls())
        assert population.grow(4) == range(4)
        found = DigestTrace(6, 6)
        stay = [0, 2] if churn else [0, 1, 2, 3]
        for lived in population.live(range(4), range(2)):
            found.record(*lived)
        if churn:
            population.leave(range(1, 2))
            population.leave(range(3, 4))
            assert len(population) == 2
            assert population.grow(4) == range(4, 6)
            assert len(population) == 4
        for agent in stay:
            for lived in population.live(range(agent, agent + 1), range(2, 6)):
                found.record(*lived)
        for gone in (1, 3) if churn else ():
            with pytest.raises(IndexError, match=f"agent {gone} has left the population"):
                list(population.live(range(gone, gone + 1), range(2, 3)))
            with pytest.raises(IndexError, match=f"agent {gone} has left"):
                population.leave(range(gone, gone + 1))
        assert {owner for owner, _, _ in population.holdings() if owner >= 0} <= (
            {0, 2, 4, 5} if churn else {*range(4)}
        )
        digests.append([found.per_agent()[agent] for agent in (0, 2)])
        population.close()
    assert digests[0] == digests[1]


@pytest.mark.parametrize("passes", PLANS)
def test_when_the_last_one_has_left_others_may_come(passes):
    spec = load_scenario(SCENARIOS / "grid-5.yaml").spec(passes)
    population = NumpyPopulation(replace(spec, options={"working_set": 30_000}), DirectCalls())
    for first in (0, 3, 6):
        new = population.grow(3)
        assert new == range(first, first + 3)
        assert len(list(population.live(new, range(2)))) == 6
        population.leave(new)
    assert len(population) == 0
    population.close()


@pytest.mark.parametrize("passes", [[], ["share"], ["template"], ["template", "working_set"]])
def test_a_users_agents_come_and_go(passes):
    with memprof.optimize([explorer() for _ in range(3)], passes) as population:
        with population.activate(1) as agent:
            step(agent, 3)
        population.remove(1)
        assert len(population) == 2
        for attempt in (population.activate(1).__enter__, lambda: population.remove(1)):
            with pytest.raises(IndexError, match="agent 1 has left the population; its index"):
                attempt()
        assert population.add(explorer()) == 3
        with pytest.raises(IndexError, match="there are 4, numbered from 0"):
            population.remove(4)
        with pytest.raises(IndexError, match="numbered from 0"):
            population.remove(-1)
        with population.activate(3), pytest.raises(AgentActive):
            population.remove(3)
        assert sorted(population.in_turn()) == [0, 2, 3]
        assert population.memory().agents == len(population) == 3
        with pytest.raises(UsageError, match="expected PyMDP agents"):
            population.add(object())
    with pytest.raises(UsageError, match="is closed"):
        population.add(explorer())


def test_nothing_holds_an_agent_that_was_removed():
    with memprof.optimize([explorer(), explorer()], ["history", "pool"]) as population:
        with population.activate(0) as agent:
            watch = weakref.ref(agent)
        del agent
        population.remove(0)
        gc.collect()
        assert watch() is None


@pytest.mark.parametrize("working_set", [None, "1 MiB"])
def test_a_store_remembers_who_left(tmp_path, working_set):
    store = tmp_path / "store"
    passes = ["mmap", "working_set"] if working_set else ["mmap"]
    with memprof.optimize(
        [explorer() for _ in range(4)], passes, store=store, working_set=working_set
    ) as population:
        for index in range(4):
            with population.activate(index) as agent:
                step(agent, index)
        population.remove(3)
        population.remove(0)
    with memprof.reopen(store, Agent, working_set=working_set) as population:
        assert len(population) == 2
        assert sorted(population.in_turn()) == [1, 2]
        for gone in (0, 3):
            with pytest.raises(IndexError, match=f"agent {gone} has left"):
                population.activate(gone).__enter__()
        assert population.add(explorer()) == 4, "though 3 was the last"
        with population.activate(2) as agent:
            assert agent.curr_timestep == 1
    with memprof.reopen(store, Agent) as population:
        assert len(population) == 3


def test_all_that_stays_of_a_record_is_a_pointer_or_a_tombstone(tmp_path):
    disk = DiskRecords.create(tmp_path / "store", bytes(16), {"A": np.zeros(3)})
    for records in (MemoryRecords(), disk):
        for index in range(20):
            assert records.append(b"%d" % index) == index
        for index in range(0, 20, 2):
            del records[index]
        assert (len(records), records.removed) == (20, 10)
        assert [index in records for index in (-1, 0, 1, 19, 20)] == [
            False, False, True, True, False,
        ]  # fmt: skip
        for attempt in (
            lambda: records[2],  # noqa: B023
            lambda: records.__setitem__(2, b"again"),  # noqa: B023
            lambda: records.__delitem__(2),  # noqa: B023
        ):
            with pytest.raises(IndexError, match="agent 2 has left the population"):
                attempt()
        assert records[3] == b"3"
        assert records.append(b"20") == 20
        assert records.removed == 10
    disk.close()
    again = DiskRecords.open(tmp_path / "store", bytes(16))
    assert (len(again), again.removed, again[20]) == (21, 10, b"20")
    with pytest.raises(IndexError, match="agent 2 has left"):
        again[2]
    again.close()


def test_calibration_agents_come_and_go(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text("{name: case, backend: fake, passes: [], model: {kind: buffer, size: 1 MB}}")
    population = FakePopulation(load_scenario(path).spec(()), DirectCalls())
    assert population.grow(3) == range(3)
    population.leave(range(1, 2))
    assert len(population) == 2
    with pytest.raises(IndexError, match="agent 1 has left"):
        list(population.live(range(1, 2), range(1)))
    assert population.grow(3) == range(3, 4)
    assert sum(name == "buffer" for _, name, _ in population.holdings()) == 3
    assert population.working_set() is None
    population.close()
    assert population.grow(2) == range(2)
