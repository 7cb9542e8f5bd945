"""The working set over a store that notes what is done to it."""

import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.errors import AgentActive, StoreError
from memprof.storage import working_set
from memprof.storage.activation import Activation, Loans, Scratch
from memprof.storage.flatten import Handed
from memprof.storage.working_set import WorkingSet


class Agents:
    """Agents of known sizes, each of which counts its uses; one is active at most once."""

    def __init__(self, sizes, read_seconds=0.0):
        self.sizes = list(sizes)
        self.records = dict.fromkeys(range(len(self.sizes)), 0)
        self.active = set()
        self.most_bytes = 0
        self.refused = set()
        self.read_seconds = read_seconds
        self.stored = []
        self._lock = threading.Lock()

    def read(self, index):
        if self.read_seconds:  # a sleep of no time waits its turn on a busy machine
            time.sleep(self.read_seconds)
        return self.records[index]

    def activate(self, index, record):
        with self._lock:
            assert index not in self.active
            self.active.add(index)
            taken = sum(self.sizes[each] for each in self.active)
            self.most_bytes = max(self.most_bytes, taken)
        return Activation({"index": index, "uses": record}, Loans(Scratch()), Handed())

    def passivate(self, index, activation):
        with self._lock:
            self.active.remove(index)
            if index in self.refused:
                raise StoreError(f"agent {index}: no room")
            self.records[index] = activation.agent["uses"]
            self.stored.append(index)

    def held_bytes(self, activation):
        return self.sizes[activation.agent["index"]]


def use(crowd, index):
    agent = crowd.wake(index)
    assert agent["index"] == index
    agent["uses"] += 1
    crowd.rest(index)


@given(st.data())
def test_every_agent_has_one_turn_in_a_round_and_the_budget_holds(data):
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=12))
    budget = data.draw(st.integers(1, sum(sizes) + 10))
    store = Agents(sizes)
    crowd = WorkingSet(store, budget)
    expected = [0] * len(sizes)
    everybody = range(len(sizes))
    for _ in range(data.draw(st.integers(1, 4))):
        for index in data.draw(st.lists(st.sampled_from(everybody), max_size=8)):
            use(crowd, index)  # in any order, before the round
            expected[index] += 1
        start = data.draw(st.integers(0, len(sizes) - 1))
        some = data.draw(st.sampled_from([everybody, everybody[start:], [*everybody[start:]]]))
        turns = []
        for index in crowd.in_turn(some):
            turns.append(index)
            use(crowd, index)
            expected[index] += 1
            assert crowd.use().active_bytes == sum(sizes[each] for each in store.active) <= budget
            if data.draw(st.booleans()):  # agents grow while the round lasts
                sizes[index] = store.sizes[index] = data.draw(st.integers(1, 50))
                use(crowd, index)
                expected[index] += 1
        assert sorted(turns) == list(some)
    assert store.most_bytes <= budget + 2 * 50, (
        "one in use, and one that grew since it was measured"
    )
    crowd.flush()
    assert list(store.records.values()) == expected
    found = crowd.use()
    assert found.hits + found.activations == sum(expected)
    assert found.hibernations == found.activations == len(store.stored)
    assert (found.active_agents, found.active_bytes) == (0, 0)


def test_agents_of_one_size_never_exceed_the_budget_by_more_than_one():
    store = Agents([10] * 9)
    crowd = WorkingSet(store, 35)
    for _ in range(3):
        for index in crowd.in_turn(range(9)):
            use(crowd, index)
    assert store.most_bytes == crowd.use().most_active_bytes == 30


def test_a_round_begins_with_the_active_agents():
    """In the order of their numbers each agent would be stored just before its turn."""
    crowds = [WorkingSet(Agents([10] * 8), 30) for _ in range(2)]
    for _ in range(5):
        for index in range(8):
            use(crowds[0], index)
        for index in crowds[1].in_turn(range(8)):
            use(crowds[1], index)
    assert crowds[0].use().hits == 0
    assert crowds[1].use().hits == 4 * 3, "as many as fit, in every round but the first"


def test_the_least_recently_used_hibernates():
    store = Agents([10] * 4)
    crowd = WorkingSet(store, 30)
    for index in (0, 1, 2, 0, 3):
        use(crowd, index)
    assert store.stored == [1]
    assert store.active == {0, 2, 3}


def test_growth_stores_agents_that_had_their_turn_as_well_as_it_can():
    """One agent that grows costs one hit, not all of the round's."""
    store = Agents([10] * 8)
    crowd = WorkingSet(store, 50)
    for index in crowd.in_turn(range(8)):
        use(crowd, index)
    before = crowd.use().hits
    for index in crowd.in_turn(range(8)):
        use(crowd, index)
        store.sizes[7] = 15
    assert crowd.use().hits == before + 5
    for index in crowd.in_turn(range(8)):
        use(crowd, index)
    assert crowd.use().hits >= before + 5 + 4


