"""Agents that come into a world and go, as the world says."""

import importlib
import sys
from collections import Counter

import numpy as np
import pytest
import yaml
from msgspec.structs import replace

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch, walker
from memprof.populations import population_class, step_seed
from memprof.scenario import load_scenario
from memprof.upstream.numpy_agent import Agent
from memprof.worker.growth import Batches, Growth

CODE = '''
import numpy as np

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

def visitor(agent):
    here = np.eye(5)
    return {"A": objects(here), "B": objects(np.stack([here, np.roll(here, 1, axis=0)], axis=2)),
            "C": objects(np.arange(5.0) * (1 + agent % 3)), "D": objects(here[agent % 5]),
            "action_selection": "stochastic"}

class Nursery:
    """Every second step one is born, who lives three steps; the first of the others goes after four
    steps, all after seven. With `endless`, everybody stays."""

    def __init__(self, agents, endless=False, called="agent", weight=0):
        self.names, self.endless, self.called = [*agents], endless, called
        self.weight, self.born = weight, 0

    def reset(self, seed=None, options=None):
        self.time = 0
        self.where = {name: place % 5 for place, name in enumerate(self.names)}
        self.ends = {name: 4 if not place else 7 for place, name in enumerate(self.names)}
        return dict(self.where), {}

    def step(self, actions):
        assert {*actions} == {*self.where}
        self.time += 1
        for name, action in actions.items():
            self.where[name] = (self.where[name] + int(action[0])) % 5
        if self.time % 2 == 0:
            name = f"{self.called}_{len(self.names) + self.born}"
            self.born += 1
            self.where[name], self.ends[name] = self.time % 5, min(7, self.time + 3)
        seen = dict(self.where)
        gone = {name: not self.endless and self.time >= self.ends[name] for name in seen}
        self.where = {name: place for name, place in seen.items() if not gone[name]}
        return seen, dict.fromkeys(actions, 1), gone, {}, {}
'''
AGENTS, STEPS = 12, 17


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nursery", raising=False)

    def written(params=None, **fields):
        (tmp_path / "nursery.py").write_text(CODE)
        path = tmp_path / "case.yaml"
        given = {
            "name": "case",
            "model": {"kind": "factory", "callable": "nursery:visitor"},
            "world": {"callable": "nursery:Nursery", "params": params or {}},
            "agents": AGENTS,
            "steps": STEPS,
            "repeats": 1,
            "effort": "quick",
            "instruments": [],
        }
        path.write_text(yaml.safe_dump({**given, **fields}))
        return path

    return written


def numbers(behaviour):
    return np.concatenate([*behaviour.beliefs, behaviour.policies, behaviour.action])


def by_hand():
    """What agents believe and do, with PyMDP's own calls, by turns from the last to the first."""
    nursery = importlib.import_module("nursery")
    names = [f"agent_{number}" for number in range(AGENTS)]
    world, agents, index, found = nursery.Nursery(names), {}, {}, {}

    def build(name):
        index[name] = len(index)
        np.random.seed(step_seed(0, index[name], -1))
        agents[name] = Agent(**nursery.visitor(index[name]))

    for name in names:
        build(name)
    seen, _ = world.reset()
    for step in range(STEPS):
        if not seen:
            seen, _ = world.reset()
            for name in names:
                agents[name].reset()
                agents[name].action = None
        actions = {}
        for name in reversed(seen):
            np.random.seed(step_seed(0, index[name], step))
            agent = agents[name]
            beliefs = agent.infer_states([seen[name]])
            policies, _ = agent.infer_policies()
            actions[name] = agent.sample_action()
            found[index[name], step] = np.concatenate([*beliefs, policies, actions[name]])
        seen, _, gone, _, _ = world.step(actions)
        seen = {name: place for name, place in seen.items() if not gone[name]}
        for name in seen:
            if name not in index:
                build(name)
    return found


