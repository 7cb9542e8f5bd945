"""`memprof density` on real PyMDP agents."""

from __future__ import annotations

import pytest

GRID = {"kind": "grid_world", "size": 10}
PLAN = ["history", "pool", "template"]


def sizes(report, variant):
    return [row["agents"] for row in report["density"]["points"] if row["variant"] == variant]


def test_a_sweep_shows_what_the_passes_save_and_gives_it_back(memprof, scenario):
    path = scenario(model=GRID, passes=PLAN, effort="normal")
    run = memprof("density", path, "--max-agents", 40)
    assert run.code == 0, run.err
    report = run.report("case-density")
    assert report["equivalence"]["verdict"] == "exact"
    assert report["equivalence"]["agents"] == 40
    before, after = report["variants"]["before"], report["variants"]["after"]
    assert 400_000 < before["per_agent"]["marginal_bytes"] < 550_000
    assert after["agents_per_gib"] > 100 * before["agents_per_gib"]
    assert sizes(report, "before")[:6] == sizes(report, "after")[:6] == [1, 4, 10, 20, 30, 40]
    for variant in (before, after):
        assert variant["replaced"] > 0
        assert variant["left_bytes"] == pytest.approx(variant["baseline_bytes"], rel=0.05)
        assert variant["step_seconds"] > 0
        assert variant["build_seconds"] > 0
    assert before["optimise_seconds"] is None
    assert 0 < after["optimise_seconds"] < after["build_seconds"]
    for name, capacity in zip(("before", "after"), report["density"]["capacity"], strict=True):
        assert capacity["variant"] == name
        assert capacity["room"]["agents"] <= capacity["room"]["expected"]


def test_what_a_pass_needs_of_the_data_segment_is_promised_and_kept(memprof, scenario):
    """Before the passes, where an agent maps more than it touches: half a megabyte each."""
    path = scenario(model=GRID, passes=[])
    run = memprof("density", path, "--memory-limit", "512MiB", "--max-agents", 100, "--verify")
    assert run.code == 0, run.err
    (capacity,) = run.report("case-density")["density"]["capacity"]
    room, found = capacity["room"], capacity["verification"]
    assert found["ended"] == "memory"
    assert room["agents"] <= found["found"]
    assert found["found"] == pytest.approx(room["expected"], rel=0.05)


def test_the_benchmarks_of_the_predecessor_and_the_working_set(memprof, scenario):
    path = scenario(
        model={"kind": "grid_world", "size": 5}, passes=["template", "working_set"], steps=2
    )
    run = memprof("density", path, "--suite", "--threads", 2, "--working-set", "100 KB", "--full")
    assert run.code == 0, run.err
    report = run.report("case-density")
    assert report["equivalence"]["verdict"] == "exact"
    assert sizes(report, "before")[:3] == [1, 50, 75]
    assert [row["variant"] for row in report["density"]["threads"]] == ["before", "after"]
    for row in report["density"]["threads"]:
        assert (row["agents"], row["steps"], row["threads"]) == (30, 50, 2)
        assert row["threads_per_second"] > 0
        assert row["growth_bytes"] < 300_000
    use = report["variants"]["after"]["working_set"]
    assert use["budget_bytes"] == 100_000
    assert use["hits"] > 0
    assert use["activations"] > 0
    assert use["most_active_bytes"] <= 110_000
    for said in (
        "95.4 MB to 0.02 MB",
        "4,967/s",
        "to optimise an agent",
        "Its agents were mocks",
        "Working set:",
    ):
        assert said in run.out


def test_jax_agents_are_swept_too(memprof, scenario):
    path = scenario(backend="jax", model={"kind": "grid_world", "size": 5}, passes=[])
    run = memprof("density", path, "--max-agents", 3)
    assert run.code == 0, run.err
    report = run.report("case-density")
    assert sizes(report, "before")[:3] == [1, 2, 3]
    assert all(row["steps_per_second"] for row in report["density"]["points"][:3])


UNSEEDED = """
import numpy as np

class Unseeded:
    chance = np.random.default_rng()

    def reset(self):
        return int(self.chance.integers(300))

    def step(self, action):
        return self.reset()

def make():
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0], B[0] = np.eye(300), np.eye(300)[:, :, None]  # large, so their cost is soon known
    return {"A": A, "B": B}, Unseeded()
"""


def test_one_repeat_is_enough_to_know_that_nothing_can_be_compared(memprof, scenario, tmp_path):
    (tmp_path / "own.py").write_text(UNSEEDED)
    path = scenario(model={"kind": "factory", "callable": "own:make"}, passes=["share"])
    run = memprof("density", path, "--max-agents", 3, "--time-limit", 20)
    assert run.code == 0, run.err
    verdict = run.report("case-density")["equivalence"]
    assert verdict["verdict"] == "not_checked"
    assert "is not deterministic: in two runs with the same seed" in verdict["detail"]
    assert "was not checked, so no capacity is claimed" in run.out
