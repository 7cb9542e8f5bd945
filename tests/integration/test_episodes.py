"""Life in episodes: after so many steps the world and the agents begin anew, as by hand."""

from __future__ import annotations

import importlib
import sys
from copy import deepcopy
from functools import cache

import numpy as np
import pytest

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch
from memprof.populations import population_class, step_seed
from memprof.populations.environment import GenerativeProcess
from memprof.scenario import load_scenario
from memprof.upstream.numpy_agent import Agent, utils

RINGS = """
import numpy as np
from pymdp.legacy.agent import Agent

PLACES = 5

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

class Ring:
    '''It slips now and then, and says after how many steps it was left.'''

    def __init__(self):
        self.times, self.lasted = 0, []

    def reset(self):
        self.lasted.append(self.times)
        self.place, self.times = np.random.randint(PLACES), 0
        return [self.place]

    def step(self, action):
        self.times += 1
        self.place = (self.place + int(action[0]) - (np.random.rand() < 0.2)) % PLACES
        return [self.place]

def arguments(**more):
    here = np.eye(PLACES)
    moves = np.stack([np.roll(here, by, axis=0) for by in (0, 1, 2)], axis=2)
    return {
        "A": objects(0.8 * here + 0.2 / PLACES), "B": objects(0.7 * moves + 0.3 / PLACES),
        "C": objects(np.arange(PLACES) / 2), "D": objects((np.arange(PLACES) + 1.0) / 15),
        "action_selection": "stochastic", **more,
    }

def walker():
    return arguments(), Ring()

def mmp():
    return arguments(inference_algo="MMP", inference_horizon=2, policy_len=1), Ring()

class Diarist(Agent):
    '''Draws as it begins anew.'''

    def reset(self, init_qs=None):
        self.mood = np.random.rand()
        return super().reset(init_qs)

def diarist():
    return Diarist(**arguments()), Ring()

class Once:
    def __init__(self):
        self.begun = False

    def reset(self):
        if self.begun:
            raise RuntimeError("no more")
        self.begun = True
        return [0]

    def step(self, action):
        return [0]

def once():
    return arguments(), Once()

class Stubborn(Agent):
    def reset(self, init_qs=None):
        if hasattr(self, "q_pi"):
            raise RuntimeError("not again")
        return super().reset(init_qs)

def stubborn():
    return Stubborn(**arguments()), Ring()

class Plaza:
    '''All see how many have gone so far, and each goes at another step.'''

    def __init__(self, agents):
        self.names = [*agents]

    def look(self):
        gone = len(self.names) - len(self.here)
        return {name: (gone + self.luck) % PLACES for name in self.here}

    def reset(self, seed=None, options=None):
        self.here, self.time, self.luck = [*self.names], 0, np.random.randint(PLACES)
        return self.look(), {}

    def step(self, actions):
        self.time += 1
        went = [name for name in self.here if int(name.rpartition("_")[2]) == self.time]
        seen = self.look()
        self.here = [name for name in self.here if name not in went]
        return seen, dict.fromkeys(seen, 1.0), dict.fromkeys(went, True), {}, {}

def visitor():
    return arguments()
"""
AGENTS, STEPS, LENGTH, SEED = 12, 17, 5, 7  # enough to take turns together; and not whole episodes
EXACT = [
    ((), {}),
    (("share", "template"), {}),
    (("pool",), {}),
    (("history", "share", "pool", "template", "working_set"), {"working_set": 20_000}),
]
PASSES = [*((*each, 0) for each in EXACT), (("batch",), {}, 1e-12)]


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """Of agents of `RINGS`, or of another model."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rings", raising=False)
    (tmp_path / "rings.py").write_text(RINGS)

    def made(model="walker", passes=(), options=None, **fields):
        if isinstance(model, str):
            model = {"kind": "factory", "callable": f"rings:{model}"}
        fields = {"episodes": {"steps": LENGTH}, **fields, **(options or {})}
        fields = {"agents": AGENTS, "steps": STEPS, "seed": SEED, **fields}
        lines = [f"{name}: {value}" for name, value in {"model": model, **fields}.items()]
        path = tmp_path / "rings.yaml"
        path.write_text("\n".join(["name: rings", f"passes: {[*passes]}", *lines]) + "\n")
        return load_scenario(path).spec(tuple(passes))

    return made


def numbers(beliefs, policies, action):
    while isinstance(beliefs, np.ndarray) and isinstance(beliefs[0], np.ndarray):
        if not beliefs[0].dtype.hasobject:
            break
        beliefs = np.concatenate([each for each in beliefs if each is not None])
    found = [np.ravel(each) for each in beliefs if each is not None]
    return np.concatenate([*found, policies, action]).astype(float)


def lived(spec, steps=STEPS):
    """What agents believed and did, all numbers of a step, by agent and step; and the agents."""
    population = population_class(spec)(spec, Stopwatch())
    try:
        lives = population.live(population.grow(spec.agents), range(steps))
        return {(agent, step): numbers(*behaviour[:3]) for agent, step, behaviour in lives}
    finally:
        population.close()


def anew(agent, built):
    """As PyMDP's user would have it."""
    for name, value in built.items():
        setattr(agent, name, deepcopy(value))
    agent.reset()
    for name, value in built.items():
        setattr(agent, name, deepcopy(value))
    agent.action = None
    if agent.inference_algo == "MMP":
        agent.prev_obs, agent.prev_actions = [], None


