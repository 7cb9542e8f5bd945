"""What pass `pool` saves: the transient peak of perception, and time. Alone on the machine."""

import tracemalloc
from contextlib import contextmanager
from statistics import median
from time import perf_counter

import pytest

from memprof.instruments.base import Stopwatch
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario_file import load_scenario
from tests.conftest import SCENARIOS

pytestmark = pytest.mark.serial


class Peaks:
    """The largest transient allocation of each operation."""

    def __init__(self):
        self.bytes = {}

    def call(self, operation, function, *arguments):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = function(*arguments)
        peak = tracemalloc.get_traced_memory()[1] - before
        self.bytes[operation] = max(peak, self.bytes.get(operation, 0))
        return result


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


def peaks_of(name, passes, first=0):
    """The peaks of two steps, from step `first` on."""
    tracemalloc.start()
    try:
        with living(name, passes, probe := Peaks()) as agents:
            agent = agents.grow(1)
            _live(agents, agent, range(first))
            probe.bytes.clear()
            _live(agents, agent, range(first, first + 2))
            return probe.bytes
    finally:
        tracemalloc.stop()


def test_perception_and_learning_need_no_temporary_as_large_as_a_matrix():
    matrix = 841 * 841 * 8
    assert peaks_of("grid-29", ("share",))["infer_states"] > matrix
    assert peaks_of("grid-29", ("share", "pool"))["infer_states"] < 200_000
    own, pooled = (
        peaks_of("learning-29", passes, first=2)["update_B"]
        for passes in (("share",), ("share", "pool"))
    )
    assert pooled < own - 1.8 * matrix
    assert pooled < 5.1 * matrix, "little more than the new prior, which stays"


@pytest.mark.parametrize(
    ("name", "rounds", "most"),
    [("grid-29", 10, 0.3), ("grid-5", 100, 0.8), ("t-maze", 15, 0.8), ("factory", 50, 0.8)],
)
def test_steps_are_faster(name, rounds, most):
    """PyMDP's own functions and the pass's take turns on the same agents."""
    seconds = {"own": [], "pool": []}
    with living(name, ("share", "pool"), Stopwatch()) as agents:
        both = agents.grow(2)
        kernels = agents._roster._plan.passes[1]._kernels
        for step in range(2 * rounds):
            kind = ("pool", "own")[step % 2]
            (kernels.remove if kind == "own" else kernels.install)()
            start = perf_counter()
            _live(agents, both, range(step, step + 1))
            seconds[kind].append(perf_counter() - start)
        kernels.install()
    own, pooled = (median(seconds[kind][2:]) for kind in ("own", "pool"))
    assert pooled < most * own
