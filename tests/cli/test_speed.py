"""Start-up: help at once, and a mistake is reported before anything heavy is loaded."""

import subprocess
import sys
import time

import pytest

from tests.conftest import COMMAND

pytestmark = pytest.mark.serial


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


@pytest.mark.parametrize(
    "module", ["memprof.cli.commands", "memprof.reports.leak", "memprof.workflows.profile"]
)
def test_the_parent_loads_no_heavy_library(module):
    code = (
        f"import {module}, sys; "
        "print({'numpy', 'pymdp', 'jax', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
