"""A short form of `make fuzz`: no clock decides here, so hangs are what takes seconds."""

from tests.fuzz_stores import run

SLACK_SECONDS = 5


def test_crafted_containers_open_or_are_refused():
    assert run(12, seed=1, parts=("container",), most_seconds=SLACK_SECONDS) == []


def test_crafted_records_and_templates_come_back_or_are_refused():
    assert run(20, seed=1, parts=("content",), most_seconds=SLACK_SECONDS) == []