@pytest.mark.parametrize(
    ("passes", "options", "bound"),
    [
        ((), {}, 0),
        (("share", "template"), {}, 0),
        (("template", "working_set"), {"working_set": 20_000}, 0),
        (("batch",), {}, 1e-12),
    ],
    ids=lambda each: "-".join(each) or "plain" if isinstance(each, tuple) else "",
)
def test_the_born_live_as_by_hand_and_leave_for_good(write, passes, options, bound):
    spec = replace(load_scenario(write()).spec(passes), options=options)
    population = population_class(spec)(spec, Stopwatch())
    try:
        lives = population.live(population.grow(AGENTS), range(STEPS))
        found = {(agent, step): numbers(behaviour) for agent, step, behaviour in lives}
        assert len(population) == AGENTS
        assert population.born == 7  # in two episodes and three steps of the third
        there = {owner for owner, *_ in population.holdings() if owner >= 0}
        assert there == {*range(AGENTS), AGENTS + 6}
    finally:
        population.close()
    expected = by_hand()
    assert found.keys() == expected.keys()
    assert max(agent for agent, _ in expected) >= AGENTS + 6
    for turn, values in expected.items():
        assert np.abs(found[turn] - values).max() <= bound, turn


def test_time_per_step_is_of_those_that_lived_it(write, monkeypatch):
    spec = load_scenario(write()).spec(())
    population = population_class(spec)(spec, Stopwatch())
    growth = Growth(population, STEPS)
    taken = []
    batches = Batches(growth, AGENTS, lambda *_: None)
    monkeypatch.setattr(
        batches, "_take", lambda steps, turns, *_: taken.append((steps.start, turns))
    )
    for _ in batches:
        pass
    population.close()
    assert taken == sorted(Counter(step for _, step in by_hand()).items())
    assert {turns for _, turns in taken} == {12, 13}


def test_the_born_are_part_of_the_proof_and_named(memprof, write):
    run = memprof("profile", write(passes=["share", "template"]))
    assert run.code == 0, run.err
    report = run.report()
    assert report["equivalence"]["verdict"] == "exact"
    assert report["variants"]["before"]["born"] == report["variants"]["after"]["born"] == 7
    (caution, _) = [each for each in report["warnings"] if each["kind"] == "born"]
    assert "7 agents were born in the world" in caution["evidence"]


def test_a_world_without_births_says_nothing_of_them(memprof, write):
    run = memprof("profile", write(steps=1, passes=[]))
    assert run.report()["variants"]["before"]["born"] == 0
    assert not [each for each in run.report()["warnings"] if each["kind"] == "born"]


def test_a_world_in_which_births_never_end_grows(memprof, write):
    run = memprof("leak", write({"endless": True}, agents=4, steps=4))
    assert run.code == 1, run.out + run.err
    (line,) = [n for n, text in enumerate(CODE.splitlines(), 1) if "min(7, self.time + 3)" in text]
    assert f"nursery.py:{line})" in " ".join(run.out.split())


@pytest.mark.parametrize("called", ["hawk", "owl"])
def test_of_several_kinds_the_name_says_which_is_born(write, called):
    path = write({"called": called})
    fields = yaml.safe_load(path.read_text())
    del fields["agents"]
    model = fields.pop("model")
    kinds = [("dove", 4), ("hawk", 8)]
    fields["kinds"] = [{"name": name, "agents": n, "model": model} for name, n in kinds]
    path.write_text(yaml.safe_dump(fields))
    spec = load_scenario(path).spec(())
    population = population_class(spec)(spec, Stopwatch())
    try:
        lives = population.live(population.grow(AGENTS), range(4))
        if called == "owl":
            with pytest.raises(ScenarioError, match=r"'owl_12'.*dove_NUMBER or hawk_NUMBER"):
                list(lives)
            return
        found = Counter(each.agent for each in lives)
        assert sum(found.values()) == 12 * 4 + 2
        walked = walker.walk(population.holdings(), AGENTS)
        assert len(walked.nominal) == AGENTS
    finally:
        population.close()
