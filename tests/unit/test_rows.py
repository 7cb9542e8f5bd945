"""Arrays on their way between a program and its shards arrive to the bit."""

import numpy as np
import pytest

from memprof.distributed.rows import narrow, wide


@pytest.mark.parametrize(
    ("array", "size"),
    [
        (np.arange(200), 1),
        (np.arange(300), 2),
        (np.array([-1, 5]), 2),
        (np.array([-1, 70_000]), 8),
        (np.array([2**40]), 8),
        (np.array([2**63], np.uint64), 8),
        (np.array([[0.0, 3.0]]), 1),
        (np.array([0.5]), 8),
        (np.array([-0.0]), 8),
        (np.array([np.nan, 1]), 8),
        (np.array([np.inf]), 8),
        (np.array([True]), 1),
        (np.array([], np.int64), 8),
        (np.arange(6).reshape(2, 3).T, 1),
        (np.array(["text"]), 16),
    ],
)
def test_an_array_takes_no_more_than_it_has_to_and_is_what_it_was(array, size):
    sent = narrow(array)
    found = wide(sent)
    assert getattr(sent, "content", sent).itemsize == size
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
