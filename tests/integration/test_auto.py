"""`memprof profile --passes auto` on real PyMDP agents: what it chooses, in how many workers."""

import re

import pytest


@pytest.mark.usefixtures("whole_imports")
def test_it_chooses_in_one_worker_and_one_for_the_imports(memprof, scenario):
    grid = {"kind": "grid_world", "size": 5, "private": True}
    run = memprof("profile", scenario(model=grid, agents=5, passes="auto", max_slowdown=20))
    assert run.code == 0, run.err
    assert re.findall(r"^worker \d: (.*)$", run.err, re.MULTILINE) == [
        "before, repeat 1 of 1",
        "auto: lean_imports",
        "auto: plan after plan",
    ]
    assert re.findall(r"^worker (\d) of (\d): (.*);", run.err, re.MULTILINE) == [
        ("4", "7", "after, repeat 1 of 1")  # three more would compare what agents do
    ]
    report = run.report()
    assert report["variants"]["after"]["passes"][0] == "lean_imports"
    assert "template" in report["variants"]["after"]["passes"]
    assert report["equivalence"]["verdict"] == "exact"
    found = {each["name"]: each for each in report["passes"]}
    assert found["lean_imports"]["saved_fixed_bytes"] > 50e6
    assert found["template"]["marginal_bytes"] < 1000
    # The same worker's ledger before it: matrices of 25 by 25 by 5 and 25 by 25 doubles.
    assert 30_000 < found["template"]["saved_bytes_per_agent"] < 60_000
    assert found["share"]["detail"] == "not tried: template does that too"


def test_agents_that_learn_alike_are_compared_by_value_where_sums_may_come_in_another_order(
    memprof, scenario
):
    # So many that two kilobytes each are more than a page at either end of the line.
    fields = {"backend": "jax", "steps": 2, "agents": 20, "passes": "auto", "max_slowdown": 1000}
    run = memprof("profile", scenario(**fields), "-q")
    assert run.code == 0, run.err
    report = run.report()
    assert report["equivalence"]["verdict"] in ("exact", "bounded")
    found = {each["name"]: each for each in report["passes"]}
    assert found["template"]["kept"]
    assert {each["outcome"] for each in found.values()}.isdisjoint({"failed", "diverged"})
