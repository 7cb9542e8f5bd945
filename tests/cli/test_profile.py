"""`memprof profile` as a user runs it, on calibration agents that need no PyMDP."""

import contextlib
import json
import os
import pty
import re
import subprocess

import pytest

from tests.conftest import COMMAND


def test_it_prints_and_writes_the_five_parts(memprof, fake):
    path = fake(passes=["fake-share"], instruments=["fake", "tracemalloc", "memory_profiler"])
    run = memprof("profile", path, "--full")
    assert run.code == 0, run.err
    for part in ("Before and after", "Ledger", "Hotspots", "Instruments", "Trend"):
        assert part in run.out
        assert f"## {part}" in (run.folder / "reports" / "case.md").read_text()
    # Three more would compare what agents do, if it differed.
    assert "worker 1 of 9: before, repeat 1 of 1" in run.err
    counts = [tuple(map(int, found)) for found in re.findall(r"worker (\d) of (\d)", run.err)]
    assert [number for number, _ in counts] == [1, 2, 3, 4, 5, 6]
    totals = [total for _, total in counts]
    assert totals == sorted(totals, reverse=True), "no total grows"
    assert "  before: an agent costs 1.05 MB (" in run.err, "said as soon as it is known"
    assert "Written: reports/case.{json,md" in run.out
    report = run.report()
    before, after = report["variants"]["before"], report["variants"]["after"]
    assert before["per_agent"]["marginal_bytes"] == pytest.approx(2**20, rel=0.01)
    assert after["per_agent"]["marginal_bytes"] < 1000
    assert report["equivalence"]["verdict"] == "exact"
    assert (report["equivalence"]["agents"], report["equivalence"]["steps"]) == (4, 3)
    assert report["file"] == str(path)
    (share,) = report["passes"]
    assert share["saved_bytes_per_agent"] == pytest.approx(2**20, rel=0.01)
    by_name = {each["name"]: each for each in before["instruments"]}
    assert by_name["fake"]["per_agent_bytes"] == pytest.approx(1000)
    assert by_name["tracemalloc"]["per_agent_bytes"] == pytest.approx(2**20, rel=0.01)
    assert by_name["memory_profiler"]["blind_to"].startswith("anything between two samples")
    buffer = next(row for row in before["ledger"]["rows"] if row["component"] == "buffer")
    assert buffer["private_resident_bytes"] >= 2**20 * before["ledger"]["agents"]
    assert before["hotspots"]["lines"][0]["path"] == "tests/support/memprof_fake/agents.py"
    assert "bytearray" in before["hotspots"]["lines"][0]["text"]
    stack = before["hotspots"]["stacks"][0]
    assert (stack["operation"], stack["bytes_per_agent"]) == ("build", pytest.approx(2**20, abs=99))
    assert stack["frames"][-1]["function"] == "FakePopulation._buffer"
    found = [[o["operation"] for o in v["hotspots"]["operations"]] for v in (before, after)]
    assert found == [["build", "act"], ["build", "optimise", "act"]]
    build = next(o for o in before["hotspots"]["operations"] if o["operation"] == "build")
    assert build["retained_bytes_per_call"] == pytest.approx(2**20, rel=0.01)
    assert before["timeline"]["samples"]
    imported = before["samples"][0]["imported"]
    of_files = imported["uss_bytes"] - imported["private_bytes"]
    # Read a moment later; meanwhile others that have some of these pages may have come or gone.
    assert before["file_pages_bytes"] == pytest.approx(of_files, rel=0.2)
    assert "of which pages of files" in run.out


def test_growth_per_step_is_measured(memprof, fake):
    run = memprof("profile", fake("4 KiB", model={"growth": 1000}, agents=20), "-q")
    trend = run.report()["variants"]["before"]["trend"]
    # 1,000 bytes, the bytearray around them (its header is 57 bytes), and a place in a list
    assert trend["bytes_per_step"] == pytest.approx(1085, abs=40)
    assert trend["ci95_bytes"][0] > 1000


def test_quiet_is_quiet(memprof, fake):
    run = memprof("profile", fake(), "--quiet", "--json", "deep/er/x.json", "--out", "there")
    assert (run.out, run.err) == ("", "")
    assert json.loads((run.folder / "deep/er/x.json").read_text())["kind"] == "profile"
    assert (run.folder / "there" / "case.md").is_file()


def test_options_override_the_scenario(memprof, fake):
    run = memprof(
        "profile", fake(passes=["fake-share"]), "-q",
        "--agents", 6, "--steps", 2, "--seed", 9, "--repeats", 2, "--passes", "none",
        "--instruments", "fake", "--max-slowdown", 3,
    )  # fmt: skip
    report = run.report()
    scenario = report["scenario"]
    assert [scenario[k] for k in ("agents", "steps", "seed", "repeats")] == [6, 2, 9, 2]
    assert (scenario["passes"], scenario["max_slowdown"]) == ([], 3)
    assert report["variants"]["after"] is None
    assert report["equivalence"]["verdict"] == "not_checked"
    assert report["variants"]["before"]["repeats"] == 2


