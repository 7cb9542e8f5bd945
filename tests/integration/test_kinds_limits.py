"""Worlds and kinds at their limits: what they may do without anything being silently wrong, and
what is refused."""

import io
import sys

import numpy as np
import pytest
import yaml
from msgspec.structs import replace

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch
from memprof.populations import Behaviour, population_class
from memprof.populations.trace import ValueTrace
from memprof.scenario import load_scenario
from memprof.stats.equivalence import judge
from tests.integration.test_kinds import FAKES, MIB

RING = """
import numpy as np

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

def walker(corners=5):
    here = np.eye(corners)
    moves = np.stack([here, np.roll(here, 1, axis=0)], axis=2)
    return {"A": objects(here), "B": objects(moves), "action_selection": "stochastic"}

class Ring:
    '''Whoever is first in the actions moves on; all see where.'''

    def __init__(self, agents, does=""):
        self.names, self.does = [*agents], does

    def reset(self, seed=None):
        self.place = 0
        return dict.fromkeys(self.names, 0), {}

    def step(self, actions):
        for weight, action in enumerate(actions.values(), 1):
            self.place += weight * int(action[0])
        ends = False
        if self.does == "takes the actions":
            actions.clear()
        if self.does == "ends with an array":
            ends = np.array([True, False])
        if self.does == "ends with text":
            ends = "False"
        seen = dict.fromkeys(self.names, self.place % 5)
        if self.does == "calls one by a number":
            seen[7] = 0
        given, ends = dict.fromkeys(self.names, 1.0), dict.fromkeys(self.names, ends)
        return seen, given, ends, {}, {}
"""
STEPS = 8


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """Of two kinds in a world of `RING`."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ring", raising=False)
    (tmp_path / "ring.py").write_text(RING)

    def made(does="", kind=None):
        path = tmp_path / "ring.yaml"
        path.write_text(
            f"name: ring\nsteps: {STEPS}\nworld: {{callable: 'ring:Ring', params: {{does: "
            f"{does}}}}}\nkinds:\n"
            + "".join(
                f"  - {{name: {name}, agents: {agents}, "
                "model: {kind: factory, callable: 'ring:walker'}}\n"
                for name, agents in (("one", 12), ("two", 5))
            )
        )
        loaded = load_scenario(path)
        kinds = {each.kind: each for each in loaded.kinds}
        return (kinds[kind] if kind else loaded).spec(())

    return made


def lived(spec):
    """The population when it has lived, and what its agents perceived and did."""
    population = population_class(spec)(spec, Stopwatch())
    lives = list(population.live(population.grow(spec.agents), range(STEPS)))
    return population, {
        (agent, step): (did.action.tolist(), np.ravel(did.observation).tolist())
        for agent, step, did in lives
    }


def test_rewards_are_counted_in_a_world_that_takes_things_out_of_its_actions(spec):
    population, _ = lived(spec("takes the actions"))

    assert population.rewards().mean == 1
    assert population.rewards().count == (12 + 5) * STEPS


def test_the_order_of_actions_tells_nothing_of_who_was_woken_first(spec):
    plain = spec()
    options = {"working_set": 20_000}
    passes = ("template", "working_set")
    kinds = tuple(replace(each, passes=passes, options=options) for each in plain.kinds)

    _, expected = lived(plain)
    _, found = lived(replace(plain, kinds=kinds, passes=passes, options=options))

    assert found == expected


def test_a_kind_does_the_same_whichever_of_them_is_varied(spec):
    population, everybody = lived(spec())
    population.close()
    found = {}
    for kind in ("one", "two"):
        _, found[kind] = lived(spec(kind=kind))

    assert sorted(map(str, everybody.values())) == sorted(
        str(did) for each in found.values() for did in each.values()
    )


@pytest.mark.parametrize("does", ["ends with an array", "ends with text"])
def test_an_end_that_is_no_truth_value_is_named(spec, does):
    with pytest.raises(ScenarioError, match="for one_0 as a termination or truncation") as error:
        lived(spec(does))

    assert error.value.field == "world"


def test_a_name_that_is_no_text_and_of_no_kind_is_named(spec):
    with pytest.raises(ScenarioError, match="an observation of 7, whom reset"):
        lived(spec("calls one by a number"))


@pytest.mark.parametrize("gone_in", ["the first", "the second"])
def test_an_agent_that_lives_longer_in_one_of_two_populations_behaves_differently(gone_in):
    did = Behaviour([np.array([0.5, 0.5])], np.array([1.0]), np.array([0.0]))
    lives = [(agent, step) for step in range(4) for agent in range(3)]
    dead = [(agent, step) for agent, step in lives if agent != 1 or step < 2]
    first, second = (dead, lives) if gone_in == "the first" else (lives, dead)
    file = io.BytesIO()
    written = ValueTrace(file, compare=False)
    for agent, step in first:
        written.record(agent, step, did)
    file.seek(0)
    compared = ValueTrace(file, compare=True)
    for agent, step in second:
        compared.record(agent, step, did)

    found = compared.comparison()

    assert found.first_difference == (1, 2)
    assert (found.actions_compared, found.actions_equal) == (12, 10)
    assert judge(found, 1e-5).verdict == judge(found).verdict == "diverged"


def test_a_file_that_is_missing_is_named_in_its_kind(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(
        "name: two\nkinds:\n"
        "  - {name: one, agents: 2, model: {kind: grid_world, size: 3}}\n"
        "  - {name: two, agents: 2, model: {kind: npz, path: no.npz}}\n"
    )

    with pytest.raises(ScenarioError, match="no such file") as error:
        load_scenario(path)

    assert error.value.field == "kinds.1.model.path"
    assert str(error.value).startswith(f"{path}:4: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-agents", 20), "--max-agents: expected at least 22, since 11 agents of 2 kinds"),
        (("--max-agents", 22, "--agents", 5), "--agents: expected at least 11, since"),
    ],
)
def test_density_does_not_take_part_of_a_proportion_for_the_whole(
    memprof, tmp_path, options, words
):
    run = memprof("density", fakes(tmp_path), *options)

    assert (run.code, run.err.count("\n")) == (2, 1)
    assert words in run.err


def test_a_rare_kind_is_in_the_cost_of_an_agent(memprof, tmp_path):
    run = memprof("density", fakes(tmp_path), "--max-agents", 25)

    assert run.code == 0, run.err
    before = run.report("case-density")["variants"]["before"]
    assert [each["agents"] for each in before["samples"][0]][:2] == [11, 22]
    assert before["per_agent"]["marginal_bytes"] == pytest.approx(20 / 11 * MIB, rel=0.03)


def test_a_kind_that_is_called_all_has_a_row_of_its_own(memprof, tmp_path):
    run = memprof("profile", fakes(tmp_path, rare="all"), "--full")

    assert run.code == 0, run.err
    rows = [line.split("  ") for line in run.out.splitlines() if "  " in line]
    named = {row[1].strip() if not row[0] else row[0].strip() for row in rows}
    assert {"all", "common", "all kinds"} <= named


def fakes(folder, rare="rare"):
    """One agent of 10 MiB among ten of 1 MiB."""
    kinds = [
        {"name": name, "agents": agents, "model": {"kind": "buffer", "size": size}}
        for name, agents, size in ((rare, 1, 10 * MIB), ("common", 10, MIB))
    ]
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump({**FAKES, "kinds": kinds}))
    return path
