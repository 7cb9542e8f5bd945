"""Rewards are added up exactly, in memory that does not grow."""

import math
import random

import numpy as np
import pytest

from memprof.populations.rewards import RewardSum


def total(rewards):
    found = RewardSum()
    for each in rewards:
        assert found.add(each)
    return found


def test_the_mean_is_the_same_to_the_bit_in_any_order():
    drawn = random.Random(3)
    rewards = [drawn.uniform(-1, 1) * 10 ** drawn.randint(-12, 12) for _ in range(2000)]
    expected = math.fsum(rewards) / len(rewards)
    for _ in range(20):
        drawn.shuffle(rewards)
        found = total(rewards)
        assert (found.total().mean, found.total().count) == (expected, 2000)
        assert len(found._partials) < 20


@pytest.mark.parametrize("one", [1, 1.0, True, np.float32(1), np.array(1), np.array([1.0])])
def test_numbers_in_all_their_forms_are_rewards(one):
    assert total([one, one, None]).total().mean == 1.0
    assert total([one, one, None]).total().count == 2


@pytest.mark.parametrize(
    "other", ["1", b"1", math.nan, math.inf, [1.0], {}, np.ones(2), np.str_("1")]
)
def test_what_is_no_number_is_no_reward(other):
    assert not RewardSum().add(other)


def test_without_rewards_there_is_no_mean():
    assert total([]).total() is None
    assert total([None]).total() is None
