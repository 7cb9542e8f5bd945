"""Thirty agents, fifty steps each: four threads are no slower than one, and gain no memory.

PyMDP's agents compute in Python for the most part, which one thread at a time can do, so the best
that threads can reach is the speed of one. One run resolves 5 % on an idle machine; where it does
not, further ones add to it.
"""

from statistics import median

import pytest
from msgspec.structs import replace

from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.values.requests import StepInThreads
from tests.conftest import SCENARIOS

_RUNS = 3


@pytest.mark.parametrize(
    ("name", "passes"), [("grid-29", ("history", "pool", "template")), ("grid-10", ())]
)
def test_threads_keep_the_speed_of_one_and_gain_no_memory(name, passes):
    spec = load_scenario(SCENARIOS / f"{name}.yaml").spec(passes)
    request = StepInThreads(replace(spec, agents=30, steps=50), threads=4)
    one, several = [], []
    for _ in range(_RUNS):
        found = run_worker(request, Limits(timeout_seconds=300), lambda mark: None).value
        assert found.operations == 1500
        assert found.after_private_bytes - found.before_private_bytes <= 300_000
        one += found.one_thread_seconds
        several += found.threads_seconds
        if median(several) < 1.05 * median(one):
            return
    pytest.fail(f"{1e6 * median(several):.0f} us in threads, {1e6 * median(one):.0f} in one")
