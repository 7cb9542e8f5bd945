"""The time that pass `pool` saves."""

from contextlib import contextmanager
from statistics import median
from time import perf_counter

import pytest

from memprof.instruments import Stopwatch
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from tests.conftest import SCENARIOS


@contextmanager
def living(name, passes, probe):
    """A population of a shipped scenario; PyMDP is as it was afterwards."""
    population = NumpyPopulation(load_scenario(SCENARIOS / f"{name}.yaml").spec(passes), probe)
    try:
        yield population
    finally:
        population.close()


def _live(population, agents, steps):
    for _ in population.live(agents, steps):
        pass


@pytest.mark.parametrize(
    ("name", "rounds", "most"),
    [("grid-29", 10, 0.3), ("grid-5", 100, 0.8), ("t-maze", 15, 0.8), ("factory", 50, 0.8)],
)
def test_steps_are_faster(name, rounds, most):
    """PyMDP's own functions and the pass's take turns on the same agents."""
    seconds = {"own": [], "pool": []}
    with living(name, ("share", "pool"), Stopwatch()) as agents:
        both = agents.grow(2)
        kernels = agents._roster._plan.settings[0]._kernels
        for step in range(2 * rounds):
            kind = ("pool", "own")[step % 2]
            (kernels.remove if kind == "own" else kernels.install)()
            start = perf_counter()
            _live(agents, both, range(step, step + 1))
            seconds[kind].append(perf_counter() - start)
        kernels.install()
    own, pooled = (median(seconds[kind][2:]) for kind in ("own", "pool"))
    assert pooled < most * own
