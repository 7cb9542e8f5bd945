"""Scenarios through the command: shipped ones with fewer agents and steps than they ship with, and
models of the user's own.

`test_equivalence.py` has all that are shipped; the grids are in `tests/accuracy`. Exactness under
passes is checked in this process where it is not the command that is asked about.
"""

import re
import sys
import weakref

import pytest
from msgspec.structs import replace

from memprof.errors import ScenarioError
from memprof.instruments import Stopwatch, walker
from memprof.launch.spawn import run_worker
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.values.requests import ReadThrough
from tests.conftest import SCENARIOS, digests_of

# They live long enough for histories and horizons to fill. The steps of deep-policy and learning-29
# take seconds: as commands they have their place in `make scenarios`.
SIZES = {"mmp": (3, 4), "private-mazes": (3, 3), "dense-random": (4, 4)}
# Measuring these takes so long that they are measured before their passes only; what `share` saves
# is looked at in this process, and whether it is exact in `test_equivalence.py`.
SLOW = ("mmp", "private-mazes")


@pytest.mark.parametrize("name", SIZES)
def test_it_runs_and_share_behaves_exactly(memprof, name):
    path = SCENARIOS / f"{name}.yaml"
    agents, steps = SIZES[name]
    run = memprof(
        "profile", path, "-q", "--agents", agents, "--steps", steps,
        "--effort", "quick", *(("--passes", "none") if name in SLOW else ()),
    )  # fmt: skip
    assert run.code == 0, run.err
    report = run.report(name)
    before, after = report["variants"]["before"], report["variants"]["after"]
    if name in SLOW:
        assert private_bytes(path, ("share",)) < private_bytes(path, ())
    else:
        assert report["equivalence"]["verdict"] == "exact"
        saving = 1 - after["per_agent"]["marginal_bytes"] / before["per_agent"]["marginal_bytes"]
        assert saving > 0 if name != "dense-random" else abs(saving) < 0.02, "nothing to share"
    assert before["per_agent"]["resolved"]
    ledger = before["ledger"]
    assert ledger["explained_bytes"] > 0.8 * ledger["growth_bytes"]
    if name == "mmp":
        rows = {row["component"]: row for row in ledger["rows"]}
        beliefs = ledger["agents"] * steps * 25 * 4
        assert rows["histories"]["private_nominal_bytes"] > beliefs, "those of every step"
    operations = {each["operation"] for each in before["hotspots"]["operations"]}
    assert {"build", "environment", "infer_states", "infer_policies", "sample_action"} <= operations


def private_bytes(path, passes):
    """What three agents that have just been built hold alone, by the ledger."""
    population = NumpyPopulation(load_scenario(path).spec(passes), Stopwatch())
    try:
        population.grow(3)
        rows, *_ = walker.walk(population.holdings(), 3)
        return sum(row.private_nominal_bytes for row in rows)
    finally:
        population.close()


@pytest.mark.parametrize("name", ["private-mazes", "dense-random"])
def test_no_environment_keeps_an_agents_own_arrays_alive(name):
    """A pass that replaces them would otherwise save nothing."""
    population = NumpyPopulation(load_scenario(SCENARIOS / f"{name}.yaml").spec(()), Stopwatch())
    population.grow(2)
    agent = population._roster.wake(1)
    arrays = [weakref.ref(agent.A[0]), weakref.ref(agent.B[0])]
    agent.A = agent.B = None
    assert [array() for array in arrays] == [None, None]


def test_all_instruments_on_real_agents(memprof):
    run = memprof(
        "profile", SCENARIOS / "grid-10.yaml", "-q", "--agents", 6, "--steps", 6,
        "--repeats", 1, "--passes", "none",
    )  # fmt: skip
    assert run.code == 1, run.err
    assert "budget.per_agent: expected at most 100 KB" in run.err, "it is kept under passes only"
    variant = run.report("grid-10")["variants"]["before"]
    found = {each["name"]: each for each in variant["instruments"]}
    truth = variant["per_agent"]["marginal_bytes"]
    assert list(found) == ["process", "heap", "memory_profiler", "tracemalloc", "pympler"]
    assert found["heap"]["per_agent_bytes"] == pytest.approx(truth, rel=0.05)
    assert found["tracemalloc"]["per_agent_bytes"] == pytest.approx(truth, rel=0.05)
    sampled = found["memory_profiler"]  # on a busy machine there may be too few samples
    assert sampled["failure"] == "the population grew faster than the sampling interval" or sampled[
        "per_agent_bytes"
    ] == pytest.approx(truth, rel=0.3)
    assert found["pympler"]["per_agent_bytes"] < 0.1 * truth, "it stops at object arrays"
    types = {row["type_name"]: row for row in found["pympler"]["types"]}
    assert types["pymdp.legacy.agent.Agent"]["objects"] == 6
    assert types["numpy.ndarray"]["size_bytes"] > 6 * 480_000, "by type it does see the arrays"
    lines, stacks = variant["hotspots"]["lines"], variant["hotspots"]["stacks"]
    assert stacks[0]["operation"] == "build"
    assert lines[0]["path"] == "memprof/models/built_in.py"
    assert lines[0]["bytes_per_agent"] == pytest.approx(400_000, rel=0.01)
    assert lines[0]["text"].startswith("transitions = np.zeros(")
    assert any(line["path"] == "pymdp/legacy/agent.py" for line in lines)
    assert not any(line["path"].startswith(("numpy/", "copy.py")) for line in lines)
    infer = next(o for o in variant["hotspots"]["operations"] if o["operation"] == "infer_states")
    assert infer["peak_bytes"] > 80_000, "a temporary as large as A"
    assert abs(infer["retained_bytes_per_call"]) < 2000
    assert 150 < variant["trend"]["bytes_per_step"] < 450, "prev_actions, and young caches"


