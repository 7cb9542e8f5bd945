"""`memprof profile` with several passes, and with `auto`, on calibration agents.

Their steps sleep for some milliseconds, so that the time per step means something; they gain some
memory per step, so that one agent's cost is soon resolved.
"""

import json
import re
import signal
import subprocess
import time

import pytest

from tests.conftest import COMMAND

MODEL = {"delay": 0.004, "growth": 100_000}

# A pass that does nothing may be seen at a bad moment of a busy machine.
NOTHING = ("no_effect", "slower")


def by_name(report):
    return {each["name"]: each for each in report["passes"]}


def test_several_passes_are_told_apart(memprof, fake):
    run = memprof(
        "profile", fake(passes=["fake-half", "fake-share", "fake-idle"], model=MODEL), "--full"
    )
    assert run.code == 0, run.err
    report = run.report()
    half, share, idle = report["passes"]
    assert [half["name"], share["name"], idle["name"]] == report["variants"]["after"]["passes"]
    assert half["saved_bytes_per_agent"] == pytest.approx(2**19, rel=0.02)
    assert share["saved_bytes_per_agent"] == pytest.approx(2**19, rel=0.02)
    assert half["marginal_bytes"] == pytest.approx(2**19 + 300_000, rel=0.02)
    assert share["marginal_bytes"] == pytest.approx(300_000, rel=0.05)
    assert idle["saved_bytes_per_agent"] is None
    assert idle["outcome"] == "no_effect"
    assert all(each["kept"] for each in report["passes"])
    assert all(each["ci95_bytes"][0] <= each["marginal_bytes"] for each in report["passes"])
    tried = re.findall(r"worker (\d) of (?:7|4): (fake-half.*);", run.err)
    assert tried == [("3", "fake-half"), ("4", "fake-half + fake-share")]
    assert run.out.index("\nPasses") < run.out.index("\nWarnings") < run.out.index("\nLedger")


def test_auto_keeps_the_smallest_plan_and_says_why_not_the_others(memprof, fake):
    run = memprof("profile", fake(passes="auto", model=MODEL, max_slowdown=2), "--full")
    assert run.code == 0, run.err
    report = run.report()
    assert report["scenario"]["passes"] == ["auto"]
    assert report["variants"]["after"]["passes"] == ["fake-share"]
    assert report["equivalence"]["verdict"] == "exact"
    assert report["complete"]
    found = by_name(report)
    assert found.pop("fake-idle")["outcome"] in NOTHING
    assert {name: each["outcome"] for name, each in found.items()} == {
        "fake-share": "saves",
        "fake-half": "superfluous",
        "fake-slow": "slower",
        "fake-break": "diverged",
        "fake-crash": "failed",
    }
    assert [name for name, each in found.items() if each["kept"]] == ["fake-share"]
    assert "times as long as before (max_slowdown 2)" in found["fake-slow"]["detail"]
    assert found["fake-break"]["saved_bytes_per_agent"] is None
    assert found["fake-half"]["detail"] == "superfluous after fake-share"
    assert "RuntimeError: this pass always fails" in found["fake-crash"]["detail"]
    workers = re.findall(r"^worker (\d)( of 6)?: (.*?)(?:;|$)", run.err, re.MULTILINE)
    assert workers == [
        ("1", "", "before, repeat 1 of 1"),
        ("2", "", "auto: plan after plan"),
        ("3", " of 6", "after, repeat 1 of 1"),  # three more would compare what agents do
    ], "however many plans are tried"
    assert "fake-half: 524 KB less per agent\n" in run.err, "said as soon as it is known"
    assert "left out by auto" in run.out
    assert "with fake-share" in run.out


def test_a_pass_that_ends_the_process_is_left_out_and_the_search_goes_on(memprof, fake):
    run = memprof("profile", fake(passes="auto", model={**MODEL, "fault": "fatal"}, max_slowdown=2))
    assert run.code == 0, run.err
    report = run.report()
    assert report["variants"]["after"]["passes"] == ["fake-share"]
    found = by_name(report)
    assert (found["fake-crash"]["outcome"], found["fake-half"]["outcome"]) == (
        "failed",
        "superfluous",
    )
    assert "the worker was killed (SIGKILL)" in found["fake-crash"]["detail"]
    assert run.err.count("auto: plan after plan") == 2
    assert run.err.count("fake-half: 524 KB less") == 1, "what is known is not tried again"


def test_where_no_pass_helps_the_plan_is_empty(memprof, fake):
    """All agents hold one buffer already: cutting it gives each agent a copy."""
    run = memprof("profile", fake(passes="auto", model={**MODEL, "private": False}))
    assert run.code == 0, run.err
    report = run.report()
    assert report["variants"]["after"]["passes"] == []
    assert report["variants"]["after"]["per_agent"] == report["variants"]["before"]["per_agent"]
    assert report["equivalence"]["verdict"] == "exact"
    found = by_name(report)
    assert found["fake-half"]["outcome"] == found["fake-slow"]["outcome"] == "costs"
    assert found["fake-share"]["outcome"] in NOTHING
    assert not any(each["kept"] for each in report["passes"])
    words = " ".join(run.out.split())
    assert "auto kept no pass: none helps here within its limits" in words
    assert "Reduction" not in run.out


def test_a_bounded_pass_is_held_to_its_bound(memprof, fake):
    run = memprof("profile", fake(passes=["fake-blur"], model=MODEL), "--full")
    assert run.code == 0, run.err
    report = run.report()
    verdict = report["equivalence"]
    assert verdict["verdict"] == "bounded"
    assert verdict["max_abs_belief_error"] == pytest.approx(0.001)
    assert 0 < verdict["max_divergence_nats"] < 1e-4
    assert by_name(report)["fake-blur"]["saved_bytes_per_agent"] == pytest.approx(2**19, rel=0.02)
    assert "may change by up to 0.002" in " ".join(run.out.split())


def test_an_exact_pass_may_not_hide_behind_the_bound_of_another(memprof, fake):
    run = memprof("profile", fake(passes=["fake-blur", "fake-break"], model=MODEL), "-q")
    assert run.code == 1
    assert "passes fake-break changed the agents' behaviour" in run.err
    report = run.report()
    assert report["equivalence"]["verdict"] == "diverged"
    assert by_name(report)["fake-break"]["outcome"] == "diverged"


def test_auto_that_is_interrupted_keeps_what_it_found(fake, tmp_path):
    path = fake(passes="auto", model=MODEL, max_slowdown=2)
    with (tmp_path / "stderr").open("w") as stream:
        process = subprocess.Popen([*COMMAND, "profile", path.name], cwd=tmp_path, stderr=stream)
    deadline = time.monotonic() + 300
    while "fake-half:" not in (tmp_path / "stderr").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    report = json.loads((tmp_path / "reports" / "case.json").read_text())
    assert report["complete"] is False
    assert report["variants"]["before"]["repeats"] == 1
    assert report["variants"]["after"] is None
    (half,) = report["passes"]
    assert half["saved_bytes_per_agent"] == pytest.approx(2**19, rel=0.02)


def test_a_plan_that_could_not_be_measured_breaks_no_budget(memprof, fake):
    run = memprof("profile", fake(passes=["fake-crash"], budget={"per_agent": "1 B"}, repeats=1))
    assert run.code == 3, "the worker failed"
    assert run.report()["budget"] is None
    assert "BROKEN" not in run.out
