"""Agents through `template` and the other passes that store, on agents that need no PyMDP."""

import copy
import operator
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from memprof.errors import AgentActive
from memprof.instruments.walker import walk
from memprof.optimise.plan import Plan
from memprof.optimise.transforms import CUT, Belief, Float32, Histories, Policies, Sparse, prune
from memprof.populations.roster import Roster
from memprof.storage.agent_class import StoredAgent
from memprof.storage.history import History
from memprof.storage.in_place import Packed
from memprof.storage.template import Template


class Agent:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slotted(Agent):
    __slots__ = ("inside",)


def objects(*arrays):
    out = np.empty(len(arrays), dtype=object)
    for position, array in enumerate(arrays):
        out[position] = array
    return out


def model(seed=0, size=150):
    """A like a grid's, B with one entry per column: 180 KB and 900 KB."""
    random = np.random.default_rng(seed)
    B = np.zeros((size, size, 5))
    for action in range(5):
        B[random.permutation(size), np.arange(size), action] = 1
    return {"A": objects(np.eye(size)), "B": objects(B), "sizes": [size], "name": "x", "step": 0}


def roster(*transforms, storage=None):
    return Roster(Plan((), transforms, storage))


class use:
    """`with use(roster, index) as agent`"""

    def __init__(self, population, index):
        self.population, self.index = population, index

    def __enter__(self):
        return self.population.wake(self.index)

    def __exit__(self, *exception):
        self.population.rest(self.index)


def size_of(population, index):
    """Bytes of a record."""
    return len(population._plan.records[index])


def test_an_agent_comes_back_as_it_was_stored():
    population = roster(storage=Template())
    for _ in range(3):
        population.add(Agent(**model()))
    with use(population, 1) as agent:
        agent.step, agent.beliefs = 7, objects(np.array([0.25, -0.0, np.nan]))
        agent.sizes.append(8)
        del agent.name
    with use(population, 1) as agent:
        assert (agent.step, agent.sizes) == (7, [150, 8])
        assert agent.beliefs[0].tobytes() == np.array([0.25, -0.0, np.nan]).tobytes()
        assert not hasattr(agent, "name")
        assert np.array_equal(agent.A[0], np.eye(150))
    with use(population, 2) as agent:
        assert (agent.step, agent.sizes, agent.name) == (0, [150], "x")


def test_agents_share_the_template_and_differ_by_few_bytes():
    population = roster(storage=Template())
    for index in range(3):
        population.add(Agent(**{**model(), "number": index}))
    assert [size_of(population, index) for index in range(3)] == [2, 10, 10]
    with use(population, 0) as one, use(population, 1) as two:
        assert one.A[0] is two.A[0]
        assert one.A is not two.A
        assert one.sizes is not two.sizes
        with pytest.raises(ValueError, match="read-only"):
            one.A[0][0, 0] = 2


def test_a_matrix_that_differs_a_little_is_stored_as_the_difference():
    population = roster(storage=Template())
    for seed in (0, 0, 1):
        population.add(Agent(**model(seed)))
    with use(population, 1) as agent:
        learned = agent.B[0].copy()
        learned[3, 4, 1] = 0.5
        agent.B = objects(learned)
    assert size_of(population, 1) < 60
    assert size_of(population, 2) < 8000  # every column of its own
    for _ in range(3):
        with use(population, 1) as agent, use(population, 2) as other:
            assert agent.B[0].tobytes() == learned.tobytes()
            assert other.B[0].tobytes() == model(1)["B"][0].tobytes()
            agent.step += 1
    assert size_of(population, 1) < 60


def test_a_lent_matrix_that_somebody_keeps_never_changes():
    population = roster(storage=Template())
    for seed in (0, 1, 2):
        population.add(Agent(**model(seed)))
    with use(population, 1) as agent:
        kept, column = agent.B[0], agent.B[0][:, 3, 0]
    with use(population, 2):
        assert kept.tobytes() == model(1)["B"][0].tobytes()
        assert np.array_equal(column, model(1)["B"][0][:, 3, 0])
    del kept, column
    for index in (1, 2, 1):
        with use(population, index) as agent:
            assert agent.B[0].tobytes() == model(index)["B"][0].tobytes()


def test_arrays_that_the_user_holds_stay_as_they_are():
    mine = model()
    matrix = mine["A"][0]
    population = roster(storage=Template())
    population.add(Agent(**mine))
    matrix[0, 0] = 7.0
    with use(population, 0) as agent:
        assert agent.A[0][0, 0] == 1.0
    assert matrix[0, 0] == 7.0


def test_what_has_no_encoding_is_kept_whole_and_named():
    template = Template()
    population = roster(storage=template)

    def own():
        return None

    population.add(Agent(hook=own, x=1.0))
    population.add(Agent(hook=own, x=2.0, lock=threading.Lock()))
    for _ in range(2):
        with use(population, 1) as agent:
            assert agent.hook is own
            assert agent.x == 2.0
            assert agent.lock.acquire(blocking=False)
            agent.lock.release()
    assert template.kept_whole == {"hook": "function", "lock": "lock"}


