"""What a world itself holds, and what it gains: a row of its own, and lines of its own."""

import pytest
import yaml

CODE = '''
import numpy as np

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

def visitor():
    return {"A": objects(np.eye(5)), "B": objects(np.stack([np.eye(5)] * 2, axis=2)),
            "D": objects(np.full(5, 0.2))}

class Land:
    """Takes `fixed` bytes, `each` for an agent, and `pairs` for each pair of agents; with `keeps`,
    it forgets no observation."""

    def __init__(self, agents, fixed=0, each=0, pairs=0, keeps=False):
        self.names, self.keeps = agents, keeps
        self.ground = np.ones(fixed, np.uint8)
        self.own = {name: np.ones(each, np.uint8) for name in agents}
        self.between = np.ones((len(agents), len(agents) * pairs), np.uint8)
        self.diary = []

    def look(self):
        seen = {name: np.array([place % 5]) for place, name in enumerate(self.names)}
        if self.keeps:
            self.diary.append(seen)  # every observation
        return seen

    def reset(self, seed=None, options=None):
        return self.look(), {}

    def step(self, actions):
        none = dict.fromkeys(self.names, False)
        return self.look(), dict.fromkeys(self.names, 1.0), none, none, {}

class Room:
    def __init__(self):
        self.diary = []

    def reset(self):
        return 0

    def step(self, action):
        self.diary.append(np.zeros(20))  # every moment
        return 1

def lone():
    return visitor(), Room()
'''


@pytest.fixture
def land(tmp_path):
    """Write a scenario of agents that meet in a `Land`, or live in a `Room` each."""

    def write(*, joint=True, params=None, **fields):
        (tmp_path / "land.py").write_text(CODE)
        model = {"kind": "factory", "file": "land.py", "callable": "land:lone"}
        if joint:
            model["callable"] = "land:visitor"
            fields["world"] = {"callable": "land:Land", "params": params or {}}
        path = tmp_path / "case.yaml"
        given = {"name": "case", "instruments": [], "effort": "quick", "repeats": 1, "model": model}
        path.write_text(yaml.safe_dump({**given, "agents": 20, "steps": 3, **fields}))
        return path

    return write


@pytest.mark.parametrize(
    ("params", "fixed", "each", "words"),
    [
        ({"fixed": 8_000_000}, 8_000_000, 0, "whatever their number"),
        ({"each": 100_000}, 0, 100_000, "for each agent"),
        ({"fixed": 1_000_000, "each": 50_000}, 1_000_000, 50_000, "fixed and"),
    ],
)
def test_what_a_world_holds_is_told_as_fixed_and_for_each_agent(
    memprof, land, params, fixed, each, words
):
    run = memprof("profile", land(params=params))
    assert run.code == 0, run.err
    variant = run.report()["variants"]["before"]
    world = variant["world"]
    assert world["bytes"] == pytest.approx(fixed + 20 * each, rel=0.01)
    assert world["fixed_bytes"] == pytest.approx(fixed, abs=0.01 * world["bytes"])
    assert world["bytes_per_agent"] == pytest.approx(each, abs=0.01 * world["bytes"] / 20)
    (row,) = [row for row in variant["ledger"]["rows"] if row["component"] == "world"]
    assert row["private_nominal_bytes"] == 0, "it is nobody's alone"
    assert row["shared_resident_bytes"] == world["bytes"]
    said = " ".join(run.out.split())
    assert "The world holds" in said
    assert words in said.partition("The world holds")[2][:100]


def test_a_world_of_pairs_grows_with_their_number(memprof, land):
    run = memprof("profile", land(params={"pairs": 10_000}))
    world = run.report()["variants"]["before"]["world"]
    assert world["fixed_bytes"] < 0 < world["bytes_per_agent"]
    assert "that grows with their number" in " ".join(run.out.split())


def test_agents_that_live_alone_have_no_world_in_common(memprof, land):
    run = memprof("profile", land(joint=False))
    assert run.report()["variants"]["before"]["world"] is None
    assert "The world holds" not in run.out


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "lone"])
def test_a_world_that_keeps_every_observation_is_found_with_its_line(memprof, land, joint):
    path = land(joint=joint, params={"keeps": True}, agents=4)
    run = memprof("leak", path)
    assert run.code == 1, run.out + run.err
    what = "every observation" if joint else "every moment"
    (line,) = [n for n, text in enumerate(CODE.splitlines(), 1) if text.endswith(f"# {what}")]
    said = " ".join(run.out.split())
    assert f"{'Land' if joint else 'Room'}.diary (" in said
    assert f"land.py:{line})" in said.partition("first at ")[2][:80]


def test_of_several_kinds_each_has_its_part_in_the_world(memprof, land):
    path = land(params={"fixed": 1_000_000, "each": 50_000})
    fields = yaml.safe_load(path.read_text())
    del fields["agents"]
    model = fields.pop("model")
    numbers = {"hawk": 4, "dove": 8}
    fields["kinds"] = [{"name": name, "agents": n, "model": model} for name, n in numbers.items()]
    path.write_text(yaml.safe_dump(fields))
    run = memprof("profile", path, "--passes", "none")
    assert run.code == 0, run.err
    before = run.report()["variants"]["before"]
    for found in (before, *before["kinds"]):
        assert found["world"]["bytes"] == pytest.approx(1_600_000, rel=0.01)
        assert found["world"]["bytes_per_agent"] == pytest.approx(50_000, rel=0.02)
        assert found["rewards"] == {"mean": 1.0, "count": 3 * numbers.get(found.get("name"), 12)}
    assert before["kinds"][1]["world"]["fixed_bytes"] == pytest.approx(1_200_000, rel=0.01)
    assert "for each agent" in " ".join(run.out.split())
