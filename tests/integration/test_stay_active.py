"""The pass `working_set` on PyMDP's own agents: exact, within its budget, and honest about it."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from unittest import mock

import numpy as np
import pytest
from msgspec.structs import replace
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent

import memprof
from memprof.errors import AgentActive, StoreError, UsageError
from memprof.instruments import DirectCalls, process, walker
from memprof.launch.spawn import run_worker
from memprof.models import model_builder
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.populations.trace import DigestTrace
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.storage.disk_records import DiskRecords
from memprof.values.requests import Measure
from tests.conftest import ROOT, SCENARIOS

KEPT = ("history", "pool", "template", "working_set")
ON_DISK = ("history", "pool", "mmap", "working_set")


def spec_of(name, passes, budget, **changes):
    spec = load_scenario(SCENARIOS / f"{name}.yaml").spec(passes)
    return replace(spec, options={"working_set": budget}, **changes)


def lived(name, passes, budget, agents=7, steps=6):
    """Digests of a population's life, and what its working set did."""
    population = NumpyPopulation(
        spec_of(name, passes, budget, agents=agents, steps=steps), DirectCalls()
    )
    found = DigestTrace(agents, steps)
    try:
        for each in population.live(population.grow(agents), range(steps)):
            found.record(*each)
        return found.per_agent(), population.working_set()
    finally:
        population.close()


@pytest.mark.parametrize(
    ("name", "passes"),
    [("grid-5", ON_DISK), ("learning-all", KEPT), ("learning-all", ON_DISK), ("t-maze", KEPT),
     ("private-mazes", KEPT)],
)  # fmt: skip
def test_agents_live_as_they_would_have_without_us(name, passes):
    size = {"private-mazes": 3, "learning-all": 5}.get(name, 7)
    steps = 3 if name == "private-mazes" else 6
    plain, nothing = lived(name, (), None, size, steps)
    assert nothing is None
    found, everything = lived(name, passes, 10**12, size, steps)
    assert found == plain
    assert (everything.hits, everything.active_agents) == (size * (steps - 1), size)
    found, one = lived(name, passes, 1, size, steps)
    assert found == plain
    assert (one.hits, one.active_agents, one.hibernations) == (0, 0, size * steps)
    budget = int(everything.active_bytes * 2 / size)
    found, some = lived(name, passes, budget, size, steps)
    assert found == plain
    assert 0 < some.hits < everything.hits
    assert some.active_bytes <= budget
    assert some.most_active_bytes <= budget + 1.5 * everything.active_bytes / size


@pytest.mark.parametrize(("name", "steps"), [("grid-10", 4), ("learning-10", 4), ("t-maze", 5)])
def test_what_an_active_agent_takes_is_what_a_walk_over_it_finds(name, steps):
    """Also lent buffers: agents of learning-10 come back with what they learned patched in."""
    passes = ("pool", "template", "working_set")
    population = NumpyPopulation(spec_of(name, passes, 10**12, agents=4), DirectCalls())
    agents = population.grow(4)
    for turn in range(2):
        for _ in population.live(agents, range(turn * steps, (turn + 1) * steps)):
            pass
        use = population.working_set()
        rows, held, _ = walker.walk(population.holdings(), 4)
        found = next(row for row in rows if row.component == "working set")
        assert use.active_bytes == pytest.approx(found.private_resident_bytes, rel=0.08)
        assert use.active_agents == len(held) == 4
        population._roster.flush()
    population.close()


@pytest.mark.serial
def test_what_active_agents_take_is_what_the_process_gains():
    population = NumpyPopulation(
        spec_of("learning-29", ("pool", "template", "working_set"), 10**12, agents=4),
        DirectCalls(),
    )
    agents = population.grow(4)
    for _ in population.live(agents, range(2)):
        pass
    active = population.working_set().active_bytes
    assert active > 4 * 50e6
    process.settle()
    before = process.read().private_bytes
    population._roster.flush()
    process.settle()
    assert before - process.read().private_bytes == pytest.approx(active, rel=0.05)
    assert population.working_set().active_bytes == 0
    population.close()


def explorer(size=6, **keywords):
    model = model_builder({"kind": "grid_world", "size": size}, str(ROOT))(0).arguments
    return Agent(**model, **keywords)


def learner():
    model = model_builder({"kind": "grid_world", "size": 6}, str(ROOT))(0).arguments
    return Agent(**model, pB=utils.dirichlet_like(model["B"]))


