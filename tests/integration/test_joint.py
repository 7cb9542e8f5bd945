"""Agents that meet: all act, and then their world moves once."""

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from msgspec.structs import replace

from memprof.errors import ScenarioError, UsageError
from memprof.instruments import Stopwatch
from memprof.populations import population_class, step_seed
from memprof.populations.company import Company
from memprof.scenario import load_scenario
from memprof.upstream.numpy_agent import Agent
from tests.conftest import COMMAND

PLAZA = """
import numpy as np

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

class Plaza:
    '''A ring of five corners: an agent sees its own, and how many others are there: 0, 1, more.'''

    def __init__(self, agents, leaves=None, lost=None, renamed=False, actions=2):
        self.possible_agents = [*agents]
        self.leaves, self.lost, self.renamed = leaves, lost, renamed
        self.actions = actions
        self.episode = 0

    def action_space(self, name):
        from gymnasium.spaces import Discrete
        return Discrete(self.actions)

    def look(self):
        count = np.bincount([*self.where.values()], minlength=5)
        return {name: (place, min(count[place] - 1, 2)) for name, place in self.where.items()}

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        names = self.possible_agents
        if self.renamed and self.episode:
            names = [name.upper() for name in names]
        self.where = {name: int(self.rng.integers(5)) for name in names}
        self.time, self.episode = 0, self.episode + 1
        return self.look(), {name: {} for name in names}

    def step(self, actions):
        assert {*actions} == {*self.where}
        self.time += 1
        for name, action in actions.items():
            self.where[name] = (self.where[name] + action) % 5
        seen = self.look()
        if self.lost in seen:
            del seen[self.lost]
        gone = {name: self.time == (self.leaves or 99) + int(name.rpartition("_")[2])
                for name in self.where}
        self.where = {name: place for name, place in self.where.items() if not gone[name]}
        none = dict.fromkeys(seen, False)
        return seen, dict.fromkeys(seen, 1.0), gone, none, {name: {} for name in seen}

class Alone:
    def reset(self, seed=None):
        return 0

    def step(self, action):
        return 0

def alone():
    return Alone()

def visitor():
    here = np.eye(5)
    moves = np.stack([here, np.roll(here, 1, axis=0)], axis=2)
    return {
        "A": objects(here, np.full((3, 5), 1 / 3)), "B": objects(moves), "D": objects(here[2]),
        "C": objects(np.zeros(5), np.array([0.0, 1.0, -2.0])), "action_selection": "stochastic",
    }

def with_a_world_of_its_own():
    return visitor(), Alone()

class Booth(Plaza):
    '''For one visitor.'''

    def __init__(self):
        super().__init__(["visitor"])

def player():
    '''Sees the other's last move.'''
    return {
        "A": objects(np.eye(4)), "B": objects(np.full((4, 4, 3), 0.25)),
        "action_selection": "stochastic",
    }
"""
AGENTS, STEPS, SEED = 12, 15, 5  # enough to take turns together
PASSES = [
    ((), {}, 0),
    (("share", "template"), {}, 0),
    (("template", "working_set"), {"working_set": 20_000}, 0),
    (("batch",), {}, 1e-12),
]


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """Of agents and a world of `PLAZA`."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plaza", raising=False)

    def made(passes=(), options=None, model="visitor", world="plaza:Plaza", **params):
        (tmp_path / "plaza.py").write_text(PLAZA)
        path = tmp_path / "plaza.yaml"
        path.write_text(
            f"name: plaza\nmodel: {{kind: factory, callable: 'plaza:{model}'}}\n"
            f"world: {{callable: '{world}', params: {params}}}\n"
            f"agents: {AGENTS}\nsteps: {STEPS}\nseed: {SEED}\n".replace("None", "null")
        )
        found = load_scenario(path).spec(passes)
        return replace(found, options=options or {})

    return made


def lived(spec, agents=AGENTS):
    """What agents believed and did, all numbers of a step, by agent and step."""
    population = population_class(spec)(spec, Stopwatch())
    try:
        lives = population.live(population.grow(agents), range(STEPS))
        return {
            (agent, step): np.concatenate(
                [*behaviour.beliefs, behaviour.policies, behaviour.action]
            )
            for agent, step, behaviour in lives
        }
    finally:
        population.close()


def by_hand(spec, world, group=AGENTS, model="visitor"):
    """The same, with PyMDP's own calls, by turns from the last agent to the first."""
    found = {}
    module = importlib.import_module("plaza")
    agents = []
    for number in range(AGENTS):
        np.random.seed(step_seed(SEED, number, -1))
        agents.append(Agent(**getattr(module, model)()))
    for first in range(0, AGENTS, group):
        seed = step_seed(SEED, -2 - first, -1)
        own = world(module)
        seen, _ = own.reset(seed=seed >> 1)
        names = [*seen]
        for step in range(STEPS):
            if not seen:
                seen, _ = own.reset()
                for agent in agents[first : first + group]:
                    agent.reset()
                    agent.action = None
            actions = {}
            for name in reversed(seen):
                number = first + names.index(name)
                agent = agents[number]
                np.random.seed(step_seed(SEED, number, step))
                saw = seen[name]
                beliefs = agent.infer_states([*saw] if isinstance(saw, tuple) else [int(saw)])
                policies, _ = agent.infer_policies()
                action = agent.sample_action()
                found[number, step] = np.concatenate([*beliefs, policies, action])
                actions[name] = int(action[0])
            np.random.seed(step_seed(SEED, -2 - first, step))
            seen, _, terminated, truncated, _ = own.step(actions)
            seen = {
                name: each
                for name, each in seen.items()
                if not (terminated[name] or truncated[name])
            }
    return found


