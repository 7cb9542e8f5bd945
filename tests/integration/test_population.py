"""`optimize` and `reopen`: the user's own PyMDP agents, stored and activated."""

import contextlib
import inspect
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import numpy as np
import pytest

import memprof
from memprof.errors import AgentActive, StoreError, UsageError
from memprof.models import model_builder
from memprof.populations import step_seed
from memprof.upstream import load
from memprof.upstream.installed import agent_of, version
from memprof.upstream.numpy_agent import Agent, utils
from tests.conftest import ROOT


def model(kind="grid_world", **parameters):
    return model_builder({"kind": kind, **parameters}, str(ROOT))(0).arguments


class Diarist(Agent):
    """A user's subclass with state of its own."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.diary = []
        self.mood = {"calm": 1.0}


def leaves(value):
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for element in value:
            yield from leaves(element)
    elif value is not None:
        yield np.atleast_1d(value)


def bits(value):
    return b"".join(leaf.tobytes() for leaf in leaves(value))


def live(agent, index, step, learning=(), distribution=False):
    """One step as PyMDP's README has it; its beliefs, policies and action."""
    np.random.seed(step_seed(0, index, step))
    sizes = agent.num_obs
    observation = tuple(int(np.random.randint(size)) for size in sizes)
    previous = agent.qs
    if distribution:
        observation = utils.obj_array(len(sizes))
        for position, size in enumerate(sizes):
            observation[position] = np.random.dirichlet(np.ones(size))
    beliefs = agent.infer_states(observation, distr_obs=distribution)
    if "A" in learning:
        agent.update_A(observation)
    if "B" in learning and step:
        agent.update_B(previous)
    if "D" in learning and step == 0:
        agent.update_D(beliefs)
    policies = agent.infer_policies()
    return bits([beliefs, policies, agent.sample_action()])


def learned(arguments, letters):
    priors = {f"p{letter}": utils.dirichlet_like(arguments[letter]) for letter in letters}
    return {**arguments, **priors}


def pomdp():
    sizes = {"num_obs": [4, 3], "num_states": [5, 3], "num_controls": [3, 2]}
    return model("random_pomdp", **sizes, seed=0)


