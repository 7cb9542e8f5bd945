"""Arrays as they are put into an object store, and taken from there."""

from __future__ import annotations

import numpy as np
import pytest

from memprof.distributed.shard import Stored
from memprof.storage.constants import adopt, constant, of_constant


@pytest.mark.parametrize("order", ["C", "F", (2, 0, 1)])
def test_what_is_stored_is_a_constant_whose_views_are_known_as_such(order: object) -> None:
    array = np.random.default_rng(0).random((30, 40, 50))
    if order == "F":
        array = np.asfortranarray(array)
    elif order != "C":
        array = np.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0)
    stored = Stored.of(array)
    assert stored.content.flags.c_contiguous
    stored.content.flags.writeable = False
    found = adopt(stored.array())
    assert found.strides == array.strides
    assert np.array_equal(found, array)
    assert np.shares_memory(found, stored.content)
    assert not found.flags.writeable
    assert constant(array.copy(order="K")) is found
    view = found[..., 1]
    assert view.base is found
    assert of_constant(view)
