"""What a worker says and how it ends, where the user's code has a hand in it."""

from __future__ import annotations

import json
import os
import signal

import pytest

from memprof.errors import WorkerFailed
from memprof.launch import spawn
from memprof.launch.spawn import failure
from memprof.scenario import load_scenario
from memprof.values.requests import Measure
from memprof.worker.job import Channel
from tests.conftest import SCENARIOS

REQUEST = Measure(load_scenario(SCENARIOS / "grid-5.yaml").spec(()))


@pytest.mark.parametrize(
    "line",
    [
        b"noise",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b"{}",
        b"[" * 10_000,
        b'{"event": "\\u001b"}',
        b'{"event": ["result"]}',
        b'{"event": "progress"}',
        b'{"event": "result", "value": 5}',
        b'{"event": "error", "kind": 5}',
        b'{"event": "error", "kind": "failure"}',
    ],
)
def test_what_is_none_of_the_workers_words_is_an_error_of_its_code(line):
    with pytest.raises(WorkerFailed, match="the worker's messages cannot be read"):
        spawn._heard(line, REQUEST)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGRTMIN + 5])
def test_every_signal_that_ends_a_worker_is_said(number):
    said = str(failure(None, -number, REQUEST, None, [], ""))
    assert ("SIGSEGV" if number == signal.SIGSEGV else f"signal {number}") in said


def test_a_worker_says_no_more_of_a_failure_than_anybody_reads():
    reader, writer = os.pipe()
    Channel(writer).error("failure", "m" * 10**6)  # the pipe holds 64 KiB
    with os.fdopen(reader) as stream:
        assert len(json.loads(stream.read())["message"]) < 34_000


def test_a_worker_whose_pipe_was_closed_writes_to_no_file_of_the_users(tmp_path):
    reader, writer = os.pipe()
    channel = Channel(writer)
    with (tmp_path / "diary").open("w") as file:
        os.dup2(file.fileno(), writer)
        with pytest.raises(SystemExit, match="closed files that it did not open"):
            channel.progress("cycle 1")
    os.close(writer), os.close(reader)
    assert not (tmp_path / "diary").read_text()
