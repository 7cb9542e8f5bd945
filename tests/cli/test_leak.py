"""`memprof leak` on the command line: what it offers, and what it refuses before measuring."""

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
        (["case.yaml", "--passes", "auto"], "--passes: auto chooses by measuring; `memprof prof"),
        (["none.yaml"], "no such scenario file: none.yaml"),
        (["case.yaml", "--agents", "0"], "--agents: expected greater than"),
        (["--agents", "0"], "--agents: expected greater than"),
        (["--loop", "jit"], "--loop: only the jax backend knows it"),
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
    assert f"case.yaml:{line}: passes: auto chooses by measuring" in run.err
