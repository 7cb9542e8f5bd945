"""Populations of nobody that grow, live on and go; the clock runs when somebody is built."""

import os
import signal
import time
import tracemalloc
from array import array
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from memprof.density import worker as density
from memprof.populations import Behaviour, Lived, Population
from memprof.populations.trace import DigestTrace
from memprof.posix import waited_seconds
from memprof.profile import worker as profile
from memprof.profile.resolve import Readings, resolve_anew
from memprof.values.instruments import Reading
from memprof.values.population import EFFORTS, Effort
from memprof.worker import growth

EACH_BYTES, EACH_SECONDS = 1000, 0.5


def all_lived(agents, steps, value=None):
    """Every agent has lived every step, and all it did is the value."""
    did = Behaviour(value, value, value)
    return (Lived(agent, step, did) for step in steps for agent in agents)


class Crowd(Population):
    """A population of nobody, which keeps count of who is there and how long each has lived. It
    takes a while to build one, and none to let it live."""

    rebuilds = compiles = False
    stride = group = 1
    file_bytes, kept_whole = 0, ()
    now = 0.0

    def __init__(self):
        self.first = self.last = 0
        self.had = []

    def __len__(self):
        return self.last - self.first

    def grow(self, agents):
        begin, self.last = self.last, self.first + agents
        self.had += [0] * (self.last - begin)
        self.now += EACH_SECONDS * (self.last - begin)
        return range(begin, self.last)

    def leave(self, agents):
        self.first = agents.stop

    def live(self, agents, steps):
        for agent in agents:
            assert steps.start == self.had[agent], "it goes on where it ended"
            self.had[agent] = steps.stop
        return all_lived(agents, steps)

    def facts(self):
        return None

    def working_set(self):
        return None


@pytest.fixture
def crowd(monkeypatch):
    crowd = Crowd()
    for module in (growth, density):
        monkeypatch.setattr(module, "perf_counter", lambda: crowd.now)
    return crowd


@pytest.fixture
def sweep(crowd, monkeypatch):
    """A sweep of the crowd, with memory for a while."""

    def read():
        return Reading(0, None, None, EACH_BYTES * len(crowd), None)

    gauge = mock.Mock(read=read, begin=read, processes=1)
    gauge.sizes.return_value = {}
    gauge.peak_rss_bytes.return_value = None
    gauge.left_bytes.return_value = 4 * 5 * EACH_BYTES
    gauge.scarce_words.return_value = ""
    spec = SimpleNamespace(steps=2, effort=Effort(resolve_seconds=1000 * EACH_SECONDS))
    return swept(crowd, gauge, spec, (10, 20, 40))


def swept(population, gauge, spec, sizes):
    return density.Sweep(lambda *_: population, gauge, spec, sizes, None, mock.Mock(), mock.Mock())


def test_the_time_to_build_an_agent_is_that_of_the_new_ones_alone(crowd):
    batches = growth.Batches(growth.Growth(crowd, 1), 10, mock.Mock())
    assert list(batches) == [2, 4, 6, 8, 10]
    assert list(batches.build_seconds) == [EACH_SECONDS] * 5
    assert batches.seconds_per_agent() == EACH_SECONDS


class Anew(Crowd):
    """A crowd that is built anew, and compiles, for every size; it notes which."""

    rebuilds = compiles = True

    def __init__(self):
        super().__init__()
        self.sizes = []

    def grow(self, agents):
        self.last, self.had = agents, [0] * agents
        self.sizes.append(agents)
        return range(agents)


class Pairs(Anew):
    """Two of them live in a world, and nothing is compiled."""

    compiles, group = False, 2


def test_a_population_of_pairs_is_read_with_whole_pairs_only():
    batches = growth.Batches(growth.Growth(crowd := Pairs(), 3), 10, mock.Mock())
    assert list(batches) == [10]
    assert len(batches.step_seconds) == 3, "no step compiles"
    assert [*batches.anew(10)] == [10, 4, 6, 4, 10]
    assert [size % 2 for size in crowd.sizes] == [0] * len(crowd.sizes)
    spec = SimpleNamespace(steps=1, effort=EFFORTS["normal"])
    sweep = swept(Pairs(), mock.Mock(), spec, (1, 2, 5, 10))
    assert sweep.sizes == (2, 6, 10)


@pytest.mark.parametrize("agents", [1, 2, 3, 4, 5, 20, 30])
def test_what_is_built_anew_is_first_as_the_user_has_it_and_then_on_no_slope_over_time(agents):
    crowd = Anew()
    batches = growth.Batches(growth.Growth(crowd, 1), agents, mock.Mock())
    assert list(batches) == crowd.sizes == [agents]
    sizes = list(batches.anew(max(4, agents)))
    before = crowd.sizes[1 : -len(sizes)]
    assert {*before} == {*sizes}, "what is compiled for a size is there before it is read"
    assert sizes == sizes[::-1]
    assert len({*sizes}) == 3, "two sizes whose programs differ have a slope, and no scatter"
    assert min(sizes) > 1, "a batch of one has a program of its own"


def test_lives_are_timed_again_where_they_are_short_and_only_those_of_the_scenarios_agents():
    crowd = Anew()
    batches = growth.Batches(growth.Growth(crowd, 3), 20, mock.Mock())
    assert [*batches, *batches.anew(2000)]
    assert (batches.timed, len(batches.step_seconds)) == (1, 2), "but for the step that compiles"
    batches.time_again()
    assert (batches.timed, len(batches.step_seconds)) == (5, 10)
    assert len(batches.build_seconds) == 1, "as the user has it, with what it compiles"


