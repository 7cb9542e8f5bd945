"""Worlds and agents that the seed does not determine: that is said, and nothing is claimed."""

import pytest
import yaml

CODE = '''
import os
import random
import numpy as np
from pymdp.legacy.agent import Agent

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

CHANCE = {
    "none": lambda world: 1,
    "numpy": lambda world: np.random.randint(4),
    "python": lambda world: random.randrange(4),
    "reset": lambda world: int(world.rng.integers(4)),
    "unseeded": lambda world: int(np.random.default_rng().integers(4)),
    "system": lambda world: os.urandom(1)[0] % 4,
}

def visitor(informed=True):
    """Sees one of four corners, and believes that where it is, unless it is not informed."""
    A = np.eye(4) if informed else np.full((4, 4), 0.25)
    return {"A": objects(A), "B": objects(np.stack([np.eye(4)] * 2, axis=2)),
            "D": objects(np.full(4, 0.25)), "action_selection": "stochastic"}

class Plaza:
    def __init__(self, agents, chance):
        self.names, self.chance = [*agents], chance

    def look(self):
        return {name: CHANCE[self.chance](self) for name in self.names}

    def reset(self, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        return dict.fromkeys(self.names, 1), {}

    def step(self, actions):
        none = dict.fromkeys(self.names, False)
        return self.look(), none, none, none, {}

class Room:
    def __init__(self, chance):
        self.chance = chance

    def reset(self, seed=None):
        self.rng = np.random.default_rng(seed)
        return 1, {}

    def step(self, action):
        return CHANCE[self.chance](self), 0.0, False, False, {}

def lone(chance, informed=True):
    return visitor(informed), Room(chance)

class Moody(Agent):
    def sample_action(self):
        self.action = np.array([float(os.urandom(1)[0] % 2)])
        return self.action

def moody():
    return Moody(**visitor()), Room("none")
'''
WORLD = "the world is not deterministic: in two runs with the same seed agents perceive"
FEW = {"agents": 8, "steps": 5, "repeats": 1}


@pytest.fixture
def own(tmp_path):
    """Write a scenario whose world is as `chance` has it, joint or each agent's own."""

    def write(chance, *, joint, informed=True, **fields):
        (tmp_path / "own.py").write_text(CODE)
        params = {"informed": informed}
        model = {"kind": "factory", "file": "own.py"}
        if joint:
            world = {"callable": "own:Plaza", "params": {"chance": chance}}
            fields["world"] = world
            model |= {"callable": "own:visitor", "params": params}
        else:
            model |= {"callable": "own:lone", "params": {"chance": chance, **params}}
        if chance == "moody":
            model = {"kind": "factory", "file": "own.py", "callable": "own:moody"}
        path = tmp_path / "case.yaml"
        given = {"name": "case", "instruments": [], "effort": "quick", "model": model}
        path.write_text(yaml.safe_dump({**given, **FEW, **fields}))
        return path

    return write


def nothing_is_claimed(run, words, passes):
    assert run.code == 0, run.err
    report = run.report()
    assert report["equivalence"]["verdict"] == "not_checked"
    assert words in report["equivalence"]["detail"]
    said = [each for each in report["warnings"] if each["kind"] == "not_deterministic"]
    assert len(said) == 1
    assert words in said[0]["evidence"]
    assert {each["saved_bytes_per_agent"] for each in report["passes"]} <= {None}
    if passes:
        assert "exact" not in run.out


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "lone"])
@pytest.mark.parametrize(
    ("passes", "repeats"),
    [([], 2), (["share", "template"], 1), (["share", "template"], 2), ("auto", 1)],
    ids=["none", "named, once", "named, twice", "auto, once"],
)
def test_a_world_that_is_not_deterministic_is_said_to_be(memprof, own, joint, passes, repeats):
    path = own("unseeded", joint=joint, passes=passes, repeats=repeats)
    nothing_is_claimed(memprof("profile", path), f"{WORLD} something else at step 1", passes)


@pytest.mark.parametrize("passes", [["share"], "auto"], ids=["share", "auto"])
def test_a_world_whose_chance_changes_no_belief_is_no_more_deterministic(memprof, own, passes):
    path = own("system", joint=True, informed=False, passes=passes)
    nothing_is_claimed(memprof("profile", path), WORLD, passes)


@pytest.mark.parametrize("repeats", [1, 2])
def test_agents_that_are_not_deterministic_are_told_from_their_world(memprof, own, repeats):
    path = own("moody", joint=False, passes=["share"], repeats=repeats)
    words = "the agents are not deterministic: in two runs with the same seed they perceive"
    nothing_is_claimed(memprof("profile", path), words, ["share"])


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "lone"])
@pytest.mark.parametrize("chance", ["numpy", "python", "reset"])
def test_what_the_seed_determines_is_proved(memprof, own, joint, chance):
    path = own(chance, joint=joint, passes=["template", "batch"], repeats=1)
    run = memprof("profile", path)
    assert run.code == 0, run.err
    assert run.report()["equivalence"]["verdict"] in ("exact", "bounded")
    assert not [w for w in run.report()["warnings"] if w["kind"] == "not_deterministic"]


def test_a_sweep_of_such_a_world_claims_no_capacity(memprof, own):
    path = own("unseeded", joint=False, passes=["share"])
    run = memprof("density", path, "--max-agents", 16)
    assert run.code == 0, run.err
    assert WORLD in run.report("case-density")["equivalence"]["detail"]
