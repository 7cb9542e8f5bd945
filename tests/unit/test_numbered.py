"""Numbers are never given twice, and those that left first leave nothing behind."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.storage.records import Numbered


@given(st.lists(st.one_of(st.none(), st.integers(0, 60)), max_size=120))
def test_numbers_and_values_are_those_of_a_dictionary(moves):
    """None adds a value; a number removes it, if it is there."""
    numbered, known = Numbered(), {}
    for move in moves:
        if move is None:
            value = f"value {len(numbered)}"
            known[numbered.append(value)] = value
        elif move in known:
            del numbered[move], known[move]
        else:
            with pytest.raises(IndexError):
                del numbered[move]
    assert dict(numbered.items()) == known
    assert len(numbered) == moves.count(None)
    assert numbered.removed == len(numbered) - len(known)
    for number in range(len(numbered) + 1):
        assert (number in numbered) == (number in known)
        if number in known:
            numbered[number] = "new"
            assert numbered[number] == "new"
        else:
            with pytest.raises(IndexError):
                numbered[number]


def test_those_that_left_first_are_forgotten():
    numbered = Numbered()
    for number in range(10_000):
        assert numbered.append(number) == number
        if number >= 10:
            del numbered[number - 10]
    assert [number for number, _ in numbered.items()] == list(range(9_990, 10_000))
    assert sys.getsizeof(numbered._values) < 1_000
    with pytest.raises(IndexError, match="agent 5 has left the population"):
        numbered[5]


@given(st.integers(0, 20), st.lists(st.integers(1, 30), max_size=300))
def test_a_dictionary_beside_some_that_stay(stay, lives):
    """As in a world into which agents come and go, while the first ones stay."""
    numbered, known = Numbered(), {}
    for number in range(stay):
        known[numbered.append(number)] = number
    ends = {}
    for time, life in enumerate(lives):
        number = numbered.append(time)
        known[number], ends[number] = time, time + life
        for gone in [each for each, end in ends.items() if end == time]:
            del numbered[gone], known[gone], ends[gone]
    assert dict(numbered.items()) == known
    assert len(numbered) == stay + len(lives)
    for number in range(len(numbered) + 1):
        assert (number in numbered) == (number in known)
    copied = numbered.copied(lambda each: each)
    assert dict(copied.items()) == known
    assert copied.append("next") == len(numbered)


def test_those_that_come_and_go_beside_others_are_forgotten():
    numbered = Numbered()
    for number in range(10_000):
        numbered.append(number)
        if number >= 16:
            del numbered[number - 10]
    assert [number for number, _ in numbered.items()] == [*range(6), *range(9_990, 10_000)]
    assert sys.getsizeof(numbered._values) < 1_000
    with pytest.raises(IndexError, match="agent 50 has left the population"):
        numbered[50]