def assert_same(found, expected, bound):
    assert found.keys() == expected.keys()
    for turn, numbers in expected.items():
        assert np.abs(found[turn] - numbers).max() <= bound, turn


@pytest.mark.parametrize(("passes", "options", "bound"), PASSES)
def test_the_order_of_turns_makes_no_difference(spec, passes, options, bound):
    found = lived(spec(passes, options))
    expected = by_hand(spec(), lambda module: module.Plaza([f"agent_{n}" for n in range(AGENTS)]))
    assert len(expected) == AGENTS * STEPS
    assert_same(found, expected, bound)


@pytest.mark.parametrize(("passes", "options", "bound"), PASSES)
def test_agents_go_one_by_one_and_all_begin_anew(spec, passes, options, bound):
    found = lived(spec(passes, options, leaves=2))  # the first after two steps
    expected = by_hand(
        spec(), lambda module: module.Plaza([f"agent_{n}" for n in range(AGENTS)], 2)
    )
    present = [sum(step == when for _, when in expected) for step in range(STEPS)]
    assert present == [12, 12, *range(11, 0, -1), 12, 12]
    assert_same(found, expected, bound)


@pytest.mark.parametrize(("passes", "options", "bound"), PASSES[::3])
def test_a_world_of_pettingzoo_is_for_two(spec, passes, options, bound):
    """Rock, paper, scissors: twelve agents are six pairs, and a game ends after four moves."""
    from pettingzoo.classic import rps_v2

    given = {"model": "player", "world": "pettingzoo.classic.rps_v2:parallel_env"}
    found = lived(spec(passes, options, **given, max_cycles=4))
    expected = by_hand(spec(), lambda _: rps_v2.parallel_env(max_cycles=4), 2, "player")
    assert len(expected) == AGENTS * STEPS
    assert_same(found, expected, bound)


def test_worlds_for_one_each_begin_in_their_own_way(spec):
    population = Company(spec(world="plaza:Booth"), Stopwatch())
    population.grow(AGENTS)
    worlds = [each for _, component, each in population.holdings() if component == "world"]
    begun = [tuple(world.rng.bit_generator.state["state"].values()) for world in worlds]
    population.close()
    assert len({*begun}) == len(begun) == AGENTS