MMP = {
    "inference_algo": "MMP",
    "inference_horizon": 3,
    "save_belief_hist": True,
    "use_BMA": False,
    "policy_sep_prior": True,
}
KINDS = {
    "vanilla": (lambda: model(size=12), {}, ""),
    "histories": (lambda: model(size=4), {"save_belief_hist": True, "policy_len": 2}, ""),
    "learning": (
        lambda: learned(pomdp(), "ABD"),
        {"use_param_info_gain": agent_of("numpy") != "pymdp.agent.Agent"},  # fails in 0.0.7.1
        "ABD",
    ),
    "mmp": (lambda: model(size=4), MMP, ""),
    "mmp, learning D": (lambda: learned(model(size=4), "D"), {"inference_algo": "MMP"}, "D"),
    "sophisticated": (
        lambda: model("t_maze", reward_probability=0.98),
        {"sophisticated": True, "si_horizon": 2},
        "",
    ),
    "inductive": (
        lambda: model(size=4, inductive=True),
        {"action_selection": "stochastic", "sampling_mode": "full"},
        "",
    ),
    "factor lists": (
        pomdp,
        {"A_factor_list": [[0, 1], [0, 1]], "E": np.full(6, 1 / 6)},
        "",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_agents_live_as_they_would_have_without_us(kind):
    arguments, options, learning = KINDS[kind]
    if later := {*arguments(), *options} - {*inspect.signature(Agent).parameters}:
        pytest.skip(f"PyMDP {version()} has no {', '.join(later)}")
    plain = [Agent(**arguments(), **options) for _ in range(3)]
    expected = [
        live(agent, index, step, learning)
        for step in range(12)
        for index, agent in enumerate(plain)
    ]
    agents = (Agent(**arguments(), **options) for _ in range(3))
    with memprof.optimize(agents) as population:
        found = []
        for step in range(12):
            for index in range(3):
                with population.activate(index) as agent:
                    found.append(live(agent, index, step, learning))
        assert found == expected
        for index, reference in enumerate(plain):
            with population.activate(index) as agent:
                assert vars(agent).keys() == vars(reference).keys()
                for name, value in vars(reference).items():
                    same(value, getattr(agent, name), name)


def same(left, right, name):
    """Whatever the agent can be asked gives the same bits."""
    if isinstance(left, dict):
        assert left == right, name
    elif isinstance(left, np.ndarray | list | tuple):
        assert bits(list(left)) == bits(list(right)), name
    else:
        assert left == right, name


def test_observations_that_are_distributions():
    plain = Agent(**pomdp())
    expected = [live(plain, 0, step, distribution=True) for step in range(5)]
    with memprof.optimize([Agent(**pomdp())]) as population:
        for step in range(5):
            with population.activate(0) as agent:
                assert live(agent, 0, step, distribution=True) == expected[step]


def test_the_example_of_the_readme_with_a_users_subclass():
    population = memprof.optimize([Diarist(**model(size=6)) for _ in range(20)], passes="auto")
    with population.activate(17) as agent:
        assert type(agent) is Diarist
        agent.infer_states((3,))
        agent.infer_policies()
        agent.diary.append(agent.sample_action())
        agent.mood["calm"] = 0.5
        reset = agent.reset()
        assert reset is agent.qs
    with population.activate(17) as agent:
        assert len(agent.diary) == 1
        assert agent.mood == {"calm": 0.5}
    memory = population.memory()
    assert memory.agents == len(population) == 20
    assert memory.typical_agent_bytes < 512
    assert memory.kept_whole == {}
    assert "20 agents" in str(memory)
    population.close()


def test_a_generator_builds_a_population_that_would_not_fit():
    """The peak is the template, one agent and the records."""
    one = sum(leaf.nbytes for name in "AB" for leaf in leaves(model(size=20)[name]))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    population = memprof.optimize(Agent(**model(size=20)) for _ in range(30))
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 4 * one, "30 agents were never there at once"
    assert after - before < 1.3 * one
    population.close()


def test_the_users_arrays_and_agents_in_a_list():
    arguments = model(size=6)
    held = arguments["B"][0].copy()
    agents = [Agent(**arguments) for _ in range(3)]
    with memprof.optimize(agents) as population:
        with pytest.raises(AttributeError, match="stored in a population"):
            agents[0].infer_states((1,))
        arguments["B"][0][:] = 0
        with population.activate(1) as agent:
            assert np.array_equal(agent.B[0], held)
    assert arguments["B"][0].flags.writeable


def test_pymdp_is_left_as_it_was():
    control = load("control")
    before = dict(vars(control))
    population = memprof.optimize([Agent(**model(size=4))])
    assert dict(vars(control)) != before
    population.close()
    assert dict(vars(control)) == before


def test_threads_and_agents_that_are_active_already():
    plain = [Agent(**model(size=5)) for _ in range(4)]
    np.random.seed(0)
    with memprof.optimize(Agent(**model(size=5)) for _ in range(4)) as population:
        failures = []

        def live_on(index):
            try:
                for _ in range(20):
                    with population.activate(index) as agent:
                        agent.infer_states((index,))
                        agent.infer_policies()
                        with pytest.raises(AgentActive), population.activate(index):
                            pass
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=live_on, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        for index, agent in enumerate(plain):
            agent.infer_states((index,))
            with population.activate(index) as other:
                assert bits(agent.qs) == bits(other.qs)


def test_an_exception_in_the_block_stores_the_agent_as_it_is_then():
    with memprof.optimize([Diarist(**model(size=4))]) as population:
        with contextlib.suppress(RuntimeError), population.activate(0) as agent:
            agent.diary.append("so far")
            raise RuntimeError
        with population.activate(0) as agent:
            assert agent.diary == ["so far"]


@pytest.mark.parametrize(
    ("agents", "passes", "words"),
    [
        (
            [object()],
            "auto",
            f"expected PyMDP agents ({agent_of('numpy')}), found builtins.obj",
        ),
        (None, "auto", "found builtins.NoneType"),
        ([], ["shard"], "did you mean 'share'?"),
        ([], ["auto", "share"], "passes: unknown name 'auto'"),
        ([], "tempate", "did you mean 'template'?"),
    ],
)
def test_bad_arguments_get_one_clear_message(agents, passes, words):
    with pytest.raises(UsageError) as caught:
        memprof.optimize(agents, passes=passes)
    assert words in str(caught.value)


def test_an_agent_that_is_there_twice_is_said_to_be():
    agent = Agent(**model(size=4))
    with pytest.raises(UsageError, match="already belongs to this population"):
        memprof.optimize([agent, agent])


def test_arrays_of_the_users_own_can_be_written_to():
    class Counter(Agent):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.count = np.zeros(4)
            self.tables = [np.zeros(3)]

    with memprof.optimize(Counter(**model(size=4)) for _ in range(3)) as population:
        for turn in range(3):
            for index in range(3):
                with population.activate(index) as agent:
                    assert agent.count[0] == turn * index
                    agent.count[0] += index
                    agent.tables[0][1] += 1
        with population.activate(2) as agent:
            assert agent.tables[0].tolist() == [0, 3, 0]


def test_a_closed_population_says_so_and_an_active_one_is_not_closed():
    population = memprof.optimize([Agent(**model(size=4))])
    with population.activate(0), pytest.raises(UsageError, match="agent 0 is active"):
        population.close()
    with pytest.raises(IndexError, match="there are 1, numbered from 0"):
        population.activate(7).__enter__()
    population.close()
    population.close()
    with pytest.raises(UsageError, match="is closed"):
        population.activate(0).__enter__()
    with pytest.raises(UsageError, match="is closed"):
        population.memory()


def test_an_agent_that_cannot_be_stored_again_is_as_it_was_stored_last(tmp_path):
    store = tmp_path / "store"
    with memprof.optimize([Diarist(**model(size=4))], passes="mmap", store=store) as population:
        with pytest.raises(UsageError, match="no exact encoding"), population.activate(0) as agent:
            agent.hook = lambda: None
        with population.activate(0) as agent:
            assert not hasattr(agent, "hook")
            agent.diary.append("kept")
    with memprof.reopen(str(store), Diarist) as population, population.activate(0) as agent:
        assert agent.diary == ["kept"]


def test_a_population_that_fails_leaves_no_store(tmp_path):
    agent = Agent(**model(size=4))
    agent.hook = lambda: None
    for _ in range(2):
        with pytest.raises(UsageError, match="no exact encoding"):
            memprof.optimize([agent], passes="mmap", store=tmp_path / "store")
        assert not (tmp_path / "store").exists()
        agent = Agent(**model(size=4))
        agent.hook = print


@pytest.mark.parametrize("passes", ["auto", ["template"], ["share", "policies", "history"]])
def test_agents_of_a_population_that_fails_are_what_they_were(passes):
    np.random.seed(0)
    agent = Agent(A=utils.random_A_matrix([5], [100, 2]), B=utils.random_B_matrix([100, 2], [2, 1]))
    agent.same, agent.log = agent.B, [np.zeros((100, 100)), {"all": np.ones((100, 100))}]
    agent.log.append(agent.log)
    with pytest.raises(UsageError):
        memprof.optimize([agent, "no agent"], passes=passes)
    assert agent.same is agent.B
    assert agent.log[2] is agent.log
    numbers = [*agent.A, *agent.B, *agent.policies, agent.log[0], agent.log[1]["all"]]
    assert all(each.flags.writeable for each in numbers)
    agent.log[0][0] = 1.0
    assert agent.log[1]["all"].sum() == 1e4


def test_a_store_needs_mmap(tmp_path):
    with pytest.raises(UsageError, match="add it to passes"):
        memprof.optimize([], store=tmp_path / "s")


KILLED = """
    import sys
    import numpy as np
    import memprof
    from pathlib import Path
    from memprof.upstream.numpy_agent import Agent
    from memprof.models import model_builder
    arguments = model_builder({"kind": "grid_world", "size": 12}, ".")(0).arguments
    population = memprof.optimize(
        (Agent(**arguments) for _ in range(5)), passes=["history", "mmap"], store=Path(sys.argv[1])
    )
    step = 0
    while True:
        for index in range(5):
            np.random.seed(step)
            with population.activate(index) as agent:
                agent.infer_states((step % 144,))
                agent.infer_policies()
                agent.sample_action()
            print(index, agent.__class__.__name__, step, flush=True)
        step += 1
"""


def test_a_killed_process_leaves_every_agent_that_had_come_to_rest(tmp_path):
    store = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), store],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    lived = [0] * 5
    for _ in range(63):
        index, _, step = process.stdout.readline().split()
        lived[int(index)] = int(step) + 1
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with memprof.reopen(store, Agent) as population:
        assert len(population) == 5
        for index in range(5):
            with population.activate(index) as agent:
                assert agent.curr_timestep in (lived[index], lived[index] + 1, lived[index] + 2)
                assert len(agent.prev_actions) == agent.curr_timestep
                assert np.array_equal(agent.A[0], np.eye(144))
                agent.infer_states((7,))
                assert agent.qs[0].argmax() == 7


def test_a_store_that_outlives_the_program_refuses_what_it_cannot_hold(tmp_path):
    agent = Agent(**model(size=4))
    agent.hook = lambda: None
    with pytest.raises(UsageError, match=r"hook \(function\).*leave mmap out"):
        memprof.optimize([agent], passes="mmap", store=tmp_path / "store")
    agent = Agent(**model(size=4))
    agent.hook = print
    with memprof.optimize([agent], passes="mmap") as population, population.activate(0) as found:
        assert found.hook is print


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"something else")
    with pytest.raises(StoreError):
        memprof.reopen(tmp_path, Agent)
    with pytest.raises(StoreError):
        memprof.reopen(tmp_path / "absent", Agent)
    with pytest.raises(StoreError):
        memprof.optimize([Agent(**model(size=4))], passes="mmap", store=tmp_path)