def test_a_factory_that_takes_its_time_is_asked_for_few_agents(crowd, monkeypatch):
    monkeypatch.setattr(Anew, "now", 0.0)
    slow = Anew()
    monkeypatch.setattr(growth, "perf_counter", lambda: slow.now)
    build = slow.grow

    def grow(agents):
        slow.now += EACH_SECONDS * agents
        return build(agents)

    slow.grow = grow
    batches = growth.Batches(growth.Growth(slow, 3), 20, mock.Mock())
    assert list(batches) == [20]
    batches.time_again()
    assert slow.sizes == [20, 20], "once more, to know what it takes without compiling"
    assert batches.seconds_per_life() >= EACH_SECONDS


def test_what_compiling_takes_is_no_time_of_further_agents(monkeypatch):
    """Their first life is no measure of it where it is long, and compiling takes longer."""
    crowd, compiling, living = Anew(), 3.0, 0.2
    monkeypatch.setattr(Crowd, "now", 0.0)
    monkeypatch.setattr(growth, "perf_counter", lambda: crowd.now)

    def grow(agents):
        crowd.now += 0 if agents in crowd.sizes else compiling
        return Anew.grow(crowd, agents)

    def live(agents, steps):
        crowd.now += living
        yield from all_lived(agents, steps)

    crowd.grow, crowd.live = grow, live
    batches = growth.Batches(growth.Growth(crowd, 1), 20, mock.Mock())
    assert list(batches) == [20]
    batches.time_again()
    assert crowd.sizes == [20, 20]
    assert batches.seconds_per_life() == pytest.approx(living / 20)


class Counting(Anew):
    """Agents of a factory with a state of its own: those that are built anew do something else."""

    def live(self, agents, steps):
        yield from all_lived(agents, steps, np.array([len(self.sizes)]))


@pytest.mark.parametrize("most", [0, 20])
def test_behaviour_is_that_of_the_first_life_however_many_follow(most):
    crowd, digests = Counting(), DigestTrace(4, 2)
    batches = growth.Batches(growth.Growth(crowd, 2, digests), 4, mock.Mock())
    assert list(batches) == [4]
    first = digests.per_agent()
    batches.time_again()
    request = SimpleNamespace(most=most, resolve=0)
    resolve_anew(request, EACH_BYTES, batches, Readings(mock.Mock()))
    assert len(crowd.sizes) == 5 + 8
    assert digests.per_agent() == first


def test_a_size_is_the_number_of_agents_that_are_there(crowd):
    batches = growth.Batches(growth.Growth(crowd, 1), 23, mock.Mock())
    assert [(size, len(crowd)) for size in batches] == [(n, n) for n in (4, 9, 13, 18, 23)]


def test_each_agent_lives_on_from_where_it_ended(crowd):
    life = growth.Growth(crowd, 2)
    life.come(4)
    life.live_on(3, 1)
    life.come(6)
    assert crowd.had == [3, 3, 3, 2, 2, 2]
    life.live_on(5, 4)
    life.live_on(6, 1)
    assert crowd.had == [8, 8, 8, 7, 7, 3]


def test_notes_of_a_worker_take_no_memory_as_they_come():
    """Not for a moment: a copy of all of them would move agents to other pages."""
    notes = [Reading(n << 30, None, n, 7, None) for n in range(50)]
    records = growth.Records(Reading, len(notes))
    records.append(notes[0])
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for each in notes[1:]:
            records.append(each)
        for found, each in zip(records, notes, strict=True):
            assert found == each
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 500
    assert peak - before < 4000


def test_agents_that_only_resolve_a_cost_take_a_quarter_of_the_memory_left(sweep):
    """Were it not for that, there is time for a fifth more of them again and again."""
    for size in (10, 20, 40):
        sweep.visit(size, whole_round=False)
    sweep.resolve()
    sizes = [point.agents for point in sweep.run().points]
    assert sizes == [10, 20, 40, 45, 50], "five at a time, until that adds nothing to the line"


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("others", "readings"), [(0.0, 2), (0.999, 12)])
def test_a_busy_machine_leaves_no_fewer_readings_of_a_trend(monkeypatch, others, readings):
    """Rounds of ten seconds are too long for seven, unless others had the processor meanwhile."""
    now = 0.0

    class Slow(Crowd):
        def live(self, agents, steps):
            nonlocal now
            now += 10.0
            return all_lived(agents, steps)

    crowd = Slow()
    batches = growth.Batches(growth.Growth(crowd, 1), 1, mock.Mock())
    assert list(batches) == [1]
    monkeypatch.setattr(profile, "own_seconds", lambda: now - others * now)
    spec = SimpleNamespace(effort=EFFORTS["quick"], steps=1, whole=lambda steps: steps)
    trend = profile._live_on(batches, spec, array("q", [0]) * 12, mock.Mock())
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
        while waited_seconds() == before and time.process_time() - used < 1:
            pass
        assert 0 < waited_seconds() - before <= time.perf_counter() - start
    finally:
        os.sched_setaffinity(0, allowed)
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


@pytest.mark.parametrize(
    ("seconds", "going"), [(3600.0, 5), (2.5 * EACH_SECONDS, 2), (0.5 * EACH_SECONDS, 0)]
)
def test_half_of_the_agents_go_or_as_many_as_others_can_be_built_in_the_time(
    sweep, crowd, seconds, going
):
    sweep.visit(10, whole_round=True)
    assert crowd.had[:10] == [2 + 9] * 10, "the scenario's steps, and as many rounds as may be"
    assert sweep.replace(seconds) == going
    assert sweep.there == range(going, 10 + going)
    assert crowd.had[10:] == [2] * going
