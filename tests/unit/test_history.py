import copy
import pickle
import sys
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from memprof.storage.flatten import Flattener, NotStorable
from memprof.storage.history import History
from memprof.storage.unflatten import Reader

ENTRIES = st.one_of(
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.tuples(st.integers(0, 5)),
    st.none(),
)


def encoded(history):
    flattener = Flattener()
    return flattener.flatten(history), flattener.data()


class AsList(RuleBasedStateMachine):
    """Whatever is done to a history and to a list leaves them equal."""

    def __init__(self):
        super().__init__()
        self.history, self.model = History(), []

    def let_go(self):
        """What the model forgets by itself."""

    @rule(entry=ENTRIES, times=st.sampled_from([1, 2, 40]))
    def append(self, entry, times):
        for _ in range(times):
            self.history.append(entry)
            self.model.append(entry)
            self.let_go()

    @rule()
    def pack(self):
        self.history.pack()

    @rule()
    def through_the_codec(self):
        layout, data = encoded(self.history)
        self.history = Reader(data).unflatten(layout)

    @rule(start=st.integers(-90, 90), stop=st.integers(-90, 90), step=st.sampled_from([1, 2, -1]))
    def slice(self, start, stop, step):
        assert self.history[start:stop:step] == self.model[start:stop:step]

    @rule(index=st.integers(-50, 50))
    def index(self, index):
        try:
            expected = self.model[index]
        except IndexError:
            with pytest.raises(IndexError):
                self.history[index]
        else:
            assert self.history[index] == expected

    @rule(index=st.integers(0, 50), entry=ENTRIES)
    def change(self, index, entry):
        if index < len(self.model):
            self.history[index] = self.model[index] = entry
            del self.history[index // 2], self.model[index // 2]
            self.history.insert(index, entry)
            self.model.insert(index, entry)
            self.history.insert(index // 2, entry)
            self.model.insert(index // 2, entry)
            self.let_go()

    @invariant()
    def same(self):
        assert len(self.history) == len(self.model)
        assert self.history[-3:] == self.model[-3:]

    def teardown(self):
        assert list(self.history) == self.model
        assert self.history == self.model


class AsBuffer(AsList):
    """A history with a limit, and the last entries of a list."""

    @initialize(limit=st.integers(1, 50), entries=st.lists(ENTRIES, max_size=60))
    def begin(self, limit, entries):
        self.limit = limit
        self.history, self.model = History(entries, limit), list(entries)
        self.let_go()

    def let_go(self):
        del self.model[: -self.limit]


TestAsList, TestAsBuffer = AsList.TestCase, AsBuffer.TestCase
TestAsList.settings = TestAsBuffer.settings = settings(stateful_step_count=25)


@given(st.lists(st.lists(ENTRIES, max_size=9), max_size=20), st.integers(1, 12))
def test_with_a_limit_it_is_a_circular_buffer(days, limit):
    history, buffer = History(limit=limit), deque(maxlen=limit)
    for day in days:
        for entry in day:
            history.append(entry)
            buffer.append(entry)
        history.pack()
        assert list(history) == list(buffer)
        assert len(history) == len(buffer)


def test_a_full_buffer_has_one_size_after_every_step():
    history, sizes = History(limit=40), []
    for _ in range(200):
        history.append(np.random.random(3))
        history.pack()
        sizes.append(len(encoded(history)[1]))
    assert sizes[0] < sizes[39] == sizes[40]
    assert len(set(sizes[39:])) == 1


def test_entries_of_another_layout_leave_too():
    history, always = History(limit=8), History(limit=8)
    for step in range(40):
        history.append(float(step) if step >= 20 else "ab"[step % 2] * (1 + step % 3))
        always.append(float(step))
        history.pack()
        always.pack()
        assert len(encoded(history)[1]) < 1000
    assert encoded(history) == encoded(always)


def test_a_limit_may_come_later_and_survives_copies():
    history = History(map(float, range(100)))
    history.pack()
    history.limit = 5
    for step in range(100, 140):
        history.append(float(step))
        history.pack()
        assert list(history) == [float(n) for n in range(step - 4, step + 1)]
    for twin in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        twin.append(0.0)
        assert list(twin) == [136.0, 137.0, 138.0, 139.0, 0.0]
    fresh = History([135.0, 136.0, 137.0, 138.0, 139.0], limit=5)
    for each in (history, fresh):  # whose entries were read, or have come
        each.pack()
    assert encoded(history) == encoded(fresh)


def test_encoding_leaves_nothing_behind_however_many_chunks_there_are():
    histories = [History(map(float, range(32 * chunks))) for chunks in range(60, 120)]
    for history in histories:
        history.pack()
    encoded(histories[0])
    before = sys.getallocatedblocks()
    for history in histories:
        encoded(history)
    assert sys.getallocatedblocks() - before < 20


@given(st.lists(st.lists(st.floats(), min_size=2, max_size=2), max_size=80))
def test_arrays_come_back_to_the_bit(rows):
    history = History(np.array(row) for row in rows)
    history.pack()
    assert [entry.tobytes() for entry in history] == [np.array(row).tobytes() for row in rows]


def test_a_thousand_actions_take_less_than_two_bytes_each():
    history = History()
    for step in range(1000):
        history.append(np.array([float(step % 5)]))
        history.pack()
    assert len(encoded(history)[1]) < 2500
    assert len(history[-2:]) == 2


def test_numpy_reads_it_as_a_list():
    rows = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    history = History(rows)
    history.pack()
    assert np.array_equal(np.stack(history), np.stack(rows))
    assert np.array_equal(np.array(history), np.array(rows))
    assert len(history + rows) == 4


def test_an_entry_that_cannot_be_encoded_leaves_the_history_as_it_was():
    history = History([1.0, {1, 2}])
    with pytest.raises(NotStorable):
        history.pack()
    assert list(history) == [1.0, {1, 2}]
