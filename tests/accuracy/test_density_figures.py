"""`memprof density` without a scenario: exact, and all memory given back."""

import pytest


def test_the_embedded_default_is_exact_and_gives_all_memory_back(memprof):
    run = memprof("density", "--max-agents", 100, "--repeats", 1)
    assert run.code == 0, run.err
    report = run.report("default-density")
    rows = [row for row in report["density"]["points"] if row["variant"] == "before"]
    assert [row["agents"] for row in rows][:6] == [1, 10, 25, 50, 75, 100]
    assert report["equivalence"]["verdict"] == "exact"
    before, after = report["variants"]["before"], report["variants"]["after"]
    assert after["per_agent"]["resolved"]
    assert after["agents_per_gib"] > 1000 * before["agents_per_gib"]
    for variant in (before, after):
        assert variant["left_bytes"] == pytest.approx(variant["baseline_bytes"], rel=0.05)
