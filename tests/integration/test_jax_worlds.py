"""Agents in worlds of PyMDP's own kind, under every loop: they see and do what PyMDP has them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from jax.tree_util import tree_leaves

from memprof.errors import ScenarioError
from memprof.populations.jax_crowds import REPORTED
from memprof.populations.numpy_agents import NumpyPopulation
from tests.worlds.lives import COUNT, STEPS, behaviour, check_same, population, pymdps_own


def test_a_rollout_in_a_world_of_the_users_is_pymdps_own():
    """`make worlds` does this for every world of PyMDP's."""
    info = pymdps_own("all_of_it")
    places = {int(np.argmax(q[0])) for q in np.asarray(info["qs"][0])}
    assert len(places) == COUNT, "each begins in a place of its own"
    check_same(behaviour(population("all_of_it")), info, 0)
    check_same(behaviour(population("all_of_it", ("template",))), info, 1e-6)


@pytest.mark.parametrize(
    "crowd",
    [
        partial(population, "grid", loop="jit"),
        partial(population, "grid", loop="eager"),
        partial(population, "grid_of_numpy", kind=NumpyPopulation),
    ],
)
def test_agents_step_in_an_env_of_pymdps(crowd):
    """From the middle of three by three cells, and believing nothing else."""
    found = behaviour(crowd())
    for agent in range(COUNT):
        places = [int(np.argmax(found[agent, step][1][0])) for step in range(STEPS)]
        assert places[0] == 4
        assert places[1] in (1, 3, 4, 5, 7)
        assert all(found[agent, step][1][0].max() > 0.99 for step in range(STEPS))


def test_what_a_rollout_returns_is_the_agents_memory():
    """With learning it is A and pA of every agent and step, whatever the pass."""
    for passes in ((), ("share",)):
        crowd = population("learner", passes, learning=("A",))
        behaviour(crowd)
        held = [thing for _, component, thing in crowd.holdings() if component == REPORTED]
        arrays = {id(leaf): leaf for leaf in tree_leaves(held)}
        A = next(iter(held[0]["A"]))
        assert A.shape == held[0]["pA"][0].shape == (COUNT, STEPS, 9, 9)
        assert {"qs", "action", "observation", "env_state", "qpi", "neg_efe"} <= held[0].keys()
        assert sum(leaf.nbytes for leaf in arrays.values()) > 2 * COUNT * STEPS * 81 * 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("searches_apart", "policy_search of agent 1 differs from that of agent 0"),
        ("worlds_apart", "env of agent 1 differs from that of agent 0"),
        ("misspelt", "returned 'env_parms' beside env; did you mean 'env_params'?"),
        ("no_env", "returned an env of type str; expected pymdp.envs.env.Env"),
        ("carry_of_something_else", "initial_carry of agent 0 has 'rng_key'"),
        ("params_of_a_batch_of_four", "env_params of agent 0 are of a batch of 4"),
    ],
)
def test_a_world_that_no_batch_can_live_in_is_refused(name, words):
    with pytest.raises(ScenarioError) as caught:
        population(name).grow(COUNT)
    assert caught.value.field == "model.callable"
    assert words in caught.value.problem


def test_a_search_is_for_the_rollout():
    with pytest.raises(ScenarioError, match="policy_search is for PyMDP's rollout alone"):
        population("searching", loop="jit").grow(COUNT)


def test_the_program_of_equal_worlds_is_compiled_once():
    crowd = population("grid_of_numpy", kind=NumpyPopulation)
    crowd.grow(COUNT)
    worlds = {id(each._env) for each in _steppers(crowd)}
    assert len(worlds) == 1


def _steppers(crowd):
    from memprof.upstream.jax_world import Stepped

    found = [world for _, world in crowd._environments._worlds.items()]
    return [each.own for each in found if isinstance(each.own, Stepped)]