def step(agent, seen):
    agent.infer_states((seen,))
    agent.infer_policies()
    agent.sample_action()


def learn(agent, seen):
    """A step without chance: threads share NumPy's."""
    previous = agent.qs
    agent.infer_states((seen,))
    if agent.action is not None:
        agent.update_B(previous)
    agent.infer_policies()
    agent.action = np.array([seen % 5.0])


def state(agent):
    return [np.concatenate([np.ravel(x) for x in value]) for value in (agent.qs, agent.pB)]


@pytest.mark.parametrize("passes", [["history", "template"], ["history", "mmap"]])
def test_threads_with_agents_of_their_own_share_a_working_set(passes):
    plain = [learner() for _ in range(8)]
    for turn in range(6):
        for index, agent in enumerate(plain):
            learn(agent, (turn + index) % 36)
    failures = []
    crowd = (learner() for _ in range(8))
    with memprof.optimize(crowd, [*passes, "working_set"], working_set="400 KB") as population:

        def live(mine):
            try:
                for turn in range(6):
                    for index in population.in_turn(mine):
                        with population.activate(index) as agent:
                            learn(agent, (turn + index) % 36)
                            with pytest.raises(AgentActive), population.activate(index):
                                pass
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=live, args=(range(n, n + 2),)) for n in (0, 2, 4, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        use = population.working_set()
        # There was no room for all; how often it was short follows from the order of threads.
        assert use.active_agents < len(plain)
        assert use.hibernations >= len(plain) - use.active_agents
        assert 0 < use.active_bytes <= 400_000
        for index, agent in enumerate(plain):
            with population.activate(index) as other:
                for mine, its in zip(state(agent), state(other), strict=True):
                    assert mine.tobytes() == its.tobytes()


def test_the_ledger_charges_active_agents_to_the_working_set():
    with memprof.optimize(
        (explorer() for _ in range(4)), ["template", "working_set"]
    ) as population:
        for index in (1, 2):
            with population.activate(index) as agent:
                step(agent, 3)
        rows = {row.component: row for row in population.memory().rows}
        active = population.working_set().active_bytes
        assert rows["working set"].private_resident_bytes == pytest.approx(active, rel=0.08)
        population.flush()
        assert "working set" not in {row.component for row in population.memory().rows}


def test_a_store_holds_agents_as_they_are_when_flushed_or_closed(tmp_path):
    store = tmp_path / "store"
    passes = ["history", "mmap", "working_set"]
    with memprof.optimize([explorer(), explorer()], passes, store=store) as population:
        with population.activate(0) as agent:
            step(agent, 3)
        population.flush()
        with population.activate(0) as agent:
            step(agent, 4)
    with memprof.reopen(store, Agent, working_set="1 MiB") as population:
        with population.activate(0) as agent:
            assert agent.curr_timestep == 2
            step(agent, 5)
        assert population.working_set().budget_bytes == 2**20
    with memprof.reopen(store, Agent) as population:
        assert population.working_set() is None
        with population.activate(0) as agent:
            assert agent.curr_timestep == 3


KILLED = """
    import sys
    import memprof
    from pymdp.legacy.agent import Agent
    from tests.integration.test_stay_active import explorer, step
    population = memprof.optimize(
        (explorer() for _ in range(3)), ["mmap", "working_set"], store=sys.argv[1]
    )
    for turn in range(6):
        for index in range(3):
            with population.activate(index) as agent:
                step(agent, turn)
        if turn == 3:
            population.flush()
    print("ready", flush=True)
    input()
"""


def test_a_killed_process_loses_what_agents_did_since_they_last_came_to_rest(tmp_path):
    store = tmp_path / "store"
    killed = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), store],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert killed.stdout.readline() == "ready\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    with memprof.reopen(store, Agent) as population:
        for index in range(3):
            with population.activate(index) as agent:
                assert agent.curr_timestep == 4


def full_disk():
    """While this is entered no record finds room in its store."""
    full = mock.patch.object(
        DiskRecords, "_fitting_map", side_effect=OSError(errno.ENOSPC, "No space left on device")
    )
    put = DiskRecords.__setitem__

    def no_room(self, index, record):
        with full:
            put(self, index, record)

    return mock.patch.object(DiskRecords, "__setitem__", no_room)


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path):
    store = tmp_path / "store"
    crowd = (explorer() for _ in range(3))
    population = memprof.optimize(crowd, ["mmap", "working_set"], store=store)
    for turn in range(2):
        for index in range(3):
            with population.activate(index) as agent:
                step(agent, turn)
    with full_disk():
        for attempt in (population.flush, population.close):
            with pytest.raises(StoreError, match="records cannot be written"):
                attempt()
        with population.activate(1) as agent:
            assert agent.curr_timestep == 2
            step(agent, 7)
        with pytest.raises(StoreError, match=r"agent 1 could not be stored and stays"):
            population.flush()
    with population.activate(1) as agent:
        assert agent.curr_timestep == 3
    population.close()
    with memprof.reopen(store, Agent) as population:
        for index, steps in enumerate((2, 3, 2)):
            with population.activate(index) as agent:
                assert agent.curr_timestep == steps


