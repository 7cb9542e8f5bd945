"""The figures that memprof stands for, against known truth.

Most are of memory, each process's own, which no other process changes.
"""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import COMMAND, SCENARIOS, assert_ledger_adds_up


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """The report of `memprof profile SCENARIO OPTIONS`."""

    def run(path: Path, *options: object):
        folder = tmp_path_factory.mktemp("profile")
        done = subprocess.run(
            [*COMMAND, "profile", str(path), "-q", "--out", str(folder), *map(str, options)],
            capture_output=True,
            text=True,
            check=False,
        )
        over_budget = "budget.per_agent" in done.stderr  # as it is without the passes
        assert done.returncode == over_budget, done.stderr
        return json.loads(next(folder.glob("*.json")).read_text())

    return run


ONE_CLEAN_RUN = ("--repeats", 1, "--instruments", "none")
RUNS = {
    "grid-29": ("--agents", 8, "--steps", 4, "--passes", "template"),
    "grid-5": (),
    "grid-29, again": ("--agents", 8, "--steps", 2, "--passes", "none", "--effort", "quick"),
    "grid-5, again": ("--passes", "none", "--effort", "quick"),
}


@pytest.fixture(scope="module")
def reports(profile):
    """Two commands at a time: what is asked of these is memory, each process's own."""

    def run(name, options):
        path = SCENARIOS / f"{name.partition(',')[0]}.yaml"
        return profile(path, *ONE_CLEAN_RUN, *options)

    with ThreadPoolExecutor(2) as crew:
        return dict(zip(RUNS, crew.map(run, RUNS, RUNS.values()), strict=True))


@pytest.fixture
def grid_29(reports):
    return reports["grid-29"]


@pytest.fixture
def grid_5(reports):
    return reports["grid-5"]


def marginal(report, variant="before"):
    return report["variants"][variant]["per_agent"]["marginal_bytes"]


@pytest.mark.parametrize(
    ("size", "truth", "tolerance"),
    [("1 MiB", 2**20, 0.01), ("64 KiB", 2**16, 0.03), ("4 KiB", 2**12, 0.10)],
)
def test_a_population_of_known_size_is_measured_right(profile, fake, size, truth, tolerance):
    report = profile(fake(size, agents=20, steps=20, repeats=2))
    cost = report["variants"]["before"]["per_agent"]
    assert cost["marginal_bytes"] == pytest.approx(truth, rel=tolerance)
    assert cost["resolved"]


def test_the_ledger_explains_the_growth_and_adds_up(grid_29, grid_5):
    for report, least in ((grid_29, 0.95), (grid_5, 0.80)):
        for variant in report["variants"].values():
            assert_ledger_adds_up(variant["ledger"], least, report["scenario"]["name"])


def test_two_runs_agree(reports):
    for name, tolerance in (("grid-29", 0.02), ("grid-5", 0.10)):
        first, second = marginal(reports[name]), marginal(reports[f"{name}, again"])
        assert second == pytest.approx(first, rel=tolerance)


def test_template_brings_grid_29_to_a_few_hundred_bytes_and_behaves_exactly(grid_29):
    """`make figures` holds it to 512 bytes; some fifty agents resolve it to 2 KB only."""
    assert marginal(grid_29) == pytest.approx(31.5e6, rel=0.1)
    assert marginal(grid_29, "after") < 2048
    assert grid_29["variants"]["after"]["ledger"]["typical_agent_bytes"] < 256
    assert grid_29["equivalence"]["verdict"] == "exact"
    assert (grid_29["equivalence"]["agents"], grid_29["equivalence"]["steps"]) == (8, 4)


def test_growth_per_step_is_the_action_that_pymdp_keeps(grid_5):
    """prev_actions gains an array of one float (96 + 16 + 32 + 32 bytes of blocks) and a slot."""
    trend = grid_5["variants"]["before"]["trend"]
    assert trend["bytes_per_step"] == pytest.approx(170, abs=15)
