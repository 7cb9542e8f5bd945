import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from memprof.store.flatten import Flattener, NotStorable
from memprof.store.history import History
from memprof.store.unflatten import Reader

ENTRIES = st.one_of(
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.tuples(st.integers(0, 5)),
    st.none(),
)


class AsList(RuleBasedStateMachine):
    """Whatever is done to a history and to a list leaves them equal."""

    def __init__(self):
        super().__init__()
        self.history, self.model = History(), []

    @rule(entry=ENTRIES, times=st.sampled_from([1, 2, 40]))
    def append(self, entry, times):
        for _ in range(times):
            self.history.append(entry)
            self.model.append(entry)

    @rule()
    def pack(self):
        self.history.pack()

    @rule()
    def through_the_codec(self):
        flattener = Flattener()
        layout = flattener.flatten(self.history)
        self.history = Reader(flattener.data()).unflatten(layout)

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

    @invariant()
    def same(self):
        assert len(self.history) == len(self.model)
        assert self.history[-3:] == self.model[-3:]

    def teardown(self):
        assert list(self.history) == self.model
        assert self.history == self.model


TestAsList = AsList.TestCase
TestAsList.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


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
    flattener = Flattener()
    flattener.flatten(history)
    assert len(flattener.data()) < 2500
    assert len(history[-2:]) == 2


def test_numpy_reads_it_as_a_list():
    rows = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    history = History(rows)
    history.pack()
    assert np.array_equal(np.stack(history), np.stack(rows))
    assert np.array_equal(np.array(history), np.array(rows))
    assert len(history + rows) == 4


def test_an_entry_that_cannot_be_encoded_leaves_the_history_as_it_was():
    history = History([1.0, print])
    with pytest.raises(NotStorable):
        history.pack()
    assert list(history) == [1.0, print]
