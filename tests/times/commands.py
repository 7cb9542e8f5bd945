"""What is to be there at once, or soon."""

import subprocess
import sys
import time

from tests.conftest import COMMAND


def best_of(runs, *arguments, cwd=None):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, check=False)
        times.append(time.perf_counter() - start)
    return min(times)


def test_help_takes_less_than_three_tenths_of_a_second():
    assert best_of(5, "--help") < 0.3


def test_a_scenario_mistake_is_reported_within_a_second(scenario):
    assert best_of(3, "profile", scenario(agent={"polcy_len": 1})) < 1.0


def test_the_default_density_is_done_within_a_minute(memprof):
    assert memprof("density", "--max-agents", 100, timeout=60).code == 0


def test_the_default_leak_check_has_a_verdict_in_30_seconds(memprof):
    """In one mode; both take 1.7 times as long, see docs/leaks.md."""
    assert memprof("leak", "--mode", "lifecycle", timeout=30).code == 0


def test_a_run_of_pytest_that_does_not_use_the_plugin_pays_less_than_ten_milliseconds():
    """On top of pytest's own imports."""
    importing = [sys.executable, "-X", "importtime", "-c", "import pytest, memprof.pytest_plugin"]
    microseconds = []
    for _ in range(3):
        done = subprocess.run(importing, capture_output=True, text=True, check=True)
        (line,) = [each for each in done.stderr.splitlines() if each.endswith("pytest_plugin")]
        microseconds.append(int(line.split("|")[1]))
    assert min(microseconds) < 10_000
