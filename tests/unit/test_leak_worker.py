"""The leak worker's way from mode to mode, and the lines that its sites name; in this process."""

import tracemalloc
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from memprof.leak import worker
from memprof.leak.worker import Cycles, bounded
from memprof.populations import Population
from memprof.scenario import load_default
from memprof.values.instruments import UNSEEN
from memprof.values.leak import LeakRun, cycle_steps
from memprof.values.population import EpisodeSpec

SPEC = load_default("leak").spec(("policies", "history"))


class Life:
    """Cycles in which nothing happens, but what is asked for."""

    def __init__(self, error=None):
        self.error, self.lived, self.facts = error, 0, {}

    def records_bytes(self):
        return 0

    def run(self):
        self.lived += 1
        if self.error is not None:
            raise self.error

    def close(self):
        pass


class Channel:
    """Keeps the parts."""

    def __init__(self):
        self.parts = []

    def progress(self, label, agents=0):
        pass

    def part(self, value):
        self.parts.append(value)


pytestmark = pytest.mark.usefixtures("frozen")  # between cycles all garbage is collected


@pytest.fixture
def says(monkeypatch):
    """Let the first mode have this verdict."""

    def say(verdict):
        monkeypatch.setattr(worker, "verdict_on", lambda *_: SimpleNamespace(verdict=verdict))

    return say


def looked_at(*lives) -> tuple[LeakRun, Channel]:
    channel = Channel()
    modes = dict(zip(("lifecycle", "steps"), lives, strict=True))
    # No time is left after the fewest cycles.
    return worker.leak(modes, SPEC, 7, 0.0, channel), channel


def test_the_second_mode_is_looked_at_as_long_as_the_first_found_nothing(says):
    says("clean")
    found, channel = looked_at(Life(), Life())
    assert list(found.runs) == ["lifecycle", "steps"]
    assert [list(each.runs) for each in channel.parts] == [["lifecycle"], ["lifecycle", "steps"]]
    says("leak")
    second = Life()
    found, _ = looked_at(Life(), second)
    assert (list(found.runs), second.lived, found.refused) == (["lifecycle"], 0, "")


def test_agents_that_cannot_live_on_leave_the_first_mode_as_it_is(says):
    says("inconclusive")
    found, _ = looked_at(Life(), Life(IndexError("the data ends")))
    assert (list(found.runs), found.refused) == (["lifecycle"], "IndexError: the data ends")
    with pytest.raises(IndexError, match="ends"):
        looked_at(Life(IndexError("the data ends")), Life())
    says("clean")
    with pytest.raises(MemoryError):  # which may be the leak
        looked_at(Life(), Life(MemoryError()))


def test_a_reading_that_the_population_ends_is_left_out_by_name(says):
    """tracemalloc takes the place of Python's allocator, which then gives no account."""
    says("clean")

    class Traced(Life):
        def run(self):
            super().run()
            if self.lived == 2:
                tracemalloc.start(1)

    try:
        found, _ = looked_at(Traced(), Life())
    finally:
        tracemalloc.stop()
    first, second = (each.calibration for each in found.runs.values())
    assert first.left_out == {"python": "there have been no such statistics since cycle 2"}
    assert (first.unseen, second.unseen) == ((UNSEEN["python"],), ())


def test_only_agents_that_live_on_have_their_histories_bounded():
    assert bounded(SPEC, "lifecycle", 16) == SPEC
    assert bounded(SPEC, "steps", None) == SPEC
    expected = replace(SPEC, passes=("history", "policies"), options={"history_steps": 16})
    assert bounded(SPEC, "steps", 16) == expected


def test_agents_that_live_on_have_whole_episodes_in_a_cycle():
    spec = replace(SPEC, steps=50, episodes=EpisodeSpec(20))
    assert (cycle_steps(spec, "lifecycle"), cycle_steps(spec, "steps")) == (50, 60)
    assert cycle_steps(replace(spec, episodes=None), "steps") == 50
    lived = []

    class Lives(Population):
        def __init__(self, spec, probe):
            pass

        def grow(self, agents):
            return range(agents)

        def live(self, agents, steps):
            lived.extend(steps)
            return iter(())

    life = Cycles(Lives, spec, "steps")
    life.run(3)
    assert lived == [*range(180)]
