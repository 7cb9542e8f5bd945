"""What `optimize` chooses by itself, agent by agent, and what it says about it."""

import numpy as np
import pytest
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent

from memprof import optimize
from memprof.storage.agent_class import StoredAgent

STATES = 120  # a matrix of 115 KB


def agent(learns="", dense=False, states=STATES, **arguments):
    A, B = utils.obj_array(1), utils.obj_array(1)
    A[0] = np.eye(states)
    B[0] = np.stack([np.eye(states), np.roll(np.eye(states), 1, axis=0)], axis=2)
    if dense:
        A[0], B[0] = (0.9 * each + 0.1 / states for each in (A[0], B[0]))
    model = {"A": A, "B": B}
    priors = {f"p{name}": utils.dirichlet_like(model[name]) for name in learns}
    return Agent(**model, **priors, **arguments)


def staying(population):
    """The agents that are kept as they are."""
    return [i for i in range(len(population)) if not isinstance(population._roster.at(i), bytes)]


def step(agent, seed):
    np.random.seed(seed)
    before, observation = agent.qs, (int(np.random.randint(agent.num_obs[0])),)
    agent.infer_states(observation)
    agent.infer_policies()
    action = agent.sample_action()
    if agent.pA is not None:
        agent.update_A(observation)
    if agent.pB is not None:
        agent.update_B(before)
    return action


def bits(agent):
    arrays = (agent.qs, agent.q_pi, agent.A, agent.B, agent.pA, agent.pB)
    return [[leaf.tobytes() for leaf in array] for array in arrays if array is not None]


@pytest.mark.parametrize(
    ("arguments", "stays"),
    [
        ({}, False),
        ({"dense": True}, False),
        ({"learns": "A"}, False),
        ({"learns": "AB"}, False),
        ({"learns": "A", "dense": True}, True),
        ({"learns": "B", "dense": True}, True),
        ({"learns": "A", "dense": True, "states": 20}, False),
        ({"learns": "A", "dense": True, "modalities_to_learn": []}, False),
    ],
)
def test_only_who_learns_large_dense_matrices_stays_active(arguments, stays):
    with optimize([agent(**arguments)]) as population:
        assert staying(population) == ([0] if stays else [])
        assert ("1 stay active" in population.because) == stays
        assert ("learn nothing" in population.because) == (
            "learns" not in arguments or "modalities_to_learn" in arguments
        )
        assert f"passes: history, pool, template, because {population.because}" in str(
            population.memory()
        )


def test_agents_of_each_kind_are_chosen_for_and_behave_as_in_plain_pymdp():
    kinds = [{}, {"learns": "AB", "dense": True}, {"learns": "A"}, {"learns": "A", "dense": True}]
    plain = [agent(**kind) for kind in kinds]
    population = optimize(agent(**kind) for kind in kinds[:3])  # a generator loses none
    assert population.add(agent(**kinds[3])) == 3
    assert staying(population) == [1, 3]
    for number in range(5):
        for index, expected in enumerate(plain):
            with population.activate(index) as active:
                assert step(active, number).tobytes() == step(expected, number).tobytes()
                assert bits(active) == bits(expected)
    population.remove(1)
    assert population.because.startswith("1 stay active")
    population.close()


def test_agents_that_stay_active_share_what_is_equal():
    with optimize(agent("A", dense=True) for _ in range(3)) as population:
        assert len({id(population._roster.at(index).B[0]) for index in range(3)}) == 1
        with population.activate(0) as active:
            step(active, 0)
        changed, other = (population._roster.at(index).pA[0] for index in (0, 1))
        assert not np.array_equal(changed, other)


def test_passes_that_were_named_are_taken_as_they_are():
    names = ("history", "pool", "template")
    learner = agent("A", dense=True)
    with optimize([learner], passes=names) as population:
        assert (staying(population), population.passes, population.because) == ([], names, "")
        assert type(learner) is StoredAgent
        assert "passes: history, pool, template" in str(population.memory()).splitlines()
    with optimize([agent("A", dense=True)], keep=["qs", "action"]) as population:
        assert staying(population) == []  # results are left out of records