def test_a_population_that_is_built_anew_lives_the_same_life(spec):
    population = Company(spec(), Stopwatch())
    lives = []
    for agents in (AGENTS, 3, AGENTS):
        turns = population.live(population.grow(agents), range(4))
        lives.append([(each.agent, each.step, each.behaviour.action.tolist()) for each in turns])
        assert len(population) == agents
    with pytest.raises(UsageError, match="their world says who goes"):
        population.leave(range(1))
    population.close()
    assert lives[0] == lives[2] != lives[1]


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"lost": "agent_3"}, "world", "returned no observation of 'agent_3'"),
        ({"renamed": True, "leaves": 2}, "world", "'AGENT_0', 'AGENT_1'"),
        ({"actions": 1}, "world", "found [1]"),
        ({"actions": 1}, "world", "agent_0: the actions of Plaza are Discrete(1)"),
        ({"colour": 1}, "world.params", "colour"),
        ({"world": "plaza:Piazza"}, "world.callable", "plaza has no function 'Piazza'"),
        ({"world": "plaza:alone"}, "world", "expected PettingZoo's parallel interface"),
        ({"world": "plaza:visitor"}, "world.callable", "dict has no reset()"),
        ({"model": "with_a_world_of_its_own"}, "world", "remove one of them"),
        ({"model": "player"}, "world", "has agent_0 observe"),
        (
            {"model": "player", "world": "pettingzoo.classic.rps_v2:parallel_env"},
            "agents",
            "expected a multiple of 2",
        ),
    ],
)
def test_what_no_agents_can_meet_in_is_refused(spec, given, field, words):
    agents = 7 if field == "agents" else AGENTS
    with pytest.raises(ScenarioError) as caught:
        lived(spec(**given), agents)
    assert caught.value.field == field
    assert words in caught.value.problem


def test_jax_agents_cannot_meet(spec, tmp_path):
    spec()
    text = (tmp_path / "plaza.yaml").read_text()
    (tmp_path / "plaza.yaml").write_text(f"{text}backend: jax\n")
    with pytest.raises(ScenarioError, match="only the numpy backend has it"):
        load_scenario(tmp_path / "plaza.yaml")


SQUARE = """
from plaza import visitor

where = {}  # of everybody

class Visitor:
    def __init__(self, number):
        self.number = number

    def look(self):
        here = where[self.number]
        return here, min(sum(place == here for place in where.values()) - 1, 2)

    def reset(self):
        where[self.number] = self.number % 5
        return self.look()

    def step(self, action):
        where[self.number] = (where[self.number] + int(action[0])) % 5
        return self.look()

def make(agent):
    return visitor(), Visitor(agent)
"""


@pytest.mark.parametrize("meet", [True, False])
def test_agents_that_meet_elsewhere_do_not_behave_the_same_in_another_order(
    spec, tmp_path, meet, monkeypatch
):
    """Their digests are equal: what they see of each other changes no belief."""
    spec()
    (tmp_path / "square.py").write_text(
        SQUARE
        if meet
        else SQUARE.replace("where[self.number]", "self.here").replace("where.values()", "[here]")
    )
    path = tmp_path / "square.yaml"
    path.write_text(
        "name: square\nmodel: {kind: factory, callable: 'square:make'}\nagents: 12\nsteps: 6\n"
        "passes: [template, working_set]\nworking_set: 6KB\nrepeats: 1\ninstruments: none\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    command = [*COMMAND, "profile", str(path), "--quiet", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "out" / "square.json").read_text())
    assert done.returncode == (1 if meet else 0), done.stderr
    assert report["equivalence"]["verdict"] == ("diverged" if meet else "exact")
    assert ("agents step in another order" in done.stderr) == meet
