"""What the workers of a measurement make of their time."""

import pytest

from tests.bench import compare
from tests.conftest import SCENARIOS


def test_the_clean_worker_slows_no_step_by_more_than_5_percent():
    assert compare("grid-10")["ratio"] == pytest.approx(1, abs=0.05)


def test_the_trend_is_of_the_scenarios_agents_and_of_more_where_they_are_quick(memprof):
    one_clean_run = ("--repeats", 1, "--instruments", "none", "--passes", "none")
    report = memprof("profile", SCENARIOS / "grid-5.yaml", *one_clean_run).report("grid-5")
    scenario = report["scenario"]["agents"]
    (sample,) = report["variants"]["before"]["samples"]
    there = max(point["agents"] for point in sample["points"])
    assert scenario < sample["trend"]["agents"] <= there
    assert len(sample["trend"]["heap_bytes"]) == 12


def test_instruments_slow_steps_as_far_as_they_have_to(memprof):
    run = memprof(
        "profile", SCENARIOS / "grid-10.yaml", "-q", "--agents", 6, "--steps", 6,
        "--passes", "none",
    )  # fmt: skip
    variant = run.report("grid-10")["variants"]["before"]
    slowdown = {each["name"]: each["slowdown"] for each in variant["instruments"]}
    assert slowdown["tracemalloc"] > 1.5
    assert slowdown["memory_profiler"] < 1.3
