"""The pass `gc` on plain objects: what it changes in the process, and that it puts it back."""

import gc
import itertools

import pytest

from memprof.instruments import process
from memprof.optimise import settings
from memprof.optimise.settings import GcTuning


class Agent:
    def __init__(self):
        self.beliefs = [[0.5], [0.5]]


@pytest.fixture(autouse=True)
def untouched():
    """The collector as it was found, which every test has to leave behind."""
    gc.collect()
    before = gc.get_threshold(), list(gc.callbacks)
    frozen = gc.get_freeze_count()  # CPython 3.12 itself starts with some
    yield
    assert (gc.get_threshold(), list(gc.callbacks)) == before
    assert gc.get_freeze_count() <= frozen


@pytest.fixture
def tuned():
    each = GcTuning()
    each.install()
    yield each
    each.close()


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves."""
    now = [0.0]
    monkeypatch.setattr(settings, "perf_counter", lambda: now[0])
    return now


def use(each, agent):
    each.built()
    each.resume()
    each.pause()


def collect_for(seconds, clock):
    """Eight collections of so many seconds each."""

    def pause(phase, info):
        clock[0] += seconds if phase == "stop" else 0

    gc.callbacks.insert(0, pause)
    for _ in range(8):
        gc.collect(0)
    gc.callbacks.remove(pause)


def test_an_agent_in_use_is_no_longer_walked_but_what_it_makes_is(tuned):
    agent = Agent()
    use(tuned, agent)
    agent.history = [[1.0]]
    walked = {id(each) for each in gc.get_objects()}
    assert id(agent.beliefs) not in walked
    assert id(agent.history) in walked


def test_agents_that_are_built_later_are_set_aside_too(tuned):
    first, second = Agent(), Agent()
    use(tuned, first)
    use(tuned, second)
    assert id(second.beliefs) not in {id(each) for each in gc.get_objects()}


def test_garbage_is_not_frozen(tuned):
    ring = [Ring()]
    ring[0].me = ring[0]
    ring.clear()
    assert Ring.alive == 1
    use(tuned, Agent())
    assert Ring.alive == 0


def test_thresholds_double_while_collections_take_too_long_up_to_a_cap(tuned, clock):
    young, *older = gc.get_threshold()
    agent = Agent()
    use(tuned, agent)
    seen = []
    for _ in range(8):
        tuned.resume()
        clock[0] += 10
        collect_for(0.02, clock)  # 0.16 s of 10.16 s
        tuned.pause()
        seen.append(gc.get_threshold())
    assert seen[0] == (2 * young, *older)
    assert seen[-1] == seen[-2] == (20_000, *older)


def test_thresholds_stay_where_collections_take_less_than_their_share(tuned, clock):
    before = gc.get_threshold()
    agent = Agent()
    use(tuned, agent)
    collect_for(5, clock)  # nobody waits for these: no agent is in use
    for _ in range(5):
        tuned.resume()
        clock[0] += 10
        collect_for(0.01, clock)  # 0.08 s of 10.08 s
        tuned.pause()
    assert gc.get_threshold() == before


def test_thresholds_above_the_cap_are_not_lowered(clock):
    before = gc.get_threshold()
    gc.set_threshold(50_000, 5, 5)
    each, agent = GcTuning(), Agent()
    use(each, agent)
    each.resume()
    collect_for(1, clock)
    each.pause()
    assert gc.get_threshold() == (50_000, 5, 5)
    each.close()
    gc.set_threshold(*before)


class Ring:
    """Garbage that only the collector can free."""

    alive = 0

    def __init__(self):
        self.me = self
        type(self).alive += 1

    def __del__(self):
        type(self).alive -= 1


def test_garbage_does_not_pile_up_even_at_the_cap(tuned, clock):
    agent = Agent()
    use(tuned, agent)
    while gc.get_threshold()[0] < 20_000:
        tuned.resume()
        collect_for(1, clock)
        tuned.pause()
    most = 0
    for _ in range(100_000):
        Ring()
        most = max(most, Ring.alive)
    assert 2000 < most < 30_000
    gc.collect()
    assert Ring.alive == 0


def test_the_process_is_put_back_when_the_last_population_closes(clock):
    """In whatever order they close; `untouched` looks afterwards."""
    for order in itertools.permutations(range(2)):
        passes = [GcTuning(), GcTuning()]
        for each in passes:
            use(each, Agent())
        frozen = gc.get_freeze_count()
        passes[order[0]].close()
        assert gc.get_freeze_count() == frozen > 0
        passes[order[1]].close()
        assert gc.get_freeze_count() == 0


def test_a_pass_that_never_saw_an_agent_changes_nothing():
    GcTuning().install()
    GcTuning().close()


def test_what_others_froze_stays_frozen():
    gc.freeze()
    frozen = gc.get_freeze_count()
    each, agent = GcTuning(), Agent()
    use(each, agent)
    assert id(agent.beliefs) in {id(each) for each in gc.get_objects()}
    each.close()
    assert gc.get_freeze_count() == pytest.approx(frozen, abs=100)  # some may have been freed
    gc.unfreeze()


def test_measuring_does_not_undo_it(tuned):
    agent = Agent()
    use(tuned, agent)
    process.clear_free_lists()
    process.settle()
    assert id(agent.beliefs) not in {id(each) for each in gc.get_objects()}
    tuned.close()
    process.clear_free_lists()
    assert gc.get_freeze_count() == 0
