"""Populations of nobody that grow, under a clock that runs when somebody is built."""

from types import SimpleNamespace
from unittest import mock

import pytest

from memprof.density import living
from memprof.density import worker as density
from memprof.values.measurements import Reading
from memprof.values.population import Effort
from memprof.worker import growth
from tests.unit.test_living import Crowd

EACH_BYTES, EACH_SECONDS = 1000, 0.5


class Timed(Crowd):
    """Takes a while to build an agent, and none to let it live."""

    file_bytes, kept_whole = 0, ()
    now = 0.0

    def grow(self, agents):
        new = super().grow(agents)
        self.now += EACH_SECONDS * len(new)
        return new

    def facts(self):
        return None

    def working_set(self):
        return None


@pytest.fixture
def crowd(monkeypatch):
    crowd = Timed()
    for module in (growth, living, density):
        monkeypatch.setattr(module, "perf_counter", lambda: crowd.now)
    return crowd


def test_the_time_to_build_an_agent_is_that_of_the_new_ones_alone(crowd):
    growing = growth.Growth(crowd, 10, 1, mock.Mock())
    assert list(growing.batches()) == [2, 4, 6, 8, 10]
    assert list(growing.build_seconds) == [EACH_SECONDS] * 5
    assert growing.seconds_per_agent() == EACH_SECONDS


def test_agents_that_only_resolve_a_cost_take_a_quarter_of_the_memory_left(crowd, monkeypatch):
    """Were it not for that, there is time for a fifth more of them again and again."""

    def read():
        return Reading(0, None, None, EACH_BYTES * len(crowd), None)

    process = mock.Mock(**{"status.return_value": {}, "peak_rss_bytes.return_value": None})
    process.read = read
    monkeypatch.setattr(density, "process", process)
    monkeypatch.setattr(density, "heap", mock.Mock())
    monkeypatch.setattr(density, "left_bytes", lambda: 4 * 5 * EACH_BYTES)
    monkeypatch.setattr(density, "scarce", lambda share: False)
    spec = SimpleNamespace(steps=1, effort=Effort(resolve_seconds=1000 * EACH_SECONDS))
    sweep = density.Sweep(lambda *_: crowd, spec, (10, 20, 40), None, mock.Mock())
    for size in (10, 20, 40):
        sweep.visit(size, whole_round=False)
    sweep.resolve()
    sizes = [point.agents for point in sweep.run().points]
    assert sizes == [10, 20, 40, 45, 50], "five at a time, until that adds nothing to the line"
