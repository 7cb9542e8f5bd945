"""`population.act`: the same turns as in a loop over PyMDP's own agents, under every plan."""

import copy
import pickle

import numpy as np
import pytest

import memprof
from memprof.errors import AgentActive, UsageError
from memprof.upstream.numpy_agent import Agent, utils

STEPS, AGENTS = 6, 5
PLANS = {
    "auto": ("auto", {}),
    "none": ([], {}),
    "share and pool": (["share", "pool"], {}),
    "in files": (["history", "mmap"], {}),
    "some active": (["history", "pool", "template", "working_set"], {"working_set": "20 KB"}),
    "few results kept": (["template"], {"keep": ["qs", "action"]}),
}


def learners(selection="stochastic"):
    np.random.seed(7)
    A, B = utils.random_A_matrix([3, 2], [4, 2]), utils.random_B_matrix([4, 2], [3, 1])
    D = utils.obj_array_uniform([4, 2])
    return [
        Agent(
            A=A, B=B, D=D, pA=utils.dirichlet_like(A), pB=utils.dirichlet_like(B),
            pD=utils.dirichlet_like(D), policy_len=2, action_selection=selection,
        )
        for _ in range(AGENTS)
    ]  # fmt: skip


def observed(step):
    return [[(step + agent) % 3, (step * agent) % 2] for agent in range(AGENTS)]


def by_hand(agents, learning=()):
    """A loop over PyMDP's own agents."""
    np.random.seed(1)
    found = []
    for step in range(STEPS):
        row = []
        for agent, observation in zip(agents, observed(step), strict=True):
            previous = getattr(agent, "qs", None)
            beliefs = agent.infer_states(observation)
            if "A" in learning:
                agent.update_A(observation)
            if "B" in learning and step:
                agent.update_B(previous)
            if "D" in learning and not step:
                agent.update_D(beliefs)
            agent.infer_policies()
            row.append(agent.sample_action())
        found.append(row)
    return np.array(found)


@pytest.mark.parametrize("learning", [(), ("A", "B", "D")], ids=["inferring", "learning"])
@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_acts_as_a_loop_over_pymdps_agents(plan, learning):
    own = learners()
    expected = by_hand(own, learning)
    passes, options = PLANS[plan]
    with memprof.optimize(learners(), passes, **options) as population:
        np.random.seed(1)
        acted = [population.act(observed(step), learning=learning) for step in range(STEPS)]
        assert np.array(acted).tobytes() == expected.tobytes()
        with population.activate(AGENTS - 1) as agent:
            assert agent.qs[0].tobytes() == own[-1].qs[0].tobytes()
            assert agent.pB[0].tobytes() == own[-1].pB[0].tobytes()
    assert len(np.unique(expected[..., 0])) > 1, "agents that differ"


def test_observations_come_in_any_form_and_some_agents_may_act():
    expected = by_hand(learners("deterministic"))[0]
    one_hot = [
        [np.eye(3)[first], np.eye(2)[second]] for first, second in observed(0)
    ]  # distributions
    forms = {
        "arrays": np.array(observed(0)),
        "tuples": tuple(map(tuple, observed(0))),
        "distributions": one_hot,
        "a generator": (each for each in observed(0)),
        "by index": dict(enumerate(observed(0))),
    }
    for name, observations in forms.items():
        with memprof.optimize(learners("deterministic")) as population:
            np.random.seed(1)
            assert np.array_equal(population.act(observations), expected), name
    with memprof.optimize(learners("deterministic")) as population:
        np.random.seed(1)
        some = population.act({3: observed(0)[3], 0: observed(0)[0]})
        assert np.array_equal(some, expected[[3, 0]])
        assert np.array_equal(population.act(observed(0)[1:2], [1]), expected[[1]])
        assert population.act([], []).shape == (0,)
        with population.activate(2) as agent:
            assert agent.action is None, "nobody else's turn"


