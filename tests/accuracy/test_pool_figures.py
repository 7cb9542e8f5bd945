"""What pass `pool` saves of the transient peak of perception."""

import tracemalloc

from memprof.populations.numpy_agents import NumpyPopulation
from memprof.scenario import load_scenario
from tests.conftest import SCENARIOS


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


def peaks_of(name, passes, first=0):
    """The peaks of two steps, from step `first` on."""
    tracemalloc.start()
    try:
        spec, probe = load_scenario(SCENARIOS / f"{name}.yaml").spec(passes), Peaks()
        population = NumpyPopulation(spec, probe)
        agent = population.grow(1)
        for _ in population.live(agent, range(first)):
            pass
        probe.bytes.clear()
        for _ in population.live(agent, range(first, first + 2)):
            pass
        population.close()
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