def test_slots_subclasses_and_different_classes_live_in_one_population():
    population = roster(storage=Template())
    population.add(Agent(x=[1]))
    slotted = Slotted(y=2)
    slotted.inside = np.arange(3.0)
    population.add(slotted)
    with use(population, 1) as agent:
        assert type(agent) is Slotted
        assert agent.inside.tolist() == [0, 1, 2]
        agent.inside = None
    with use(population, 1) as agent, use(population, 0) as other:
        assert agent.inside is None
        assert type(other) is Agent


def test_an_agent_object_that_was_stored_says_so():
    population = roster(storage=Template())
    agent = Agent(x=1)
    population.add(agent)
    assert type(agent) is StoredAgent
    with pytest.raises(AttributeError, match="stored in a population"):
        agent.x  # noqa: B018


def test_more_layouts_than_the_table_holds_are_stored_with_their_records(monkeypatch):
    monkeypatch.setattr("memprof.storage.template._MOST_LAYOUTS", 3)
    population = roster(storage=Template())
    population.add(Agent())
    for step in range(10):
        with use(population, 0) as agent:
            setattr(agent, f"name{step}", [step, np.arange(3.0)])
    with use(population, 0) as agent:
        assert [getattr(agent, f"name{step}")[0] for step in range(10)] == list(range(10))


def test_threads_that_store_the_same_new_layout_read_it_back():
    population, together = roster(storage=Template()), threading.Barrier(4, timeout=300)
    for _ in range(4):
        population.add(Agent())

    def live(index):
        for step in range(400):
            together.wait()
            with use(population, index) as agent:
                vars(agent).clear()
                setattr(agent, f"name{step}", step)
            with use(population, index) as agent:
                assert vars(agent) == {f"name{step}": step}

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(live, range(4))) == [None] * 4
    finally:
        sys.setswitchinterval(before)


def test_keep_leaves_out_results_that_the_next_step_does_not_read():
    population = roster(storage=Template(keep=("qs", "action")))
    population.add(Agent(qs=None, action=None, prev_actions=None))
    population.add(Agent(qs=None, action=None, prev_actions=None, inference_algo="MMP"))
    for index in (0, 1):
        with use(population, index) as agent:
            agent.qs, agent.G, agent.q_pi = np.ones(3), np.ones(500), np.ones(500)
            agent.prev_actions = [np.ones(1)]
    with use(population, 0) as agent:
        assert agent.qs.tolist() == [1, 1, 1]
        assert agent.prev_actions is None, "as it was built"
        assert not hasattr(agent, "G")
    with use(population, 1) as agent:
        assert agent.prev_actions[0] == 1
        assert not hasattr(agent, "G")


def test_one_agent_is_active_once_and_different_agents_in_any_thread():
    population = roster(Histories(), storage=Template())
    for _ in range(8):
        population.add(Agent(**model(), prev_actions=[], total=0))
    failures = []

    def live(index):
        try:
            for step in range(60):
                with use(population, index) as agent:
                    agent.total += step
                    agent.prev_actions.append(np.array([float(step)]))
                    with pytest.raises(AgentActive, match=f"agent {index} is active"):
                        population.wake(index)
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=live, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    for index in range(8):
        with use(population, index) as agent:
            assert agent.total == sum(range(60))
            assert [entry[0] for entry in agent.prev_actions] == list(range(60))


def test_sparse_matrices_rest_small_and_are_dense_in_use():
    population = roster(Sparse())
    agents = [Agent(**model(seed)) for seed in (0, 1)]
    for agent in agents:
        population.add(agent)
    assert all(isinstance(agent.B, Packed) and len(agent.B.frame) < 8000 for agent in agents)
    for index in (0, 1, 0):
        with use(population, index) as agent:
            assert agent.B[0].tobytes() == model(index)["B"][0].tobytes()
            assert agent.A[0].tobytes() == np.eye(150).tobytes()
        assert isinstance(agent.B, Packed)
    with use(population, 0) as agent:
        agent.B = objects(np.random.default_rng(0).random((90, 90, 5)))
    assert isinstance(agents[0].B, np.ndarray), "dense stays dense"


@pytest.mark.parametrize("outside", [False, True], ids=["the agent alone", "a variable too"])
@pytest.mark.parametrize("held", [lambda a: a.B, lambda a: a.B[0]], ids=["B", "an array of B"])
def test_a_matrix_under_a_name_of_the_users_is_not_packed(held, outside):
    """Awake, the two names would be two objects."""
    agent = Agent(**model())
    agent.mine = held(agent)
    variable = agent.mine if outside else None
    population = roster(Sparse())
    population.add(agent)
    for _ in range(2):
        with use(population, 0) as agent:
            assert agent.mine is held(agent)
            assert variable is None or variable is agent.mine
            assert agent.A[0].tobytes() == np.eye(150).tobytes()
        assert isinstance(agent.A, Packed), "others are"
    agent.B = variable = None
    with use(population, 0) as agent:
        agent.B = objects(model()["B"][0])
    assert isinstance(agent.B, Packed), "nor for longer than they are one"