def test_a_broken_budget_exits_with_1(memprof, fake):
    run = memprof("profile", fake(budget={"per_agent": "1 MB"}))
    assert run.code == 1
    assert "budget.per_agent: expected at most 1.00 MB, found 1.05 MB" in run.err
    assert "Budget: EXCEEDED" in run.out
    assert run.report()["budget"]["kept"] is False


def test_the_budget_is_that_of_the_population_after_the_passes(memprof, fake):
    path = fake(model={"growth": 10_000}, passes=["fake-share"], budget={"per_agent": "50 KB"})
    run = memprof("profile", path, "-q")
    assert run.code == 0, run.err


def test_a_pass_that_changes_behaviour_is_caught_and_saves_nothing(memprof, fake, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = fake(model={"growth": 10_000}, passes=["fake-share", "fake-break"])
    run = memprof("profile", path, TMPDIR=str(temporary))
    assert run.code == 1
    assert list(temporary.iterdir()) == [], "nor is what was compared left behind"
    assert "changed the agents' behaviour (first difference: agent 1, step 0)" in run.err
    assert "agents behave differently, so no saving" in " ".join(run.out.split())
    assert "Reduction" not in run.out
    report = run.report()
    verdict = report["equivalence"]
    assert verdict["verdict"] == "diverged"
    assert verdict["action_agreement"] == pytest.approx(0.75)  # one of four agents differs
    share, broken = report["passes"]
    assert share["saved_bytes_per_agent"] == pytest.approx(2**20, rel=0.01), "it kept its claim"
    assert (broken["outcome"], broken["saved_bytes_per_agent"]) == ("diverged", None)
    assert "passes fake-break changed" in run.err


def test_one_agent_is_enough_and_keeps_its_budget(memprof, fake):
    run = memprof("profile", fake(agents=1, steps=1, budget={"per_agent": "1.1 MB"}), "-q")
    assert run.code == 0, run.err
    cost = run.report()["variants"]["before"]["per_agent"]
    assert cost["marginal_bytes"] == pytest.approx(2**20, rel=0.01)
    assert run.report()["budget"]["kept"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["profile", "none.yaml"], "no such scenario file: none.yaml"),
        (["profile", "case.yaml", "--agents", "-3"], "--agents: expected at least 1"),
        (["profile", "case.yaml", "--passes", "shar"], "unknown pass 'shar'"),
        (["profile", "case.yaml", "--passes", "auto,fake-share"], "--passes: auto chooses"),
        (["profile", "case.yaml", "--passes", "fake-idle"], "--passes: 'fake-idle' needs"),
        (["profile", "case.yaml", "--max-slowdown", "0.9"], "--max-slowdown: expected at least 1"),
        (["profile", "case.yaml", "--max-slowdown", "nan"], "--max-slowdown: expected"),
        (["profile", "case.yaml", "--max-slowdown", "fast"], "--max-slowdown"),
        (["profile", "case.yaml", "--loop", "fast"], "--loop: expected 'jit', 'eager' or"),
        (["profile", "case.yaml", "--loop", "jit"], "--loop: only the jax backend has it"),
        (["profile", "case.yaml", "--chunk", "4"], "--chunk: only the jax backend has it"),
        (["profile", "case.yaml", "--history-steps", "0"], "--history-steps: expected at least 1"),
        (["profile", "case.yaml", "--memory-limit", "lots"], "--memory-limit: expected a size"),
        (["profile", "case.yaml", "--timeout", "0"], "--timeout: expected a number above 0"),
        (["profile", "case.yaml", "--timeout", "nan"], "--timeout: expected a number above 0"),
        (["profile", "case.yaml", "--agents", "many"], "--agents"),
        (["profile", "case.yaml", "--json", "case.yaml/x"], "cannot write case.yaml/x"),
        (["profile", "case.yaml", "--out", "case.yaml"], "cannot write case.yaml/case.json"),
        (["profile"], "SCENARIO"),
        (["prfile"], "prfile"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_starts_no_worker(memprof, fake, arguments, words):
    fake()
    run = memprof(*arguments)
    assert run.code == 2
    assert words in run.err
    assert run.err.count("memprof: ") <= 1
    assert "Traceback" not in run.err
    assert not (run.folder / "reports").exists()


def test_on_a_terminal_progress_names_worker_repeat_and_population_size(fake, tmp_path):
    """Standard error is a terminal here, as it is for most users and for no other test."""
    model = {"growth": 10_000, "delay": 0.01}  # each phase takes long enough to be shown
    path = fake(model=model, steps=20, passes=["fake-share"], repeats=2)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "profile", str(path)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError):  # the terminal closes with the process
        while data := os.read(master, 65536):
            seen += data
    os.close(master)
    assert process.wait() == 0, seen.decode()
    for words in (b"before, repeat 1 of 2: ", b"after, repeat 2 of 2: ", b"step 4 agents", b"1/6"):
        assert words in seen
