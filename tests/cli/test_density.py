"""`memprof density` as users run it, on agents of known size that need no PyMDP."""

from __future__ import annotations

import json

import pytest

MIB = 2**20


def rows(report, variant="before"):
    return [row for row in report["density"]["points"] if row["variant"] == variant]


def test_a_sweep_finds_what_an_agent_costs_and_how_many_fit(memprof, fake):
    run = memprof("density", fake("2 MiB", passes=["fake-share"]), "--max-agents", 40, "--full")
    assert run.code == 0, run.err
    report = run.report("case-density")
    assert (report["schema"], report["kind"]) == ("memprof.report/2", "density")
    before, after = report["variants"]["before"], report["variants"]["after"]
    assert before["per_agent"]["marginal_bytes"] == pytest.approx(2 * MIB, rel=0.02)
    assert before["agents_per_gib"] == pytest.approx(512, rel=0.02)
    assert after["agents_per_gib"] > 100 * before["agents_per_gib"]
    assert [row["agents"] for row in rows(report)][:6] == [1, 4, 10, 20, 30, 40]
    assert all(
        row["marginal_bytes"] == pytest.approx(2 * MIB, rel=0.05) for row in rows(report)[1:]
    )
    capacity = {each["variant"]: each for each in report["density"]["capacity"]}
    room = capacity["before"]["room"]
    assert room["bound"] in ("machine", "cgroup", "RLIMIT_DATA")
    assert room["agents"] == pytest.approx(room["limit_bytes"] / (2 * MIB), rel=0.1)
    assert report["equivalence"]["verdict"] == "exact"
    for said in ("agents fit in", "with fake-share", "speed, after", "● before, ○ after"):
        assert said in run.out
    assert (run.folder / "reports" / "case-density.md").read_text().startswith("# case: up to")


def test_a_capacity_is_proved_under_the_limit(memprof, fake):
    run = memprof(
        "density", fake("4 MiB"), "--memory-limit", "1GiB", "--max-agents", 20, "--verify"
    )
    assert run.code == 0, run.err
    (capacity,) = run.report("case-density")["density"]["capacity"]
    found, room = capacity["verification"], capacity["room"]
    assert room["bound"] == "--memory-limit"
    assert found["ended"] == "memory"
    assert room["agents"] <= found["found"] <= 1.05 * room["agents"]
    assert "agents fit in 1 GiB" in run.out
    assert "Verified, before:" in run.out


def test_meeting_the_limit_is_a_result(memprof, fake):
    run = memprof("density", fake("8 MiB"), "--memory-limit", "700 MB", "--max-agents", 1000)
    assert run.code == 0, run.err
    report = run.report("case-density")
    variant = report["variants"]["before"]
    assert variant["ended"] == "memory"
    assert 20 < variant["lived"] < 700 / 8
    assert [each["kind"] for each in report["warnings"]] == ["memory_limit"]
    assert max(row["agents"] for row in rows(report)) <= variant["lived"]
    assert report["complete"]


def test_the_time_limit_ends_the_sweep_with_what_it_has(memprof, fake):
    path = fake("64 KiB", model={"delay": 0.05}, steps=1)
    run = memprof("density", path, "--max-agents", 200, "--time-limit", 5)
    assert run.code == 0, run.err
    report = run.report("case-density")
    assert report["variants"]["before"]["ended"] == "time"
    assert [each["kind"] for each in report["warnings"]] == ["time_limit"]
    assert 1 < max(row["agents"] for row in rows(report)) < 200


def test_more_agents_live_at_once_with_the_passes(memprof, fake):
    run = memprof(
        "density",
        fake("1 MiB", passes=["fake-share"]),
        "--max-agents",
        10,
        "--agents",
        500,
        "--full",
    )
    assert run.code == 0, run.err
    report = run.report("case-density")
    assert rows(report)[-1]["agents"] < 100
    assert 500 in [row["agents"] for row in rows(report, "after")]
    last = next(row for row in rows(report, "after") if row["agents"] == 500)
    assert last["stepped"] == 500, "every agent steps once more among all the others"
    assert "against agents, after" in run.out


def test_a_pass_that_changes_behaviour_claims_no_capacity(memprof, fake):
    run = memprof("density", fake(passes=["fake-break"]), "--max-agents", 4)
    assert run.code == 1
    assert "changed the agents' behaviour" in run.err
    assert "so no capacity is claimed" in run.out
    assert run.report("case-density")["equivalence"]["verdict"] == "diverged"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-agents", "1"], "--max-agents: expected 2 to"),
        (["--agents", "0"], "--agents: expected 1 to"),
        (["--verify"], "--verify: needs a limit to verify against; add --memory-limit"),
        (["--memory-limit", "lots"], "--memory-limit: expected a size"),
        (["--time-limit", "0"], "--time-limit: expected a number above 0"),
        (["--passes", "nonsense"], "unknown pass 'nonsense'"),
    ],
)
def test_a_wrong_command_line_says_what_to_do(memprof, fake, arguments, said):
    run = memprof("density", fake(), *arguments)
    assert run.code == 2
    assert said in run.err
    assert not (run.folder / "reports").exists()


def test_threads_are_for_numpy_agents(memprof, scenario):
    run = memprof("density", scenario(backend="jax"), "--threads", 2)
    assert run.code == 2
    assert "--threads: is for backend numpy" in run.err


def test_a_budget_is_judged_here_too(memprof, fake):
    run = memprof("density", fake("1 MiB", budget={"per_agent": "1 KB"}), "--max-agents", 8)
    assert run.code == 1
    assert "budget.per_agent: expected at most 1.00 KB, found 1.05 MB" in run.err
    assert "Budget: EXCEEDED" in run.out
    assert run.report("case-density")["budget"]["kept"] is False


def test_where_too_few_fit_it_is_said_what_was_measured(memprof, fake):
    limits = ("--max-agents", 10, "--memory-limit", "400 MB")
    run = memprof("density", fake("100 MiB"), *limits, "--json", "-", "--quiet")
    assert (run.code, run.err) == (0, "")
    report = json.loads(run.out)  # which is all that is there
    assert [each["kind"] for each in report["warnings"]] == [
        "memory_limit",
        "measured_without_limit",
    ]
    assert report["variants"]["before"]["lived"] < 4
    assert report["density"]["capacity"][0]["room"]["agents"] <= 3