def test_the_user_and_pymdp_frames_are_shown_not_numpys():
    spec = replace(load_scenario(SCENARIOS / "factory.yaml").spec(()), agents=4, steps=2)
    request = ReadThrough(spec, instrument="tracemalloc")
    found = run_worker(request, Limits(timeout_seconds=120), lambda mark: None).value
    line, stack = found.details.lines[0], found.details.stacks[0]
    assert line.path == "forager.py"
    assert line.text.startswith("moves = np.zeros(")
    assert stack.operation == "build"
    assert [frame.path for frame in stack.frames] == ["forager.py"]
    assert stack.frames[0].function == "make"


def test_learning_makes_shared_arrays_private_again_and_tuning_the_collector_changes_nothing(
    memprof, scenario
):
    path = scenario(
        model={"kind": "grid_world", "size": 10}, learning=["A", "B", "D"], passes=["share", "gc"]
    )
    run = memprof("profile", path, "-q")
    assert run.code == 0, run.err
    report = run.report()
    assert report["equivalence"]["verdict"] == "exact"
    rows = {r["component"]: r for r in report["variants"]["after"]["ledger"]["rows"]}
    agents = report["variants"]["after"]["ledger"]["agents"]
    for component, size in (("A", 80_000), ("B", 400_000), ("learning (pA, pB, pD)", 480_000)):
        assert rows[component]["private_nominal_bytes"] > agents * size
    assert rows["C"]["private_nominal_bytes"] < agents * 400
    operations = {o["operation"] for o in report["variants"]["after"]["hotspots"]["operations"]}
    assert {"update_A", "update_B", "update_D"} <= operations


AGENTS = {
    "mmp, long horizon": {"inference_algo": "MMP", "inference_horizon": 3, "policy_len": 2},
    "mmp, beliefs kept": {"inference_algo": "MMP", "save_belief_hist": True},
    "beliefs kept": {"save_belief_hist": True},
    "stochastic, full policies": {
        "action_selection": "stochastic",
        "sampling_mode": "full",
        "alpha": 1.0,
        "policy_len": 2,
    },
    "sophisticated": {"sophisticated": True, "si_horizon": 2},
}


@pytest.mark.parametrize("keywords", AGENTS.values(), ids=AGENTS)
def test_every_kind_of_agent_is_shared_exactly(scenario, keywords):
    path = scenario(agent=keywords)
    assert digests_of(path, ("share",), 2, 4) == digests_of(path, (), 2, 4)


def test_private_false_hands_all_agents_the_same_arrays(scenario):
    model = {"kind": "grid_world", "size": 10}
    shared = private_bytes(scenario(model={**model, "private": False}), ())
    assert shared < 3 * 20_000, "not the half megabyte of matrices"
    assert private_bytes(scenario(model=model), ()) > 900_000


def test_an_npz_model_runs(memprof, scenario, tmp_path):
    import numpy as np

    one = {
        "A0": np.eye(100),
        "B0": np.stack([np.eye(100), np.roll(np.eye(100), 1, axis=0)], axis=2),
        "C0": np.arange(100.0),
        "D0": np.full(100, 1 / 100),
    }
    np.savez(tmp_path / "two.npz", **one)
    path = scenario(model={"kind": "npz", "path": "two.npz"})
    assert digests_of(path, ("share",), 4, 3) == digests_of(path, (), 4, 3)
    # Two modalities that depend on one factor each; PyMDP takes them smaller for that.
    other = {
        "A1": np.eye(70),
        "B1": np.eye(70)[:, :, None],
        "C1": np.zeros(70),
        "D1": np.full(70, 1 / 70),
    }
    np.savez(tmp_path / "two.npz", **one, **other)
    path = scenario(model={"kind": "npz", "path": "two.npz"}, agent={"A_factor_list": [[0], [1]]})
    run = memprof("profile", path, "-q", "--passes", "none")
    assert run.code == 0, run.err
    assert digests_of(path, ("share",), 4, 3) == digests_of(path, (), 4, 3)
    np.savez(tmp_path / "two.npz", A0=np.eye(5), B0=np.eye(6)[:, :, None])
    run = memprof("profile", path, "-q")
    assert run.code == 2
    assert "case.yaml:4: model.path: A_factor_list is [[0], [1]]; expected 1 lists" in run.err
    run = memprof("profile", scenario(model={"kind": "npz", "path": "two.npz"}), "-q")
    assert run.code == 2
    assert "case.yaml:4: model.path: A0 has shape (5, 5) and does not fit B" in run.err


