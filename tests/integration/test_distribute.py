"""`memprof.distribute`: the same agents over shards as in one process, on two nodes."""

import json
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import memprof
from memprof.distributed import checkpoints
from memprof.distributed.agents import seeds_of
from memprof.distributed.cluster import Cluster
from memprof.errors import ShardLost, StoreError, UsageError
from memprof.populations import step_seed
from tests.distributed_agents import (
    AGENTS,
    OUTCOMES,
    Counting,
    fail_at,
    look,
    make_agent,
    make_arguments,
    make_counting,
    observed,
    seen_as,
    state_of,
    visit,
)

STEPS = 4
STORE_BYTES = 80 * 2**20


@pytest.fixture(scope="module")
def cluster():
    """Two nodes on this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES},
    )
    made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def in_one_process(steps=STEPS, learning=()):
    """What agents do in one process, each with the numbers that it draws from in shards."""
    agents = []
    for index in range(AGENTS):
        np.random.seed(step_seed(5, index, -1))
        agents.append(make_agent(index))
    with memprof.optimize(agents) as population:
        did = []
        for turn in range(steps):
            seeds = seeds_of(5, turn, np.arange(AGENTS))
            did.append(population.act(observed(turn), learning=learning, seeds=seeds))
        states = []
        for index in range(AGENTS):
            with population.activate(index) as agent:
                states.append(state_of(agent))
    return np.array(did), states


def steps_of(population, steps=range(STEPS), learning=()):
    return np.array([population.act(observed(turn), learning=learning) for turn in steps])


def states_of(population):
    return [population.activate(index, state_of) for index in range(AGENTS)]


@pytest.fixture(scope="module")
def population(cluster):
    with memprof.distribute(
        make_agent, AGENTS, shards=3, seed=5, address=cluster.address
    ) as population:
        yield population


def test_agents_over_shards_do_what_they_do_in_one_process(cluster, tmp_path):
    did, states = in_one_process(learning="B")
    for shards in (1, 3):
        with memprof.distribute(
            make_agent, AGENTS, shards=shards, seed=5, address=cluster.address
        ) as population:
            assert (steps_of(population, learning="B") == did).all()
            assert states_of(population) == states
            others = population.act(observed(9)[[4, 1]], indices=[4, 1])
            assert others.shape == (2, 1)
            population.remove(4)
            with pytest.raises(IndexError, match="agent 4 was removed"):
                population.act({4: 1})
            assert len(population) == AGENTS - 1
            assert population.add(make_agent(AGENTS)) == AGENTS
            population.save(tmp_path / f"of {shards}")

    further = []
    for folder, shards in (("of 1", 3), ("of 3", 1)):  # whoever had saved them
        with memprof.distribute(
            tmp_path / folder, shards=shards, address=cluster.address
        ) as population:
            assert 4 not in population.indices()
            further.append(population.act(observed(8, AGENTS), learning="B"))
    file = tmp_path / "of 1" / "shards.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "agents": AGENTS + 2}))
    with pytest.raises(StoreError, match=rf"expected {AGENTS + 1} agents, .* found {AGENTS} in"):
        memprof.distribute(tmp_path / "of 1", shards=1, address=cluster.address)
    assert all((each == further[0]).all() for each in further[1:])
    assert len(further[0]) == AGENTS


def test_a_message_each_way_for_every_shard_and_turn(population):
    before = population.traffic.copy()
    seen = observed(0)
    did = population.act(seen)
    found = population.traffic.since(before)
    assert (found.sent, found.received) == (3, 3)
    assert found.sent_bytes < seen.nbytes + 3 * 1024
    assert found.received_bytes <= did.nbytes + 3 * 128


def test_functions_run_where_the_agents_are(population):
    before = [population.activate(index, state_of) for index in range(2)]
    assert isinstance(before[0], bytes)
    found = population.map(look, observed(1))
    assert len(found) == AGENTS
    assert all(0 < each < 2 for each in found)
    assert population.map(look, [1, 2], indices=[5, 2]) != found[:2]
    assert population.map(seen_as, {4: [0, 1], 2: True}) == ["[0, 1]", "True"]
    assert len(population.act({4: 1, 2: 1, 3: 1}, indices=[3])) == 1


def test_what_the_users_code_raises_comes_back_with_the_agent(population):
    with pytest.raises(ValueError, match="three is too much") as raised:
        population.map(fail_at, [0, 3, 1], indices=[4, 7, 5])
    notes = "\n".join(raised.value.__notes__)
    assert "agent 7 of the population, observing 3" in notes
    assert "in shard 1" in notes
    assert "in fail_at" in notes
    assert len(population.act(observed(2))) == AGENTS


def test_agents_share_their_model_once_per_node(cluster):
    with memprof.distribute(make_arguments, 12, shards=4, address=cluster.address) as population:
        population.act(np.zeros(12, int))
        memory = population.memory()
        model = sum(each.nbytes for each in (make_arguments(0)["A"][0], make_arguments(0)["B"][0]))
        assert [node.shards for node in memory.nodes] == [2, 2]
        for node in memory.nodes:
            assert model < node.store_bytes < 2 * model + 2**20
        for ledger in memory.shards:
            (template,) = (row for row in ledger.rows if row.component == "template")
            assert template.resident_bytes < model / 10
        assert "store" in str(memory)


def test_agents_that_the_program_has_move_to_the_shards(cluster, tmp_path):
    agents = [make_counting(index) for index in range(5)]
    with memprof.distribute(agents, shards=2, address=cluster.address) as population:
        with pytest.raises(AttributeError, match="stored in a population"):
            _ = agents[0].visits
        for index in range(5):
            visits = population.activate(index, visit, "here")
            assert visits[index] == [f"agent {index}"]
            assert set(visits) == {index, "here"}
        with pytest.raises(UsageError, match="class of the others, Counting, found Agent"):
            population.add(make_agent(5))
        population.checkpoint(tmp_path / "kept")
    with pytest.raises(UsageError, match="agent_class"):
        memprof.distribute(tmp_path / "kept", address=cluster.address)
    with memprof.distribute(
        tmp_path / "kept", shards=3, agent_class=Counting, address=cluster.address
    ) as population:
        assert "here" in population.activate(4, visit, "there")


def test_an_agent_that_cannot_move_leaves_all_as_they_were(cluster):
    agents = [make_agent(index) for index in range(3)]
    agents[1].mailbox = agents[2].mailbox = []
    with pytest.raises(UsageError, match="mailbox"):
        memprof.distribute(agents, shards=2, address=cluster.address)
    assert agents[0].A[0].shape == (OUTCOMES, 6)
    assert agents[1].mailbox is agents[2].mailbox


def test_what_is_no_population_of_shards_is_refused(cluster, tmp_path):
    for given, message in (
        ({"source": make_agent}, "how many to make"),
        ({"source": make_agent, "agents": 0}, "from 1 to"),
        ({"source": [make_agent(0)], "agents": 3}, "expected none beside agents"),
        ({"source": make_agent, "agents": 3, "shards": 0}, "shards: expected a whole number"),
        ({"source": make_agent, "agents": 3, "seed": 2**63}, "seed: expected a whole number"),
        ({"source": make_agent, "agents": 3, "store": tmp_path}, "store: expected none"),
        ({"source": lambda index: "agent", "agents": 3}, r"make_agent\(0\): .*found 'str'"),
        ({"source": make_agent, "agents": 3, "passes": ["nothing"]}, "unknown name 'nothing'"),
        ({"source": tmp_path, "passes": ["share"]}, "expected none with a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            memprof.distribute(**given, address=cluster.address)
    with pytest.raises(StoreError, match=r"no checkpoint of shards"):
        memprof.distribute(tmp_path, address=cluster.address)
    with pytest.raises(UsageError, match=r"address: expected none or .* connected, found auto:1"):
        memprof.distribute(make_agent, 3, address="auto:1")
    lock = threading.Lock()
    with pytest.raises(UsageError, match="make_agent: cannot be sent"):
        memprof.distribute(lambda index: lock, 3, address=cluster.address)


def test_a_checkpoint_is_whole_wherever_ctrl_c_comes(population, tmp_path, monkeypatch):
    folder, alias = tmp_path / "agents", tmp_path / "alias"
    population.checkpoint(folder)
    removing = iter([KeyboardInterrupt])

    def interrupted(*given, **options):
        for each in removing:
            raise each
        shutil.rmtree(*given, **options)

    monkeypatch.setattr(checkpoints, "shutil", SimpleNamespace(rmtree=interrupted))
    with pytest.raises(KeyboardInterrupt):
        population.checkpoint()
    assert checkpoints.read(folder).shards == 3
    alias.symlink_to(folder)
    with pytest.raises(UsageError, match="has the population's checkpoint"):
        population.save(alias)


def test_an_agent_that_ctrl_c_leaves_between_here_and_there_is_the_end(cluster, monkeypatch):
    with memprof.distribute(make_agent, 3, shards=1, address=cluster.address) as population:
        agent = make_agent(3)
        with monkeypatch.context() as patch:
            patch.setattr(Cluster, "result", interrupt)
            with pytest.raises(KeyboardInterrupt):
                population.add(agent)
        assert agent.A[0].shape == (OUTCOMES, 6)
        with pytest.raises(ShardLost, match="interrupted while an agent came or went"):
            population.act([0, 1, 2])


def interrupt(*given):
    raise KeyboardInterrupt


def test_closed(cluster):
    population = memprof.distribute(make_agent, 3, shards=1, address=cluster.address)
    population.close()
    population.close()
    with pytest.raises(UsageError, match="closed"):
        population.act([0, 0, 0])