def test_one_large_agent_does_not_drive_out_all_small_ones():
    """Room is made for an agent like the others, not for one like the last."""
    store = Agents([10] * 20 + [300])
    crowd = WorkingSet(store, 600)
    for index in (*range(10), 20, *range(10, 20)):
        use(crowd, index)
    assert crowd.use().hibernations == 0


def test_an_agent_larger_than_the_budget_is_stored_after_use():
    store = Agents([100, 100])
    crowd = WorkingSet(store, 1)
    for index in (0, 1, 0):
        use(crowd, index)
    assert store.stored == [0, 1, 0]
    assert crowd.use().hits == 0


def test_agents_in_use_are_nobody_elses():
    crowd = WorkingSet(Agents([10, 10]), 5)
    crowd.wake(0)
    with pytest.raises(AgentActive):
        crowd.wake(0)
    with pytest.raises(AgentActive), crowd.leaving(0):
        pytest.fail("it is in use")
    use(crowd, 1)
    assert crowd.used == [0], "it does not hibernate, though there is no room"
    crowd.rest(0)
    with pytest.raises(KeyError):
        crowd.wake(7)
    assert crowd.used == []


def test_one_that_cannot_be_stored_is_named_and_the_others_live_on():
    store = Agents([10] * 3)
    crowd = WorkingSet(store, 10)
    store.refused = {0}
    use(crowd, 0)
    with pytest.raises(StoreError, match="agent 0: no room"):
        crowd.wake(1)
    use(crowd, 1)
    use(crowd, 2)
    crowd.flush()
    assert list(store.records.values()) == [0, 1, 1]
    assert crowd.use().active_bytes == 0


def test_flush_stores_all_that_it_can():
    store = Agents([10] * 4)
    crowd = WorkingSet(store, 100)
    for index in range(4):
        use(crowd, index)
    store.refused = {1}
    with pytest.raises(StoreError, match="agent 1"):
        crowd.flush()
    assert store.stored == [0, 2, 3]


def test_one_that_leaves_is_forgotten_with_what_it_held():
    store = Agents([10] * 3)
    crowd = WorkingSet(store, 100)
    use(crowd, 1)
    with crowd.leaving(1):
        del store.records[1]
    assert crowd.use().active_bytes == 0
    with pytest.raises(KeyError):
        crowd.wake(1)


def test_one_that_could_not_leave_is_still_there():
    crowd = WorkingSet(Agents([10]), 100)
    use(crowd, 0)
    with pytest.raises(StoreError), crowd.leaving(0):
        raise StoreError("no room for the tombstone")
    use(crowd, 0)
    assert crowd.use().hits == 1


@pytest.mark.parametrize("budget", [1, 35, 1000])
def test_threads_that_use_different_agents(budget):
    """Each has agents of its own, which the others make hibernate while it wakes them."""
    store = Agents([10] * 12)
    crowd = WorkingSet(store, budget)
    failures = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def live(mine):
        try:
            for _ in range(60):
                for index in crowd.in_turn(mine):
                    use(crowd, index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=live, args=(range(n, n + 3),)) for n in (0, 3, 6, 9)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    crowd.flush()
    assert set(store.records.values()) == {60}


def lived(store, crowd, rounds=4):
    for _ in range(rounds):
        for index in crowd.in_turn(range(len(store.sizes))):
            crowd.wake(index)["uses"] += 1
            time.sleep(store.read_seconds)
            crowd.rest(index)


def test_slow_reads_happen_ahead_and_end_cleanly(monkeypatch):
    for worth in (1e9, 1e-3):
        monkeypatch.setattr(working_set, "_WORTH_SECONDS", worth)
        slow = Agents([10] * 12, 0.005)
        crowd = WorkingSet(slow, 40)
        lived(slow, crowd)
        assert (crowd.use().activated_ahead > 0) == (worth < 1)
    crowd.stop()
    crowd.flush()
    assert set(slow.records.values()) == {4}
    crowd.clear()
    assert not [each for each in threading.enumerate() if each.name == "memprof-ahead"]


def test_quick_reads_have_no_thread():
    store = Agents([10] * 12)
    crowd = WorkingSet(store, 40)
    lived(store, crowd, 6)
    assert crowd.use().activated_ahead == 0
    assert not [each for each in threading.enumerate() if each.name == "memprof-ahead"]


def test_one_that_is_gone_ahead_of_its_use_is_no_trouble():
    store = Agents([10] * 12, 0.005)
    crowd = WorkingSet(store, 40)
    lived(store, crowd, 2)
    missing = {0, 5}
    for index in missing:
        with crowd.leaving(index):
            del store.records[index]
    for index in crowd.in_turn(range(12)):
        if index in missing:
            with pytest.raises(KeyError):
                crowd.wake(index)
        else:
            use(crowd, index)
    crowd.clear()
