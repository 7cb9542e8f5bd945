"""What it costs to optimise an agent that brings 34 MB of matrices. Alone on the machine."""

import ctypes
from statistics import median
from time import perf_counter

import numpy as np
import pytest

from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from tests.conftest import SCENARIOS

ROUNDS, AGENTS = 5, 12
# A and B of 841 states and 5 actions.
MATRIX_BYTES = 8 * 841 * 841 * 6
# Reading twice what has to be read once would be 2.
ONCE = 1.3


class Times:
    """Seconds of every call, by operation."""

    def __init__(self):
        self.seconds = {}

    def call(self, operation, function, *arguments):
        start = perf_counter()
        result = function(*arguments)
        self.seconds.setdefault(operation, []).append(perf_counter() - start)
        return result


def seconds_to_optimise(name, passes):
    """Median over agents, after the ones that become the template or meet it first."""
    population = NumpyPopulation(
        load_scenario(SCENARIOS / f"{name}.yaml").spec(passes), t := Times()
    )
    try:
        population.grow(AGENTS)
    finally:
        population.close()
    assert len(t.seconds["optimise"]) == len(t.seconds["build"]) == AGENTS
    return median(t.seconds["optimise"][2:])


def seconds_to_compare():
    """C's own comparison of as many bytes as an agent brings: the median of as many times."""
    one = np.random.default_rng(0).random(MATRIX_BYTES // 8)
    other, seconds = one.copy(), []
    memcmp = ctypes.CDLL(None).memcmp
    for _ in range(AGENTS):
        start = perf_counter()
        assert memcmp(*(ctypes.c_void_p(x.ctypes.data) for x in (one, other)), MATRIX_BYTES) == 0
        seconds.append(perf_counter() - start)
    return median(seconds)


@pytest.mark.parametrize(
    "passes", ["share,pool,template", "history,pool,template", "template", "mmap"]
)
def test_optimising_an_agent_of_grid_29_takes_two_milliseconds_at_most(passes):
    """Or little more than to compare its matrices once, where memory is slower than that. Some
    round shows it, since whatever else runs on the machine only ever adds."""
    found, compared, most = [], [], 0.0
    while len(found) < ROUNDS and (not found or min(found) > most):
        found.append(seconds_to_optimise("grid-29", tuple(passes.split(","))))
        compared.append(seconds_to_compare())
        most = max(0.002, ONCE * min(compared))
    print(
        f"{passes}: {min(found) * 1e3:.2f} ms per agent, rounds up to {max(found) * 1e3:.2f} ms; "
        f"comparing its bytes once {min(compared) * 1e3:.2f} ms"
    )
    assert min(found) <= most
