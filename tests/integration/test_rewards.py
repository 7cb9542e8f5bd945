"""What worlds give agents: a mean that is the same before and after exact passes."""

import importlib
import sys

import numpy as np
import pytest
import yaml
from msgspec.structs import replace

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch
from memprof.populations import population_class, step_seed
from memprof.scenario import load_scenario
from memprof.upstream.numpy_agent import Agent

CODE = '''
import os
import numpy as np

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

def visitor():
    here = np.eye(5)
    return {"A": objects(here), "B": objects(np.stack([here, np.roll(here, 1, axis=0)], axis=2)),
            "D": objects(here[2]), "action_selection": "stochastic"}

def of(action, value):
    """A reward for the action, or what stands in its place."""
    if value == "chance":
        return float(os.urandom(1)[0])
    return value if value is not None else 0.1 * (1 + int(action[0]))

class Plaza:
    """The last agent goes after two steps, with a reward of ten."""

    def __init__(self, agents, value=None, to=None, silent=False):
        self.names, self.value, self.to, self.silent = [*agents], value, to, silent

    def reset(self, seed=None, options=None):
        self.time, self.here = 0, [*self.names]
        return dict.fromkeys(self.here, 2), {}

    def step(self, actions):
        self.time += 1
        given = {name: of(action, self.value if self.to in (None, name) else None)
                 for name, action in actions.items()}
        gone = {name: self.time == 2 and name == self.names[-1] for name in self.here}
        given |= {name: 10 for name, goes in gone.items() if goes}
        seen, self.here = dict.fromkeys(self.here, 2), [n for n in self.here if not gone[n]]
        return seen, {} if self.silent else given, gone, {}, {}

class Room:
    def __init__(self, value=None):
        self.value, self.time = value, 0

    def reset(self):
        self.time = 0
        return 2, {}

    def step(self, action):
        self.time += 1
        return 2, of(action, self.value), self.time == 3, False, {}

def lone(value=None):
    return visitor(), Room(value)
'''
AGENTS, STEPS = 12, 7


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plaza", raising=False)

    def written(*, joint, params=None, **fields):
        (tmp_path / "plaza.py").write_text(CODE)
        model = {"kind": "factory", "callable": "plaza:visitor"}
        if joint:
            fields["world"] = {"callable": "plaza:Plaza", "params": params or {}}
        else:
            model |= {"callable": "plaza:lone", "params": params or {}}
        path = tmp_path / "case.yaml"
        given = {"name": "case", "model": model, "agents": AGENTS, "steps": STEPS, "repeats": 1}
        given |= {"instruments": [], "effort": "quick"}
        path.write_text(yaml.safe_dump({**given, **fields}))
        return path

    return written


def rewards_of(path, passes=()):
    options = {"working_set": 6_000} if "working_set" in passes else {}
    spec = replace(load_scenario(path).spec(passes), options=options)
    population = population_class(spec)(spec, Stopwatch())
    try:
        for _ in population.live(population.grow(AGENTS), range(STEPS)):
            pass
        return population.rewards()
    finally:
        population.close()


def by_hand(*, joint):
    """All rewards, with PyMDP's own calls."""
    plaza, given = importlib.import_module("plaza"), []
    for number in range(AGENTS):
        np.random.seed(step_seed(0, number, -1))
        agent = Agent(**plaza.visitor())
        for step in range(STEPS):
            np.random.seed(step_seed(0, number, step))
            if joint and number == AGENTS - 1 and step >= 2:
                break
            if not joint and step % 4 == 0:  # reset, after three steps
                if step:
                    agent.reset()
                agent.action = None
            agent.infer_states([2])
            agent.infer_policies()
            reward = plaza.of(agent.sample_action(), None)
            if joint and number == AGENTS - 1 and step == 1:
                reward = 10
            if joint or (step % 4 < 3 and step < STEPS - 1):  # else its world moves no more
                given.append(reward)
    return given


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "lone"])
@pytest.mark.parametrize("passes", [(), ("share", "template"), ("template", "working_set")])
def test_rewards_are_those_that_worlds_give(write, joint, passes):
    path = write(joint=joint)
    found, expected = rewards_of(path, passes), by_hand(joint=joint)
    assert found.count == len(expected)
    assert found.mean == pytest.approx(sum(expected) / len(expected), rel=1e-12)
    assert len({*expected}) > 1
    assert found == rewards_of(path)


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "lone"])
@pytest.mark.parametrize("value", ["much", [1, 2]])
def test_what_is_no_reward_is_refused_with_its_agent(write, joint, value):
    path = write(joint=joint, params={"value": value, **({"to": "agent_3"} if joint else {})})
    with pytest.raises(ScenarioError) as caught:
        rewards_of(path)
    assert caught.value.field == ("world" if joint else "model.callable")
    assert f"the reward {value!r}" in caught.value.problem
    assert "expected a finite number" in caught.value.problem
    assert ("agent_3" if joint else "agent 0") in caught.value.problem


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "lone"])
def test_a_report_has_the_same_rewards_before_and_after(memprof, write, joint):
    run = memprof("profile", write(joint=joint, passes=["share", "template"]))
    assert run.code == 0, run.err
    before, after = (run.report()["variants"][each]["rewards"] for each in ("before", "after"))
    assert before == after
    assert before["count"] == len(by_hand(joint=joint))
    assert f"a reward of {before['mean']:.4g} per step" in " ".join(run.out.split())


def test_a_world_without_rewards_has_none(memprof, write):
    run = memprof("profile", write(joint=True, params={"silent": True}))
    assert run.report()["variants"]["before"]["rewards"] is None
    assert "a reward of" not in run.out


@pytest.mark.parametrize("passes", [[], ["share"]])
def test_a_world_of_which_only_rewards_are_chance_is_not_deterministic(memprof, write, passes):
    repeats = 1 if passes else 2
    run = memprof(
        "profile", write(joint=True, params={"value": "chance"}, passes=passes, repeats=repeats)
    )
    assert run.report()["equivalence"]["verdict"] == "not_checked"
    assert "and are rewarded otherwise" in run.report()["equivalence"]["detail"]