def test_a_random_pomdp_with_several_factors_runs(memprof, scenario):
    model = {
        "kind": "random_pomdp",
        "num_obs": [400, 3],
        "num_states": [40, 5],
        "num_controls": [2, 1],
    }
    path = scenario(model=model)
    run = memprof("profile", path, "-q", "--passes", "none")
    assert run.code == 0, run.err
    assert digests_of(path, ("share",), 4, 3) == digests_of(path, (), 4, 3)


FACTORY = """
import numpy as np

def sane():
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0], B[0] = np.eye(200), np.stack([np.eye(200)] * 2, axis=2)
    return {"A": A, "B": B}

def unseeded():
    return sane(), Unseeded()

def lopsided():
    model = sane()
    model["A"][0] = np.eye(200) * 0.7
    return model

def refused():
    return {**sane(), "E": np.ones(199)}

def strange(what):
    return sane(), Strange(what)

def explodes():
    raise ZeroDivisionError("in the user's own code")

class Strange:
    def __init__(self, what):
        self.what = what

    def reset(self):
        return 0

    def step(self, action):
        if self.what == "raises":
            return 1 / 0
        return {"range": 200, "length": (0, 0), "text": "x"}[self.what]

class Unseeded:
    chance = np.random.default_rng()

    def reset(self):
        return int(self.chance.integers(200))

    def step(self, action):
        return self.reset()
"""


@pytest.fixture
def own(scenario, tmp_path, monkeypatch):
    """Write a scenario whose model is one of the functions above."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own.py").write_text(FACTORY)

    def write(function, params=None, **fields):
        model = {"kind": "factory", "callable": f"own:{function}", "params": params or {}}
        return scenario(model=model, **fields)

    yield write
    sys.modules.pop("own", None)


def test_a_factory_runs(memprof, own):
    path = own("sane")
    run = memprof("profile", path, "-q", "--passes", "none")
    assert run.code == 0, run.err
    assert (run.folder / "reports").exists()
    assert digests_of(path, ("share",), 4, 3) == digests_of(path, (), 4, 3)


def test_an_error_in_the_users_own_code_is_shown_with_its_line(memprof, own):
    run = memprof("profile", own("explodes"), "-q", "--passes", "none")
    assert run.code == 2
    assert (
        "case.yaml:4: model.callable: own:explodes failed for agent 0: ZeroDivisionError" in run.err
    )
    assert "ZeroDivisionError: in the user's own code" in run.err
    assert 'own.py", line' in run.err
    assert "memprof/models" not in run.err
    assert not (run.folder / "reports").exists()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("lopsided", "A0 is not normalised"),
        ("refused", "PyMDP's Agent refused its arguments: AssertionError"),
        ("gone", "own has no function 'gone'"),
    ],
)
def test_a_factory_that_is_wrong_is_said_to_be(own, function, words):
    with pytest.raises(ScenarioError, match=re.escape(words)) as caught:
        digests_of(own(function), (), 4, 3)
    assert caught.value.field == "model.callable"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("range", "returned 200; expected one index per modality of A, below 200"),
        ("length", "returned (0, 0)"),
        ("text", "returned 'x'"),
        ("raises", "raised ZeroDivisionError"),
    ],
)
def test_an_environment_that_makes_no_sense_is_named(own, what, words):
    with pytest.raises(ScenarioError) as caught:
        digests_of(own("strange", {"what": what}), (), 4, 3)
    assert caught.value.field == "model.callable"
    assert f"the environment's Strange.step() {words}" in caught.value.problem


def test_what_the_model_does_not_have_cannot_be_learned(own):
    with pytest.raises(ScenarioError, match="D cannot be learned: the model has none") as caught:
        digests_of(own("sane", learning=["D"]), (), 4, 3)
    assert caught.value.field == "learning"


def test_a_population_that_is_not_reproducible_is_not_called_equivalent(memprof, own):
    run = memprof("profile", own("unseeded", repeats=2, passes=["gc"]))
    assert run.code == 0, run.err
    report = run.report()
    assert report["equivalence"]["verdict"] == "not_checked"
    assert "no saving is claimed" in " ".join(run.out.split())
    assert report["passes"][0]["saved_bytes_per_agent"] is None
    assert run.err.count("worker ") == 4, "there is nothing to compare value by value"