def test_a_record_that_waited_for_room_is_gone_once_a_newer_one_is_stored(tmp_path):
    """Every agent hibernates after use here."""
    store, passes = tmp_path / "store", ["mmap", "working_set"]
    with memprof.optimize([explorer()], passes, store=store, working_set=1) as population:
        waits = pytest.raises(StoreError, match=r"agent 0 .* stays in memory")
        with full_disk(), waits, population.activate(0) as agent:
            step(agent, 1)
        for steps in (1, 2):
            with population.activate(0) as agent:
                assert agent.curr_timestep == steps
                step(agent, 2)
    with memprof.reopen(store, Agent) as population, population.activate(0) as agent:
        assert agent.curr_timestep == 3


def test_a_record_that_waited_for_room_never_replaces_a_newer_one_of_another_thread(tmp_path):
    store, passes = tmp_path / "store", ["mmap", "working_set"]
    crowd, put = [explorer(), explorer()], DiskRecords.__setitem__
    with memprof.optimize(crowd, passes, store=store, working_set=1) as population:
        for index in range(2):
            with full_disk(), pytest.raises(StoreError), population.activate(index) as agent:
                step(agent, 1)

        def live():
            with population.activate(1) as agent:
                step(agent, 2)

        other = threading.Thread(target=live)

        def put_while_the_other_lives(self, index, record):
            if index == 0:
                other.start()
                other.join(timeout=0.3)  # it may have to wait for us
            put(self, index, record)

        with mock.patch.object(DiskRecords, "__setitem__", put_while_the_other_lives):
            population.flush()
            other.join()
        with population.activate(1) as agent:
            assert agent.curr_timestep == 2
    with memprof.reopen(store, Agent) as population, population.activate(1) as agent:
        assert agent.curr_timestep == 2


def test_an_agent_that_has_no_exact_encoding_is_as_it_was_stored_last(tmp_path):
    passes = ["mmap", "working_set"]
    with memprof.optimize([explorer()], passes, store=tmp_path / "store") as population:
        with population.activate(0) as agent:
            agent.hook = lambda: None
        with pytest.raises(StoreError, match=r"agent 0 .* keeps its last stored state: .*hook"):
            population.flush()
        with population.activate(0) as agent:
            assert not hasattr(agent, "hook")


@pytest.mark.parametrize(
    ("passes", "budget", "words"),
    [
        (["working_set"], None, "'working_set' needs 'template' or 'mmap' before it"),
        (["working_set", "template"], None, "'working_set' needs 'template' or 'mmap' before it"),
        (["template"], "1 MiB", "working_set: takes effect under working_set only; add it"),
        (["template", "working_set"], "much", "expected a size such as 64 KB"),
        (["template", "working_set"], 0, "working_set: expected a size above 0, found 0"),
        (["template", "working_set"], True, "expected a size above 0, found True"),
    ],
)
def test_mistakes_get_one_clear_message(passes, budget, words):
    with pytest.raises(UsageError) as caught:
        memprof.optimize([], passes, working_set=budget)
    assert words in str(caught.value)


def test_a_worker_measures_the_working_set_beside_the_rest():
    passes = ("lean_imports", "template", "working_set")
    spec = spec_of("learning-10", passes, 10**9, agents=5, steps=3)
    done = run_worker(Measure(spec), Limits(), lambda mark: None)
    use = done.value.working_set
    assert use.budget_bytes == 10**9
    assert use.active_bytes > 5 * 0.7e6
    assert use.hits + use.activations == 15
    assert use.activations - use.hibernations == use.active_agents > 0
    assert "working set" in {row.component for row in done.value.ledger.rows}


def test_the_command_takes_a_size_for_it(memprof, scenario):
    run = memprof("profile", scenario(passes=["template"]), "--working-set", "20 KB")
    assert run.code == 2
    assert "--working-set: takes effect under the pass working_set only; add it" in run.err
