"""Kinds of agents in one population: each has what it has alone, and they meet in one world."""

import json
from collections import Counter

import numpy as np
import pytest
import yaml
from msgspec.structs import replace

from memprof.errors import ScenarioError
from memprof.export.json_text import parse, render
from memprof.instruments import Stopwatch
from memprof.populations import population_class, step_seed
from memprof.populations.company import Company
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.populations.trace import DigestTrace
from memprof.scenario import load_scenario
from memprof.upstream.numpy_agent import Agent, utils
from tests.conftest import SCENARIOS, run_command

PREDATORS, PREY, STEPS, SEED = 3, 12, 8, 5
KINDS = ("predator", "prey")
OUTCOMES = {50: "predator", 10: "prey"}  # what they may see of each other
PASSES = [
    ((), {}, 0),
    (("share", "pool", "template"), {}, 0),
    (("template", "working_set"), {"working_set": 50_000}, 0),
    (("batch",), {}, 1e-12),
]


def savanna(folder, *, meet=True, **fields):
    """The shipped scenario, small; or its agents each alone."""
    values = yaml.safe_load((SCENARIOS / "savanna.yaml").read_text())
    del values["budget"]
    for kind, agents in zip(values["kinds"], (PREDATORS, PREY), strict=True):
        kind["agents"] = agents
        kind["model"]["path"] = [str(SCENARIOS)]
    if meet:
        values["world"]["params"]["size"] = 8  # they see much of each other
        (folder / "savanna.py").write_text((SCENARIOS / "savanna.py").read_text())
    else:
        del values["world"]
    path = folder / "savanna.yaml"
    path.write_text(yaml.safe_dump({**values, "steps": STEPS, "seed": SEED, **fields}))
    return path


def numbers(behaviour):
    """All that an agent believed and did."""
    return np.concatenate([*behaviour.beliefs, behaviour.policies, behaviour.action])


def lived(spec, agents=PREDATORS + PREY):
    """What agents believed and did, by kind, number and step."""
    population = population_class(spec)(spec, Stopwatch())
    try:
        found, counted = {}, Counter()
        for agent, step, behaviour in population.live(population.grow(agents), range(STEPS)):
            kind = OUTCOMES[len(behaviour.beliefs[0])]
            found[kind, agent, step] = numbers(behaviour)
            counted[kind] += 1
        places = {kind: sorted({a for k, a, _ in found if k == kind}) for kind in KINDS}
        return {(k, places[k].index(a), step): each for (k, a, step), each in found.items()}
    finally:
        population.close()


def by_hand(spec):
    """The same with PyMDP's own calls, in another order at every step."""
    import savanna as module

    agents = {}
    for each in spec.kinds:
        for number in range(each.agents):
            np.random.seed(step_seed(each.seed, number, -1))
            arguments = {**getattr(module, each.name)(), **each.agent}
            if each.learning:
                arguments["pA"] = utils.dirichlet_like(arguments["A"])
            agents[f"{each.name}_{number}"] = each, number, Agent(**arguments)
    seed = step_seed(spec.world.seed, -1, -1)
    np.random.seed(seed)
    world = module.World([*agents], **spec.world.params)
    seen, _ = world.reset(seed=seed >> 1)
    found = {}
    order = np.random.default_rng(1)
    for step in range(STEPS):
        actions = {}
        for name in order.permutation([*agents]):
            kind, number, agent = agents[name]
            np.random.seed(step_seed(kind.seed, number, step))
            beliefs = agent.infer_states(seen[name])
            if kind.learning:
                agent.update_A(seen[name])
            policies, _ = agent.infer_policies()
            actions[name] = agent.sample_action()
            found[kind.name, number, step] = np.concatenate([*beliefs, policies, actions[name]])
        np.random.seed(step_seed(spec.world.seed, -1, step))
        seen = world.step(actions)[0]
    return found


@pytest.mark.parametrize(("passes", "options", "bound"), PASSES)
def test_kinds_that_meet_live_as_by_hand_in_any_order(tmp_path, passes, options, bound):
    spec = load_scenario(savanna(tmp_path)).spec(passes)
    kinds = tuple(replace(each, options=options) for each in spec.kinds)
    found = lived(replace(spec, kinds=kinds))
    expected = by_hand(spec)
    assert len(expected) == (PREDATORS + PREY) * STEPS
    assert found.keys() == expected.keys()
    for turn, each in expected.items():
        assert np.abs(found[turn] - each).max() <= bound, turn


