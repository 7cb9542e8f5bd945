"""A short form of `make fuzz`: no clock decides here, so hangs are what takes seconds."""

import pytest

SLACK_SECONDS = 5


@pytest.mark.parametrize(("part", "count"), [("container", 12), ("content", 20)])
def test_crafted_stores_open_or_are_refused(part, count):
    from tests.fuzz_stores import run  # with PyMDP, of which who collects this has no use

    assert run(count, seed=1, parts=(part,), most_seconds=SLACK_SECONDS) == []
