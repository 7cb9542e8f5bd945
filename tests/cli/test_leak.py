"""`memprof leak` on the command line: what it offers, and what it refuses before measuring."""

from pathlib import Path

import pytest


def test_its_help_tells_the_exit_codes_and_defaults(memprof):
    run = memprof("leak", "--help")
    assert run.code == 0
    words = " ".join(run.out.split())
    assert "0 clean; 1 it leaks; 2 the command line or the scenario is wrong" in words
    assert "lifecycle|steps" in words
    assert "[default: 10]" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["case.yaml", "--cycles", "6"], "--cycles: expected 7 or more, found 6; fewer cannot"),
        (["--cycles", "3"], "--cycles: expected 7 or more, found 3"),
        (["case.yaml", "--mode", "foo"], "'foo' is not one of 'lifecycle', 'steps'"),
        (["case.yaml", "--passes", "auto"], "--passes: memprof leak cannot search for passes"),
        (["none.yaml"], "no such scenario file: none.yaml"),
        (["case.yaml", "--agents", "0"], "--agents: expected at least 1"),
        (["--agents", "0"], "--agents: expected at least 1"),
        (["--loop", "jit"], "--loop: only the jax backend has it"),
        (["--memory-limit", "lots"], "--memory-limit: expected a size"),
        (["--timeout", "0"], "--timeout: expected a number above 0"),
        (["--instruments", "fake"], "--instruments"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_starts_no_worker(memprof, fake, arguments, words):
    fake()
    run = memprof("leak", *arguments)
    assert run.code == 2
    assert words in run.err
    assert "Traceback" not in run.err
    assert not (run.folder / "reports").exists()


def test_auto_in_the_scenario_is_refused_at_its_line(memprof, fake):
    run = memprof("leak", fake(passes="auto"))
    assert run.code == 2
    line = (run.folder / "case.yaml").read_text().splitlines().index("passes: auto") + 1
    assert f"case.yaml:{line}: passes: memprof leak cannot search for passes" in run.err


def leak(run, name="case-leak"):
    return run.report(name)["leak"]


def test_a_population_that_comes_and_goes_without_a_trace_is_clean(memprof, fake):
    path = fake(model={"growth": 64}, agents=20, steps=2)
    run = memprof("leak", path, "--mode", "lifecycle", "--full")
    assert run.code == 0, run.err
    found = leak(run, "case-leak-lifecycle")
    assert found["verdict"] == "clean"
    assert found["floor_bytes"] <= 64
    assert found["sites"] == []
    assert "Clean: nothing grows" in run.out
    assert "process is the private memory of the process" in " ".join(run.out.split())
    assert "Written: reports/case-leak-lifecycle.{json,md" in run.out


def test_what_agents_gain_while_they_live_on_is_found_to_the_byte(memprof, fake):
    """A bytearray of 64 bytes per agent and step, in blocks of 64 + 80, and its place in a list."""
    path = fake(model={"growth": 64}, agents=20, steps=2)
    run = memprof("leak", path, "--mode", "steps", "--json", "-")
    assert run.code == 1
    assert run.out.startswith("{")
    found = leak(run, "case-leak-steps")
    assert found["verdict"] == "leak"
    assert found["bytes_per_agent"] == pytest.approx(2 * (64 + 80 + 8), rel=0.1)
    assert found["bytes_per_cycle"] == pytest.approx(20 * found["bytes_per_agent"])
    low, high = found["ci95_bytes"]
    assert low <= found["bytes_per_cycle"] <= high
    objects = next(each for each in found["signals"] if each["name"] == "objects")
    assert objects["per_cycle"] == pytest.approx(2 * 20 * 2)
    assert found["sites"][0]["owner"] == "FakeAgent.gained"
    assert f"{found['repeats']} repeats" not in run.err
    assert "leaks 6." in run.err
    assert "FakeAgent.gained" in run.err


def test_without_a_mode_agents_that_live_on_are_looked_at_too(memprof, fake):
    path = fake(model={"growth": 64}, agents=20, steps=2, repeats=1)
    run = memprof("leak", path, "--full")
    assert run.code == 1
    report = run.report("case-leak")
    assert (report["leak"]["mode"], report["leak"]["verdict"]) == ("steps", "leak")
    assert [(each["mode"], each["verdict"]) for each in report["also"]] == [("lifecycle", "clean")]
    assert report["leak"]["sites"][0]["owner"] == "FakeAgent.gained"
    assert "\nworker 2: sites of the leak\n" in run.err, "how long a search takes is not known"
    assert "Trend, as agents come and go: clean" in run.out
    other = memprof("leak", path, "--mode", "lifecycle", "-q")
    assert other.code == 0
    assert run.report("case-leak") == report, "a report of another question is not replaced"


def test_too_little_time_is_inconclusive_and_says_what_it_saw(memprof, fake):
    path = fake(model={"growth": 64, "delay": 0.12}, agents=10, steps=2)
    run = memprof("leak", path, "--mode", "steps", "--timeout", "12")
    assert run.code == 3
    assert "could not decide whether it leaks" in run.err
    found = leak(run, "case-leak-steps")
    assert found["verdict"] == "inconclusive"
    assert found["cycles_needed"] >= 20
    assert found["signals"][0]["series"][0], "what was read is in the report"


def test_under_a_malloc_without_an_account_nothing_is_clean(memprof, fake):
    """What is not there is a reading that could have seen a native leak."""
    mimalloc = next((str(each) for each in Path("/usr/lib").glob("*/libmimalloc.so.2")), None)
    if mimalloc is None:
        pytest.skip("libmimalloc.so.2 is not installed here")
    run = memprof("leak", fake(repeats=1), LD_PRELOAD=mimalloc)
    assert run.code == 3
    assert "no byte-exact reading of malloc is available here" in run.err
    assert "mimalloc: this process has no such statistics" in run.err
    report = run.report("case-leak")
    assert (report["leak"]["verdict"], report["leak"]["cycles_needed"]) == ("inconclusive", None)
    assert report["environment"]["allocator"]["malloc"] == "mimalloc"
    assert "left_out" in [each["kind"] for each in report["warnings"]]


def test_the_verdict_is_the_same_from_one_repeat(memprof, fake):
    run = memprof("leak", fake(repeats=1), "-q")
    assert run.code == 0
    assert run.out == ""
    report = run.report("case-leak")
    assert [each["mode"] for each in (report["leak"], *report["also"])] == ["lifecycle", "steps"]
    assert report["leak"]["repeats"] == 1