def digests(population, agents):
    found = DigestTrace(agents, STEPS)
    try:
        for each in population.live(population.grow(agents), range(STEPS)):
            found.record(*each)
    finally:
        population.close()
    return found.per_agent()


@pytest.mark.parametrize("passes", [(), ("share", "template"), ("template", "working_set")])
def test_a_kind_in_company_lives_as_alone(tmp_path, passes):
    """And two kinds of the same model draw numbers of their own."""
    path = savanna(tmp_path, meet=False)
    loaded = load_scenario(path)
    alone = {
        each.name: digests(NumpyPopulation(each, Stopwatch()), each.agents)
        for each in loaded.spec(passes).kinds
    }
    for kind in loaded.kinds:
        spec = kind.spec(passes)
        assert digests(Company(spec, Stopwatch()), spec.agents) == alone[kind.kind]
    together = Company(loaded.spec(passes), Stopwatch())
    assert sorted(digests(together, PREDATORS + PREY)) == sorted(
        [*alone["predator"], *alone["prey"]]
    )


@pytest.mark.parametrize("meet", [True, False])
def test_any_number_of_agents_has_the_proportions_of_the_kinds(tmp_path, meet):
    spec = load_scenario(savanna(tmp_path, meet=meet)).spec(())
    for agents in (2, 5, 10, 15, 23, 30):
        kinds = Counter(kind for kind, _, step in lived(spec, agents) if step == 0)
        share = agents * PREDATORS / (PREDATORS + PREY)
        assert sum(kinds.values()) == agents
        assert min(kinds.values()) >= 1
        assert abs(kinds["predator"] - share) <= (1 if agents < 15 else 0.5)


def test_along_one_kind_the_others_are_as_many_as_they_are(tmp_path):
    loaded = load_scenario(savanna(tmp_path))
    prey = next(each for each in loaded.kinds if each.kind == "prey")
    population = Company(prey.spec(("template",)), Stopwatch())
    for agents in (1, 20):
        turns = [*population.live(population.grow(agents), range(2))]
        assert {len(each.behaviour.beliefs[0]) for each in turns} == {10}
        assert len(turns) == 2 * agents == 2 * len(population)
        worlds = {id(held): held for _, name, held in population.holdings() if name == "world"}
        (world,) = worlds.values()
        names = Counter(name.partition("_")[0] for name in world.possible_agents)
        assert names == {"predator": PREDATORS, "prey": agents}
    population.close()


GRID = {"kind": "grid_world", "size": 3}


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"kinds": [{"name": "a", "agents": 1, "model": GRID}] * 2}, "kinds", "duplicate name 'a'"),
        ({"kinds": [{"name": "a", "agents": 0, "model": GRID}]}, "kinds.0.agents", "at least 1"),
        ({"kinds": [{"name": "a", "model": GRID}]}, "kinds.0.agents", "is missing"),
        ({"kinds": [{"name": "a_b", "agents": 1, "model": GRID}]}, "kinds.0.name", "dashes"),
        (
            {"kinds": [{"name": "a", "agents": 1, "model": GRID, "backend": "jax"}]},
            "kinds.0.backend",
            "the same for all kinds",
        ),
        ({"kinds": []}, "model", "is missing"),
        ({"agents": 5}, "agents", "each of the kinds has its own"),
        ({"model": GRID}, "model", "each of the kinds has its own"),
        ({"learning": ["A"]}, "learning", "each of the kinds has its own"),
        ({"budget": {"lion": "4 KB"}}, "budget.lion", "unknown field"),
        ({"budget": {"per_agent": "4 KB"}}, "budget.per_agent", "unknown field"),
        ({"steps": 0}, "steps", "at least 1"),
    ],
)
def test_what_is_wrong_with_kinds_is_named(tmp_path, fields, field, words):
    with pytest.raises(ScenarioError) as caught:
        load_scenario(savanna(tmp_path, **fields))
    assert caught.value.field == field
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("wrong", "field", "line"),
    [
        ("model: {kind: grid_world, size: 1}", "kinds.1.model.size", 6),
        ("model: {kind: grid_world, sise: 3}", "kinds.1.model.sise", 6),
        ("model: {kind: grid}", "kinds.1.model.kind", 6),
        ("agent: {policy_length: 2}", "kinds.1.agent.policy_length", 6),
        ("learning: [C]", "kinds.1.learning.0", 6),
        ("history_steps: 3", "kinds.1.history_steps", 6),
    ],
)
def test_a_mistake_within_a_kind_is_named_with_its_line(tmp_path, wrong, field, line):
    model = "" if "model" in wrong else "    model: {kind: grid_world, size: 3}\n"
    path = tmp_path / "case.yaml"
    path.write_text(
        "name: case\nkinds:\n  - {name: a, agents: 2, model: {kind: grid_world, size: 3}}\n"
        f"  - name: b\n    agents: 2\n    {wrong}\n{model}"
    )
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{path}:{line}: ") or f":{line}" in str(caught.value)


