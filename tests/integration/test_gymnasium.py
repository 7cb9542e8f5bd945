"""Worlds with Gymnasium's interface, an agent's own each: episodes end, and the next ones begin."""

import importlib
import sys
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch
from memprof.populations import Behaviour, step_seed
from memprof.populations.lone_world import LoneWorld
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from memprof.upstream.numpy_agent import Agent

LAKE = """
import gymnasium
import numpy as np

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

def lake(most=5, slippery=True):
    return gymnasium.make("FrozenLake-v1", is_slippery=slippery, max_episode_steps=most)

def walker(**options):
    world = lake(**options)
    B = np.zeros((16, 16, 4))
    for state, actions in world.unwrapped.P.items():
        for action, outcomes in actions.items():
            for probability, after, _, _ in outcomes:
                B[after, state, action] += probability
    D = np.zeros(16)
    D[0] = 1.0
    arguments = {
        "A": objects(np.eye(16)), "B": objects(B), "C": objects(4.0 * np.eye(16)[15]),
        "D": objects(D), "policy_len": 2, "action_selection": "stochastic",
    }
    return arguments, world

def jax_walker():
    arguments, world = walker()
    return {name: given if name == "policy_len" else [*given] for name, given in arguments.items()
            if name != "action_selection"}, world

def poles():
    return walker()[0], gymnasium.make("CartPole-v1")

def taxi():
    arguments = walker()[0]
    return arguments, gymnasium.make("Taxi-v4")
"""
AGENTS, STEPS, SEED = 12, 17, 3  # enough to take turns together


@pytest.fixture
def scenario(tmp_path):
    """A file for a function of `LAKE`."""

    def write(function="walker"):
        (tmp_path / "lakes.py").write_text(LAKE)
        path = tmp_path / "lake.yaml"
        model = f"{{kind: factory, callable: lakes:{function}, file: lakes.py}}"
        path.write_text(f"name: lake\nmodel: {model}\nseed: {SEED}\nsteps: {STEPS}\n")
        return path

    return write


def lived(spec):
    """What agents believed and did, all numbers of a step, agent by agent and step by step."""
    population = NumpyPopulation(spec, Stopwatch())
    try:
        found = {
            (agent, step): numbers(behaviour)
            for agent, step, behaviour in population.live(population.grow(AGENTS), range(STEPS))
        }
    finally:
        population.close()
    return [found[agent, step] for agent in range(AGENTS) for step in range(STEPS)]


def numbers(behaviour):
    return np.concatenate([*behaviour.beliefs, behaviour.policies, behaviour.action])


def by_hand(walker):
    """The same, with PyMDP's and Gymnasium's own calls."""
    found = []
    ended = 0
    for number in range(AGENTS):
        np.random.seed(step_seed(SEED, number, -1))
        arguments, world = walker()
        agent, over = Agent(**arguments), False
        for step in range(STEPS):
            np.random.seed(step_seed(SEED, number, step))
            if step == 0:
                seen, _ = world.reset(seed=int(np.random.randint(2**31)))
            elif over:
                seen, _ = world.reset()
                agent.reset()
                agent.action = None
            else:
                seen, _, terminated, truncated, _ = world.step(int(agent.action[0]))
            over = bool(step) and not over and (terminated or truncated)
            ended += over
            beliefs = agent.infer_states([seen])
            policies, _ = agent.infer_policies()
            found.append(numbers(Behaviour(beliefs, policies, agent.sample_action())))
    assert ended >= 2 * AGENTS
    return found


@pytest.mark.parametrize(
    ("passes", "options", "bound"),
    [
        ((), {}, 0),
        (("share", "template"), {}, 0),
        (("template", "working_set"), {"working_set": 30_000}, 0),
        (("batch",), {}, 1e-12),
    ],
    ids=lambda each: "-".join(each) or "plain" if isinstance(each, tuple) else "",
)
def test_frozen_lakes_are_as_by_hand(scenario, monkeypatch, passes, options, bound):
    path = scenario()
    monkeypatch.syspath_prepend(path.parent)
    monkeypatch.delitem(sys.modules, "lakes", raising=False)
    expected = by_hand(importlib.import_module("lakes").walker)
    spec = replace(load_scenario(path).spec(passes), options=options)
    for mine, theirs in zip(lived(spec), expected, strict=True):
        assert np.abs(mine - theirs).max() <= bound


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("poles", "TimeLimit.reset() returned array(["),
        ("taxi", "one index per modality of A, below 16"),
    ],
)
def test_a_world_that_is_not_the_models_is_refused(scenario, function, words):
    spec = load_scenario(scenario(function)).spec(())
    population = NumpyPopulation(spec, Stopwatch())
    try:
        with pytest.raises(ScenarioError) as caught:
            for _ in population.live(population.grow(1), range(STEPS)):
                pass
    finally:
        population.close()
    assert caught.value.field == "model.callable"
    assert words in caught.value.problem


def test_jax_agents_live_through_one_episode(scenario):
    from memprof.populations.jax_agents import JaxPopulation

    spec = replace(load_scenario(scenario("jax_walker")).spec(()), backend="jax", loop="jit")
    population = JaxPopulation(spec, Stopwatch())
    lives = population.live(population.grow(2), range(STEPS))
    try:
        assert [(each.agent, each.step) for each in islice(lives, 12)] == [
            (agent, step) for step in range(6) for agent in range(2)
        ]
        with pytest.raises(ScenarioError, match="ended before") as caught:
            next(lives)
    finally:
        population.close()
    assert caught.value.field == "steps"


def space(**fields):
    return SimpleNamespace(contains=lambda value: np.max(value) < 3, dtype=np.int64, **fields)


@pytest.mark.parametrize(
    ("controls", "action", "given", "expected"),
    [
        ((3,), [2.0], {"n": 3}, 2),
        ((1, 3), [0.0, 1.0], {"n": 3}, 1),
        ((3, 1, 2), [2.0, 0.0, 1.0], {"nvec": np.array([3, 2])}, [2, 1]),
    ],
)
def test_an_action_is_what_the_space_of_the_world_has(controls, action, given, expected):
    found = []

    class World:
        action_space = space(**given)

        def reset(self):
            return 0, {}

        def step(self, action):
            found.append(action)
            return 1, 0.5, False, False, {}

    world = LoneWorld(World(), [3], controls)
    assert world.observe(None) == [0]
    assert world.observe(action) == [1]
    assert np.array_equal(found, [expected])


@pytest.mark.parametrize(
    ("controls", "action", "given"),
    [((4,), [3.0], {"n": 3}), ((3, 2), [1.0, 1.0], {"n": 3}), ((3,), [1.0], {"shape": (1,)})],
)
def test_an_action_that_the_space_does_not_have_is_refused(controls, action, given):
    own = SimpleNamespace(action_space=space(**given), reset=lambda: (0, {}), step=lambda _: 0)
    world = LoneWorld(own, [3], controls)
    world.observe(None)
    with pytest.raises(ScenarioError, match="Expected a Discrete space"):
        world.observe(action)


def test_numbers_that_are_no_distribution_are_no_observation():
    own = SimpleNamespace(reset=lambda: [np.array([0.02, 0.5, 0.3])], step=None)
    with pytest.raises(ScenarioError, match="or a distribution over its outcomes"):
        LoneWorld(own, [3], [2]).observe(None)
