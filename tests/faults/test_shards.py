"""Shards, nodes and programs that die, stores that are full: what is committed is never lost."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

import memprof
from memprof.distributed.agents import seeds_of
from memprof.errors import ClusterError, ShardLost
from memprof.populations import step_seed
from tests.distributed_agents import AGENTS, make_agent, observed, state_of

STORE_BYTES = 80 * 2**20
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine, to which the program is connected."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    soon = {"health_check_period_ms": 200, "health_check_failure_threshold": 3}
    made = Cluster(initialize_head=True, head_node_args={**node, "_system_config": soon})
    made.add_node(**node)
    ray.init(made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@contextmanager
def another_node(cluster, **more):
    """A third one, which most shards go to."""
    node = cluster.add_node(num_cpus=8, object_store_memory=STORE_BYTES, **more)
    cluster.wait_for_nodes()
    try:
        yield node
    finally:
        cluster.remove_node(node, allow_graceful=False)


def pids_of(population):
    return [place.pid for place in population.places]


def in_one_process(turns):
    """What agents do without shards."""
    agents = []
    for index in range(AGENTS):
        np.random.seed(step_seed(5, index, -1))
        agents.append(make_agent(index))
    with memprof.optimize(agents) as population:
        return np.array(
            [
                population.act(observed(turn), seeds=seeds_of(5, turn, np.arange(AGENTS)))
                for turn in range(turns)
            ]
        )


DRIVER = """
import sys, time
import memprof
from memprof.populations import step_seed
from tests.distributed_agents import make_agent
population = memprof.distribute(make_agent, 4, shards=2)
population.checkpoint(sys.argv[1])
print(*(place.pid for place in population.places), flush=True)
time.sleep(600)
"""


def test_a_program_that_is_killed_leaves_nothing_running_and_its_checkpoint(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-P", "-c", DRIVER, tmp_path / "agents"],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    shards = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
    family = [each for shard in shards for each in (shard, *shard.parents())]
    rays = {each for each in family if "ray" in each.name()}
    rays |= {*psutil.Process(program.pid).children(recursive=True)}
    assert len(rays) > 4
    program.kill()
    program.wait()
    _, alive = psutil.wait_procs(rays, timeout=50)
    assert not alive
    with memprof.distribute(tmp_path / "agents", shards=1) as population:
        assert len(population.act([0, 1, 2, 3])) == 4


@pytest.mark.long
def test_a_population_ends_the_ray_that_was_started_for_it_and_no_other():
    import ray

    first = memprof.distribute(make_agent, 1)
    ray.shutdown()
    with pytest.raises(ClusterError, match=r"called ray\.shutdown\(\)"):
        first.act([0])
    assert not ray.is_initialized()
    ray.init(num_cpus=1, object_store_memory=STORE_BYTES, include_dashboard=False)
    try:
        with memprof.distribute(make_agent, 1) as second:
            with pytest.raises(ClusterError, match=r"called ray\.shutdown\(\)"):
                first.act([0])
            first.close()
            assert len(second.act([0])) == 1
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_a_shard_that_is_killed_goes_on_from_the_last_checkpoint(cluster, tmp_path):
    turns, random = 12, np.random.default_rng(3)
    killed_at = {*random.choice(np.arange(1, turns), 3, replace=False).tolist()}
    with memprof.distribute(make_agent, AGENTS, shards=2, seed=5) as population:
        did = []
        for turn in range(turns):
            if turn % 5 == 0:
                population.checkpoint(tmp_path / "agents")
            if turn in killed_at:
                os.kill(pids_of(population)[int(random.integers(2))], signal.SIGKILL)
            did.append(population.act(observed(turn)))
        assert (np.array(did) == in_one_process(turns)).all()
        assert population.recovered >= 1
        assert population.memory().journal_bytes > 0


@pytest.mark.long
def test_what_is_repeated_is_what_was_done(cluster, tmp_path):
    with memprof.distribute(make_agent, 3, shards=1) as population:
        population.checkpoint(tmp_path / "agents")
        seen, listed = np.array([1, 2, 3]), [[1], [2], [3]]
        population.act(seen, learning="B")
        seen[:], seen = 0, np.array([2, 3, 1])  # as programs do that have one array for all turns
        population.act(seen, learning="B")
        seen[:] = 0
        population.map(keep, listed)
        listed[0].append("later")
        expected = [population.activate(index, all_of) for index in range(3)]
        os.kill(pids_of(population)[0], signal.SIGKILL)
        assert [population.activate(index, all_of) for index in range(3)] == expected
        assert population.recovered == 1

        file = tmp_path / "file"
        file.touch()
        population.activate(0, read, file)
        file.unlink()
        os.kill(pids_of(population)[0], signal.SIGKILL)
        with pytest.raises(ShardLost, match="repeating its turns, activate raises FileNotFound"):
            population.act(seen)

        with memprof.distribute(make_agent, 3, shards=1) as other:
            other.checkpoint(tmp_path / "others")
            shutil.rmtree(tmp_path / "others")
            os.kill(pids_of(other)[0], signal.SIGKILL)
            with pytest.raises(ShardLost, match="its last checkpoint cannot be read"):
                other.act(seen)


def keep(agent, observation):
    agent.kept = observation


def all_of(agent):
    return state_of(agent), repr(agent.kept)


def read(agent, file):
    return file.read_text()


def test_without_a_checkpoint_a_dead_shard_is_the_end(cluster, tmp_path):
    with memprof.distribute(make_agent, AGENTS, shards=2) as population:
        population.act(observed(0))
        os.kill(pids_of(population)[1], signal.SIGKILL)
        with pytest.raises(ShardLost, match=r"shard 1 of 2 has died .*no checkpoint"):
            population.act(observed(1))
        with pytest.raises(ShardLost):
            population.activate(0, repr)
        with pytest.raises(ShardLost):
            population.checkpoint(tmp_path / "late")


def test_agents_of_a_node_that_goes_away_move_to_another(cluster, tmp_path):
    with ExitStack() as going:
        going.enter_context(another_node(cluster))
        with memprof.distribute(make_agent, AGENTS, shards=2, seed=5) as population:
            did = [population.act(observed(0))]
            population.checkpoint(tmp_path / "agents")
            gone = {place.node for place in population.places}
            going.close()
            while not population.recovered:  # its processes notice that some time after
                did.append(population.act(observed(len(did))))
            did.append(population.act(observed(len(did))))
            assert {place.node for place in population.places} - gone
    assert (np.array(did) == in_one_process(len(did))).all()


def test_nodes_that_run_other_versions_are_refused(cluster, tmp_path):
    other = tmp_path / "inferactively_pymdp-9.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: inferactively-pymdp\nVersion: 9.9\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (
        another_node(cluster, env_vars={"PYTHONPATH": path}),
        pytest.raises(ClusterError, match=r"PyMDP: \S+ on .* and 9\.9 on node"),
    ):
        memprof.distribute(make_agent, AGENTS, shards=2)


@pytest.mark.long
def test_an_object_store_that_is_too_small_is_said_before_it_is_full(cluster):
    with pytest.raises(ClusterError, match=r"object store is full: what agents share takes"):
        memprof.distribute(make_large, 2, shards=1)


def make_large(index):
    """An agent with more than the nodes' object stores hold."""
    agent = make_agent(index)
    agent.picture = np.zeros(STORE_BYTES // 8 + 1)
    return agent