def test_one_modality_needs_no_list_and_one_agent_no_list_either():
    A, B = utils.random_A_matrix([3], [4]), utils.random_B_matrix([4], [2])
    with memprof.optimize(Agent(A=A, B=B)) as population:
        assert len(population) == 1
        assert population.act([2]).shape == (1, 1)
        population.add(Agent(A=A, B=utils.to_obj_array(B[0])))
        assert population.act(np.array([2, 0])).shape == (2, 1)
        two = utils.random_B_matrix([4, 2], [2, 1])
        population.add(Agent(A=utils.random_A_matrix([3], [4, 2]), B=two))
        acted = population.act([0, 1, 2])
        assert [len(row) for row in acted] == [1, 1, 2]


@pytest.mark.parametrize("form", [np.array, list, lambda rows: [*map(np.array, rows)]])
@pytest.mark.parametrize("seen", [[[1], [2]], [1, 2]], ids=["rows", "numbers"])
def test_learners_count_the_outcome_that_they_observe_in_whatever_form(form, seen):
    np.random.seed(7)
    A, B = utils.random_A_matrix([3], [4]), utils.random_B_matrix([4], [2])
    learners = [Agent(A=A, B=B, pA=utils.dirichlet_like(A)) for _ in seen]
    with memprof.optimize(learners) as population:
        population.act(form(seen), learning=["A"])
        for index, outcome in enumerate([1, 2]):
            own = Agent(A=A, B=B, pA=utils.dirichlet_like(A))
            own.infer_states([outcome])
            own.update_A([outcome])
            with population.activate(index) as agent:
                assert agent.pA[0].tobytes() == own.pA[0].tobytes()


def test_who_has_no_counts_learns_nothing():
    A, B = utils.random_A_matrix([3], [4]), utils.random_B_matrix([4], [2])
    with memprof.optimize(Agent(A=A, B=B)) as population:
        with pytest.raises(UsageError, match="learning: agent 0 has no pA"):
            population.act([1], learning=["A"])
        with population.activate(0) as agent:
            assert agent.prev_actions is None, "nothing has happened"


def test_what_cannot_act_is_refused_before_anybody_has():
    with memprof.optimize(learners("deterministic")) as population:
        population.remove(1)
        everybody = {index: observed(0)[index] for index in (0, 2, 3, 4)}
        for observations, indices, error, said in (
            (observed(0), None, UsageError, "expected one for each of 4 agents, found 5"),
            (observed(0), range(5), IndexError, "agent 1 was removed"),
            (observed(0)[:1], [9], IndexError, "agent 9"),
            (observed(0)[:2], [0, 0], UsageError, "one of these is there twice"),
            (everybody, [0, 1], UsageError, "there is none for agent 1"),
            (observed(0)[:2], [True, False], UsageError, "indices: .* found True"),
            ({"2": observed(0)[2]}, None, UsageError, "indices: .* found '2'"),
            (None, None, UsageError, "expected one for each agent, found None"),
            (np.array(0), None, UsageError, r"expected one for each agent, found array\(0\)"),
        ):
            with pytest.raises(error, match=said):
                population.act(observations, indices)
        with pytest.raises(UsageError, match="learning: expected A, B or D, found 'E'"):
            population.act(everybody, learning=["E"])
        with population.activate(4) as agent:
            assert agent.action is None
            with pytest.raises(AgentActive):
                population.act(everybody)
        with pytest.raises(IndexError) as failed:
            population.act({2: [99, 0]})
        assert failed.value.__notes__ == ["agent 2 of the population, observing [99, 0]"]
    with pytest.raises(UsageError, match="closed"):
        population.act(observed(0))


def test_a_population_says_what_it_is_and_what_to_do_instead():
    with memprof.optimize(learners()) as population:
        assert repr(population) == (
            "<memprof population of 5 agents under history, pool, template>"
        )
        with pytest.raises(TypeError, match=r"population\.in_turn"):
            list(population)
        for refused in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=r"memprof\.reopen"):
                refused(population)
    assert repr(population) == "<memprof population, closed>"