@cache
def of_rings(model, learning="", forgets=""):
    return by_hand(getattr(importlib.import_module("rings"), model), learning, forgets)


def by_hand(model, learning="", forgets=""):
    """The same with PyMDP's own calls; `model` says with what an agent is built, and its world."""
    found = {}
    for number in range(AGENTS):
        np.random.seed(step_seed(SEED, number, -1))
        arguments, world = model()
        if isinstance(arguments, dict):
            priors = {f"p{name}": utils.dirichlet_like(arguments[name]) for name in learning}
            agent = Agent(**arguments, **priors)
        else:
            agent = arguments
        built = {
            name: deepcopy(getattr(agent, name)) for each in forgets for name in (each, f"p{each}")
        }
        for step in range(STEPS):
            np.random.seed(step_seed(SEED, number, step))
            first = step % LENGTH == 0
            seen = world.reset() if first else world.step(agent.action)
            if first and step:
                anew(agent, built)
            before = agent.qs
            beliefs = agent.infer_states(seen)
            if "A" in learning:
                agent.update_A(seen)
            if "B" in learning and not first:
                agent.update_B(before)
            if "D" in learning and first:
                agent.update_D(beliefs)
            policies, _ = agent.infer_policies()
            action = agent.sample_action()
            found[number, step] = numbers(beliefs, policies, action)
    return found


def assert_same(found, expected, bound=0):
    assert found.keys() == expected.keys()
    for turn, those in expected.items():
        assert np.abs(found[turn] - those).max() <= bound, turn


@pytest.mark.parametrize("model", ["walker", "mmp", "diarist"])
@pytest.mark.parametrize(("passes", "options", "bound"), PASSES)
def test_agents_begin_anew_as_by_hand(spec, model, passes, options, bound):
    found = lived(spec(model, passes, options))
    assert len(found) == AGENTS * STEPS
    assert_same(found, of_rings(model), bound)


@pytest.mark.parametrize(
    ("keep", "forgets"), [(None, ""), ("[A, B]", "D"), ("[D]", "AB"), ("none", "ABD")]
)
@pytest.mark.parametrize(("passes", "options"), EXACT)
def test_what_was_learned_stays_or_is_put_back(spec, keep, forgets, passes, options):
    episodes = f"{{steps: {LENGTH}" + (f", keep: {keep}}}" if keep else "}")
    found = lived(spec("walker", passes, options, learning="[A, B, D]", episodes=episodes))
    assert_same(found, of_rings("walker", "ABD", forgets))
    if forgets:
        others = of_rings("walker", "ABD")
        assert any(not np.array_equal(found[turn], others[turn]) for turn in others)


class Process:
    """A model's world with the interface of a user's."""

    def __init__(self, arguments):
        self.process = GenerativeProcess(arguments)

    def reset(self):
        self.state = self.process.first()
        return [*self.process.observe(self.state)]

    def step(self, action):
        self.state = self.process.next(self.state, action)
        return [*self.process.observe(self.state)]


@pytest.mark.parametrize(("passes", "options", "bound"), PASSES)
def test_a_models_own_world_begins_from_d_again(spec, passes, options, bound):
    from memprof.models import model_builder

    model = {
        "kind": "random_pomdp",
        "num_obs": [4, 3],
        "num_states": [3, 3],
        "num_controls": [2, 2],
    }
    agent = "{action_selection: stochastic}"
    own = spec(model, passes, options, agent=agent)
    build = model_builder(own.model, own.folder, own.builder)

    def made():
        arguments = build(0).arguments
        return {**arguments, "action_selection": "stochastic"}, Process(arguments)

    assert_same(lived(own), by_hand(made), bound)