def test_float32_halves_what_is_an_agents_own_and_does_not_drift():
    population = roster(Float32())
    agents = []
    for seed in (0, 1):
        random = np.random.default_rng(seed)
        agents.append(Agent(A=objects(random.random((200, 100))), qs=objects(random.random(50))))
        population.add(agents[-1])
    random = np.random.default_rng(1)
    exact, belief = random.random((200, 100)), random.random(50)
    rounded = agents[1].A[0]
    assert rounded.dtype == np.float32
    assert np.abs(rounded / exact - 1).max() <= 2**-24
    for _ in range(5):
        with use(population, 1) as agent:
            assert agent.A[0] is rounded
            assert agent.qs[0].dtype == np.float64
            assert np.abs(agent.qs[0] / belief - 1).max() <= 2**-24
        assert agents[1].qs[0].dtype == np.float32
    with use(population, 1) as agent:
        agent.A = objects(exact * 0.5)
    assert agents[1].A[0].dtype == np.float32, "what is learned is rounded too"


@pytest.mark.parametrize("shape", [(50,), (1,), (1000,)])
def test_pruned_beliefs_stay_within_the_bound(shape):
    for power in (1, 8, 30):
        belief = np.random.default_rng(0).random(shape) ** power
        belief /= belief.sum()
        pruned = prune(belief)
        assert np.abs(pruned - belief).max() <= 2 * CUT
        kept = pruned > 0
        divergence = np.sum(pruned[kept] * np.log(pruned[kept] / belief[kept]))
        assert divergence <= 2 * CUT
        assert pruned.sum() == pytest.approx(1, abs=1e-12)


def test_pruning_leaves_alone_what_is_no_belief_and_what_the_user_holds():
    energies = np.array([-3.0, 2.0])
    assert prune(energies) is energies
    belief = np.array([1.0, 1e-12, 0.0])
    population = roster(Belief())
    population.add(Agent(qs=objects(belief)))
    assert belief[1] == 1e-12
    with use(population, 0) as agent:
        assert agent.qs[0].tolist() == [1, 0, 0]


def test_policies_are_rows_of_one_array_that_all_agents_share():
    listed = [np.array([[a, b], [b, a]]) for a in range(3) for b in range(2)]
    one, two = Agent(policies=list(listed)), Agent(policies=list(listed))
    policies = Policies()
    for index, agent in enumerate((one, two)):
        policies.build(agent, index)
    assert type(one.policies) is list
    assert one.policies is not two.policies
    assert all(map(operator.is_, one.policies, two.policies))
    assert len({id(policy.base) for policy in one.policies}) == 1
    assert [policy.tolist() for policy in one.policies] == [policy.tolist() for policy in listed]
    assert one.policies[0].dtype == listed[0].dtype, "actions are made of it"
    uneven = Agent(policies=[np.zeros((1, 1), int), np.zeros((2, 1), int)])
    Policies().build(uneven, 0)
    assert [policy.shape for policy in uneven.policies] == [(1, 1), (2, 1)]


def test_histories_are_lists_that_read_back_whole():
    population = roster(Histories())
    agent = Agent(prev_actions=None, qs_hist=[])
    population.add(agent)
    for step in range(100):
        with use(population, 0) as active:
            entry = np.array([float(step)])
            if active.prev_actions is None:
                active.prev_actions = [entry]
            else:
                active.prev_actions.append(entry)
    assert type(agent.prev_actions) is History
    assert [entry[0] for entry in agent.prev_actions] == list(range(100))


def test_two_equal_arrays_of_one_agent_stay_two():
    population = roster(storage=Template())
    for _ in range(2):
        population.add(Agent(pB=objects(np.ones((30, 30)), np.ones((30, 30)))))
    for index in (0, 1):
        with use(population, index) as agent:
            learned = copy.deepcopy(agent.pB)
            learned[0] += 1
            assert learned[1].max() == 1
            agent.pB = learned
        with use(population, index) as agent:
            assert (agent.pB[0].max(), agent.pB[1].max()) == (2, 1)


def test_records_are_their_agents_own_on_the_ledger():
    population = roster(Histories(), storage=Template())
    for _ in range(4):
        population.add(Agent(**model(), prev_actions=[]))
    rows, held, _ = walk(population.holdings(), len(population))
    found = {row.component: row for row in rows}
    assert len(held) == 4
    assert found["records"].shared_nominal_bytes == 0
    assert found["template"].private_nominal_bytes == 0
    assert found["template"].shared_nominal_bytes > 1_000_000
