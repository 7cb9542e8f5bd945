"""Populations of nobody that grow, under a clock that runs when somebody is built."""

import os
import signal
import time
from array import array
from types import SimpleNamespace
from unittest import mock

import pytest

from memprof.density import living
from memprof.density import worker as density
from memprof.posix import waited_seconds
from memprof.profile import worker as profile
from memprof.values.measurements import Reading
from memprof.values.population import EFFORTS, Effort
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


@pytest.mark.parametrize(("others", "readings"), [(0.0, 2), (0.999, 12)])
def test_a_busy_machine_leaves_no_fewer_readings_of_a_trend(monkeypatch, others, readings):
    """Rounds of ten seconds are too long for seven, unless others had the processor meanwhile."""
    now = 0.0

    class Slow(Crowd):
        def live(self, agents, steps):
            nonlocal now
            now += 10.0
            return iter(())

    crowd = Slow()
    growing = growth.Growth(crowd, 1, 1, mock.Mock())
    assert list(growing.batches()) == [1]
    monkeypatch.setattr(profile, "perf_counter", lambda: now)
    monkeypatch.setattr(profile, "waited_seconds", lambda: others * now)
    trend = profile._live_on(growing, array("q", [0]) * 12, mock.Mock(), EFFORTS["quick"])
    assert len(trend.heap_bytes) == readings


def test_time_without_a_processor_is_known():
    """On one processor with another process, which never rests."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        other = os.fork()
        if other == 0:
            while True:
                pass
        start, before, used = time.perf_counter(), waited_seconds(), time.process_time()
        while time.process_time() - used < 0.05:
            pass
        assert 0 < waited_seconds() - before <= time.perf_counter() - start
    finally:
        os.sched_setaffinity(0, allowed)
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