def met_by_hand(module):
    """Agents of one world, with PyMDP's own calls, from the last to the first."""
    agents, found = [], {}
    for number in range(AGENTS):
        np.random.seed(step_seed(SEED, number, -1))
        agents.append(Agent(**module.visitor()))
    np.random.seed(step_seed(SEED, -1, -1))
    world = module.Plaza([f"agent_{number}" for number in range(AGENTS)])
    seen, _ = world.reset()
    for step in range(STEPS):
        if step and step % LENGTH == 0:
            np.random.seed(step_seed(SEED, -1, -3 - step))
            seen, _ = world.reset()
            for agent in agents:
                anew(agent, {})
        for name in reversed([*seen]):
            number = int(name.rpartition("_")[2])
            np.random.seed(step_seed(SEED, number, step))
            beliefs = agents[number].infer_states([seen[name]])
            policies, _ = agents[number].infer_policies()
            found[number, step] = numbers(beliefs, policies, agents[number].sample_action())
        seen, _, terminated, _, _ = world.step({})
        seen = {name: each for name, each in seen.items() if name not in terminated}
    return found


@pytest.mark.parametrize(("passes", "options", "bound"), PASSES)
def test_agents_that_went_come_back_with_the_next_episode(spec, passes, options, bound):
    found = lived(spec("visitor", passes, options, world="{callable: 'rings:Plaza'}"))
    expected = met_by_hand(importlib.import_module("rings"))
    present = [sum(step == when for _, when in found) for step in range(STEPS)]
    assert present == [12, 11, 10, 9, 8] * 3 + [12, 11]
    assert_same(found, expected, bound)


def test_a_population_takes_episodes_in_any_stretches(spec):
    """As instruments and cycles ask for them."""
    expected = lived(spec())
    own = spec()
    population = population_class(own)(own, Stopwatch())
    agents, found = population.grow(AGENTS), {}
    for steps in (range(3), range(3, 10), range(10, STEPS)):
        for agent, step, behaviour in population.live(agents, steps):
            found[agent, step] = numbers(*behaviour[:3])
    population.leave(range(AGENTS // 2))
    assert len([*population.live(range(AGENTS // 2, AGENTS), range(STEPS, STEPS + LENGTH))]) == 30
    population.close()
    assert_same(found, expected)


@pytest.mark.parametrize("passes", [(), ("batch",)])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("once", "agent 0: the environment's Once.reset() raised RuntimeError: no more"),
        ("stubborn", "Stubborn failed at step 5 of agent 0: RuntimeError: not again"),
    ],
)
def test_what_cannot_begin_anew_is_named(spec, passes, model, words):
    with pytest.raises(ScenarioError) as caught:
        lived(spec(model, passes))
    assert caught.value.field == "model.callable"
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"episodes": "{steps: 18}"}, "episodes.steps", "found episodes of 18 and steps: 17"),
        ({"episodes": "{steps: 0}"}, "episodes.steps", "expected at least 1, found 0"),
        ({"episodes": "{}"}, "episodes.steps", "is missing"),
        ({"episodes": "{step: 3}"}, "episodes.step", "did you mean 'steps'? Known: keep, steps"),
        ({"episodes": "5"}, "episodes", "found 5"),
        ({"episodes": "{steps: 5, keep: [A]}"}, "episodes.keep", "learning is empty"),
        ({"episodes": "{steps: 5, keep: none}"}, "episodes.keep", "learning is empty"),
        (
            {"episodes": "{steps: 5, keep: [B]}", "learning": "[A, D]"},
            "episodes.keep",
            "B is not in learning; known: A, D",
        ),
        ({"episodes": "{steps: 5, keep: [A, A]}", "learning": "[A]"}, "episodes.keep", "duplicate"),
        (
            {"backend": "jax", "loop": "rollout"},
            "episodes.steps",
            "Set steps: 20, or",
        ),
    ],
)
def test_episodes_that_make_no_sense_are_refused(spec, fields, field, words):
    with pytest.raises(ScenarioError) as caught:
        spec(**fields)
    assert caught.value.field == field
    assert words in caught.value.problem


def test_kinds_keep_what_each_of_them_learns(spec, tmp_path):
    (tmp_path / "two.yaml").write_text(
        "name: two\nsteps: 6\nepisodes: {steps: 3, keep: [A]}\nkinds:\n"
        "  - {name: one, agents: 2, model: {kind: grid_world, size: 3}, learning: [A, B]}\n"
        "  - {name: other, agents: 2, model: {kind: grid_world, size: 3}, learning: [D]}\n"
        "  - {name: third, agents: 2, model: {kind: grid_world, size: 3}}\n"
    )
    loaded = load_scenario(tmp_path / "two.yaml")
    found = [each.episodes for each in loaded.spec(()).kinds]
    assert [each.puts_back for each in found] == [("B",), ("D",), ()]
    assert {each.steps for each in found} == {3}
    assert loaded.scenario.reported.episodes == {"steps": 3, "keep": ["A"]}
