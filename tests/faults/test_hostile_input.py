"""A short form of `make fuzz` for what others write: no clock decides here, so hangs are what takes
seconds."""

import pytest

SLACK_SECONDS = 10


@pytest.mark.parametrize(("part", "count"), [("scenarios", 80), ("reports", 30), ("archives", 40)])
def test_what_others_wrote_is_taken_or_refused_in_a_message(part, count):
    from tests.fuzz_input import run  # with PyMDP, of which who collects this has no use

    assert run(part, count, seed=1, seconds=SLACK_SECONDS) == []