def test_a_world_that_is_not_told_who_lives_in_it_is_for_one_kind(tmp_path):
    path = savanna(
        tmp_path, world={"callable": "pettingzoo.classic.rps_v2:parallel_env", "params": {}}
    )
    with pytest.raises(ScenarioError, match="Give it a parameter agents") as caught:
        lived(load_scenario(path).spec(()))
    assert caught.value.field == "world"


FAKES = {
    "name": "case",
    "backend": "fake",
    "passes": [],
    "steps": 2,
    "repeats": 1,
    "effort": "quick",
    "instruments": [],
    "tolerances": {"step_ratio": "100000%", "peak_bytes": "64 MB", "fixed_bytes": "64 MB"},
}
MIB = 2**20


def fakes(folder, large=4 * MIB, small=MIB, **fields):
    """Two kinds of agents of known size."""
    kinds = [
        {"name": name, "agents": agents, "model": {"kind": "buffer", "size": size}}
        for name, agents, size in (("large", 2, large), ("small", 6, small))
    ]
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump({**FAKES, "kinds": kinds, **fields}))
    return path


def test_density_grows_in_proportion_or_along_one_kind(memprof, tmp_path):
    path = fakes(tmp_path)
    for options, cost, name in (
        ((), (2 * 4 + 6) / 8 * MIB, "case"),
        (("--grow", "small"), MIB, "case.small"),
        (("--grow", "large"), 4 * MIB, "case.large"),
    ):
        run = memprof("density", path, "--max-agents", 16, *options)
        assert run.code == 0, run.err
        before = run.report(f"{name}-density")["variants"]["before"]
        assert before["per_agent"]["marginal_bytes"] == pytest.approx(cost, rel=0.03)
    run = memprof("density", path, "--grow", "tiny")
    assert (run.code, "expected large or small, found tiny" in run.err) == (2, True)


def test_a_profile_says_what_each_kind_costs_and_whether_it_keeps_its_budget(memprof, tmp_path):
    path = fakes(tmp_path, budget={"large": "5 MiB", "small": "1 KiB"})
    run = memprof("profile", path)
    assert run.code == 1, run.err
    report = run.report()
    kinds = {each["name"]: each for each in report["variants"]["before"]["kinds"]}
    assert [(name, each["agents"]) for name, each in kinds.items()] == [("large", 2), ("small", 6)]
    for name, cost in (("large", 4 * MIB), ("small", MIB)):
        assert kinds[name]["per_agent"]["marginal_bytes"] == pytest.approx(cost, rel=0.03)
    mean = report["variants"]["before"]["per_agent"]["marginal_bytes"]
    assert mean == pytest.approx((2 * 4 + 6) / 8 * MIB, rel=0.03)
    assert [each["budget"]["kept"] for each in report["kinds"]] == [True, False]


