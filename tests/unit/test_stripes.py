"""Which agents of a whole population a part of it has."""

from __future__ import annotations

import pytest

from memprof.values.population import Share


@pytest.mark.parametrize("every", [1, 2, 7])
def test_stripes_are_the_whole_each_agent_once(every: int) -> None:
    stripes = [Share(first, every) for first in range(every)]
    for index in range(40):
        (stripe,) = (each for each in stripes if index in each)
        assert stripe.index(stripe.own(index)) == index


def test_own_numbers_have_no_gaps_and_begin_with_0() -> None:
    share = Share(2, 3)
    assert [share.own(index) for index in range(20) if index in share] == [*range(6)]


def test_a_share_is_everybody_unless_it_says_otherwise() -> None:
    assert all(index in Share() and Share().own(index) == index for index in range(5))
    assert 1 not in Share(2, 1)


@pytest.mark.parametrize("every", [1, 2, 7])
def test_stripes_of_agents_in_a_row_are_in_a_row(every: int) -> None:
    shares = [Share(first, every) for first in range(every)]
    for agents in (range(0), range(3), range(4, 23), range(9, 10)):
        parts = [each.indices(each.within(agents)) for each in shares]
        assert sorted(agent for part in parts for agent in part) == [*agents]
    assert sum(each.below(23) for each in shares) == 23
