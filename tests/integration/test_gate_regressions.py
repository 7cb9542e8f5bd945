"""`memprof gate` on real PyMDP agents: each planted regression is caught, and named."""

import pytest

from tests.conftest import ROOT, run_command

REGRESSIONS = ROOT / "tests" / "regressions"
TEAM, SHARED = REGRESSIONS / "team.yaml", REGRESSIONS / "shared.yaml"
AGENTS = 16  # one page more or less is 5 % of what the smallest change takes
SIZE = ("--agents", str(AGENTS), "--steps", "5", "--effort", "quick")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """The team's agents as they were, with the pass and without: of three workers each, so that
    a single one tells a change of them."""
    folder = tmp_path_factory.mktemp("gate")
    run = run_command(
        folder, "gate", TEAM, SHARED, "--baseline", "baseline.json", "--update", "--repeats", 3,
        *SIZE, "-q",
    )  # fmt: skip
    assert run.code == 0, run.err
    return folder / "baseline.json"


@pytest.fixture
def gate(memprof, baseline):
    def run(plant, scenario=TEAM):
        repeats = ("--repeats", 1, "--max-repeats", 1 if plant else 9)
        clock = ("--tolerance", "step_ratio=500%")  # the machine may be busy
        return memprof(
            "gate", scenario, "--baseline", baseline, *SIZE, *repeats, *clock, PLANT=plant
        )

    return run


def metrics(run):
    (found,) = run.report("gate")["scenarios"]
    return found, {each["metric"]: each for each in found["metrics"]}


def test_nothing_has_changed(gate):
    run = gate("", SHARED)
    assert run.code == 0, run.err
    found, each = metrics(run)
    assert {one["verdict"] for one in each.values()} == {"same"}
    assert found["components"] == []
    assert "No metric changed" in run.out


def test_an_attribute_that_copies_A(gate):
    run = gate("copy")
    assert run.code == 1
    found, each = metrics(run)
    # A of a 5 x 5 grid: 25 observations of 25 states.
    assert each["marginal_bytes"]["change"] == pytest.approx(25 * 25 * 8, rel=0.1)
    assert found["components"][0]["component"] == "Explorer.likelihood"
    assert "Explorer.likelihood: +" in run.err
    assert "private per agent" in run.err


def test_policies_as_lists_of_floats(gate):
    run = gate("policies", SHARED)
    assert run.code == 1
    found, each = metrics(run)
    assert each["marginal_bytes"]["verdict"] == "worse"
    assert found["components"][0]["component"] == "policies"
    assert "policies: +" in run.err


def test_a_history_that_is_never_cut(gate):
    run = gate("history")
    assert run.code == 1
    found, each = metrics(run)
    # An array of 8 numbers: 64 bytes, its object of 112, its place in a list, the allocator's own.
    assert each["growth_bytes_per_step"]["change"] == pytest.approx(64 + 112 + 8 + 16, rel=0.15)
    assert found["components"][0]["component"] == "Explorer.seen"
    assert "growth_bytes_per_step worse" in run.err


def test_a_pass_that_stops_applying(gate):
    run = gate("pass_stops", SHARED)
    assert run.code == 1
    found, each = metrics(run)
    assert each["marginal_bytes"]["verdict"] == "worse"
    assert found["components"][0]["component"] == "B"
    assert [one["name"] for one in found["passes"]] == ["share"]
    assert found["passes"][0]["now_bytes"] is None
    # B of a 5 x 5 grid and 5 actions; the first agent has its own in common with its world.
    private = 25 * 25 * 5 * 8 * (AGENTS - 1) / AGENTS
    assert found["components"][0]["private_bytes"] == pytest.approx(private, rel=0.02)
    assert "B: +" in run.err
    assert "saves nothing now" in run.err


def test_a_pass_that_changes_one_action(gate):
    run = gate("pass_errs", SHARED)
    assert run.code == 1
    _, each = metrics(run)
    worse = [name for name, one in each.items() if one["verdict"] == "worse"]
    assert worse == ["equivalence"]
    assert "diverged now with share: first difference: agent 3, step 3" in run.err