def test_the_gate_judges_kind_by_kind(memprof, tmp_path):
    path = fakes(tmp_path)
    assert memprof("gate", path, "--update").code == 0
    file = tmp_path / "memprof-baseline.json"
    baseline = json.loads(file.read_text())
    assert [*baseline["scenarios"]] == ["case.large", "case.small"]
    fakes(tmp_path, small=2 * MIB)  # as if the code had changed: the hashes are made those of now
    entries = json.loads(memprof_updated(tmp_path, path))["scenarios"]
    for name, entry in baseline["scenarios"].items():
        entry["scenario_hash"] = entries[name]["scenario_hash"]
        entry["report"]["scenario"] = entries[name]["report"]["scenario"]
    file.write_text(json.dumps(baseline))
    run = memprof("gate", "--junit", "junit.xml")  # the scenarios of the baseline
    assert run.code == 1, run.err
    assert "case.small: marginal_bytes worse by +1.05 MB" in run.err + run.out
    verdicts = {
        (each["name"], metric["metric"]): metric["verdict"]
        for each in run.report("gate")["scenarios"]
        for metric in each["metrics"]
    }
    assert verdicts["case.small", "marginal_bytes"] == "worse"
    assert verdicts["case.large", "marginal_bytes"] == "same"
    text = (tmp_path / "junit.xml").read_text()
    assert "case.small" in text
    assert "case.large" in text


def memprof_updated(folder, path):
    """The baseline of the scenario as it is now, made elsewhere."""
    other = folder / "other.json"
    run = run_command(folder, "gate", path, "--update", "--baseline", other)
    assert run.code == 0, run.err
    return other.read_text()


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """Of predators and prey that meet, in all formats."""
    folder = tmp_path_factory.mktemp("profiled")
    path = savanna(folder, effort="quick", instruments=[], passes=["share", "template"], repeats=1)
    run = run_command(folder, "profile", path)
    assert run.code == 0, run.err
    return run


def test_a_profile_of_kinds_that_meet_is_exact_for_each(profiled):
    report = profiled.report("savanna")
    assert report["equivalence"]["verdict"] == "exact"
    before = report["variants"]["before"]
    predator, prey = before["kinds"]
    assert (predator["name"], prey["name"]) == KINDS
    assert predator["equivalence"]["verdict"] == prey["equivalence"]["verdict"] == "exact"
    cost = predator["per_agent"]["marginal_bytes"]
    assert 120_000 < cost < 200_000  # B alone is 100 KB, and pA another 20
    assert prey["per_agent"]["marginal_bytes"] < cost / 5
    assert before["rewards"]["count"] == (PREDATORS + PREY) * STEPS
    held = sum(row["private_resident_bytes"] for row in before["ledger"]["rows"])
    assert held > PREDATORS * 120_000


def test_every_format_has_all_kinds(profiled):
    folder = profiled.folder / "reports"
    text = (folder / "savanna.json").read_text()
    assert json.loads(render(parse(text))) == json.loads(text)
    for name in KINDS:
        for form in ("html", "md", "csv"):
            assert name in (folder / f"savanna.{form}").read_text(), (name, form)
    rows = (folder / "savanna.csv").read_text()
    assert all(f"savanna.{name}," in rows for name in KINDS)
    again = run_command(profiled.folder, "report", folder / "savanna.json")
    assert again.code == 0
    assert "An agent of kind predator costs" in " ".join(again.out.split())


LEAKY = """
import savanna

KEPT = []

def prey():
    KEPT.append(bytes(300))  # of every prey that ever lived
    return savanna.prey()
"""


@pytest.mark.parametrize("planted", [False, True])
def test_a_leak_of_one_kind_is_found_with_its_line(memprof, tmp_path, planted):
    path = savanna(tmp_path)
    (tmp_path / "leaky.py").write_text(LEAKY)
    values = yaml.safe_load(path.read_text())
    values["passes"] = []
    for kind, agents in zip(values["kinds"], (1, 3), strict=True):
        kind["agents"] = agents
        kind["model"]["path"] = [str(tmp_path)]
    if planted:
        values["kinds"][1]["model"]["callable"] = "leaky:prey"
    path.write_text(yaml.safe_dump(values))
    run = memprof(
        "leak", path, "--mode", "lifecycle", "--effort", "quick", "--repeats", 1, "--steps", 2
    )
    assert run.code == planted, run.out + run.err
    verdict = run.report("savanna-leak-lifecycle")["leak"]["verdict"]
    assert verdict == ("leak" if planted else "clean")
    assert ("leaky.KEPT" in run.err) == planted
