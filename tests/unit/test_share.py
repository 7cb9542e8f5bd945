import copy
import gc
import weakref

import numpy as np
import pytest

from memprof.optimise.transforms import Share
from memprof.storage.constants import is_constant


class Agent:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def objects(*arrays):
    out = np.empty(len(arrays), dtype=object)
    for position, array in enumerate(arrays):
        out[position] = array
    return out


def shared_pair(make):
    share, pair = Share(), [Agent(A=make()), Agent(A=make())]
    for index, agent in enumerate(pair):
        share.build(agent, index)
    return [agent.A for agent in pair]


def test_equal_arrays_in_any_container_become_one():
    for wrap in (objects, lambda a: [a], lambda a: (a,), lambda a: objects(objects(a))):
        one, two = shared_pair(lambda wrap=wrap: wrap(np.arange(1000.0)))
        while not (isinstance(one, np.ndarray) and one.dtype != object):
            assert one is not two, "containers stay private"
            assert type(one) is type(two)
            one, two = one[0], two[0]
        assert one is two
        assert np.array_equal(one, np.arange(1000.0))
    one, two = shared_pair(lambda: {"k": np.arange(5.0)})
    assert one["k"] is two["k"]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.array([0.0]), np.array([-0.0])),
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(2, np.float64), np.zeros(2, np.int64)),
        (np.ones((3, 3)), np.asfortranarray(np.ones((3, 3)))),
        (np.array([1.0]), np.array([np.nextafter(1.0, 2.0)])),
    ],
)
def test_arrays_that_differ_in_any_bit_or_in_layout_stay_apart(left, right):
    share, agents = Share(), [Agent(A=left), Agent(A=right)]
    for index, agent in enumerate(agents):
        share.build(agent, index)
    assert agents[0].A is not agents[1].A
    assert not np.shares_memory(agents[0].A, agents[1].A)


def test_nan_of_the_same_bits_is_shared():
    one, two = shared_pair(lambda: np.array([np.nan, 1.0]))
    assert one is two


def test_writing_into_a_shared_array_is_refused_and_replacing_it_is_private():
    share, agents = Share(), [Agent(B=objects(np.ones(4))) for _ in range(2)]
    for index, agent in enumerate(agents):
        share.build(agent, index)
    with pytest.raises(ValueError, match="read-only"):
        agents[0].B[0][0] = 5
    agents[0].B[0] = agents[0].B[0].copy()
    agents[0].B[0][0] = 5
    assert agents[1].B[0][0] == 1


def test_arrays_that_the_user_still_holds_are_not_changed():
    mine, outer = np.ones(4), objects(np.ones(4))
    inner = outer[0]
    Share().build(Agent(A=mine, B=outer), 0)
    mine[0] = 2
    assert outer[0] is inner
    outer[0][0] = 3


def test_arrays_without_data_and_of_other_types_are_left_working():
    for make in (lambda: np.empty(0), lambda: np.empty((0, 3)), lambda: np.array(5.0)):
        one, two = shared_pair(make)
        assert one is two
        assert one.shape == make().shape
    for thing in ("text", 3, None, len):
        assert shared_pair(lambda thing=thing: thing)[0] is thing


def test_an_array_that_nobody_holds_any_more_is_let_go():
    agent = Agent(A=np.full(1000, 7.25))
    Share().build(agent, 0)
    alive = weakref.ref(agent.A)
    assert is_constant(agent.A)
    del agent
    gc.collect()
    assert alive() is None


def test_two_arrays_of_one_agent_stay_two():
    """PyMDP deep-copies priors and writes into one; aliases would make it write into both."""
    prior = objects(np.ones(3), np.ones(3))
    one, two = Agent(pB=prior), Agent(pB=objects(np.ones(3), np.ones(3)))
    for index, agent in enumerate((one, two)):
        Share().build(agent, index)
    learned = copy.deepcopy(one.pB)
    learned[0] += 1
    assert learned[1].tolist() == [1, 1, 1]
    assert all(np.shares_memory(left, right) for left, right in zip(one.pB, two.pB, strict=True))
    same = np.ones(4)
    aliased = Agent(A=objects(same, same))
    Share().build(aliased, 0)
    assert aliased.A[0] is aliased.A[1]
