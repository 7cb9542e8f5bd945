"""Leak checks whose workers die or are interrupted: what was measured stays, and nothing else."""

import json
import signal

import pytest

from memprof.posix import processors
from tests.faults.test_workers import errors, gone, start, wait_for_worker, workers_of


def report(folder):
    return json.loads((folder / "reports" / "case-leak-lifecycle.json").read_text())


# Repeats run beside each other after the first; when this worker starts, one of those has ended.
LATER = 2 + min(4, processors())


@pytest.fixture
def slow(fake):
    """Agents whose cycles take a while."""
    return fake(model={"delay": 0.02}, agents=5, steps=2, repeats=20)


def test_a_worker_killed_in_a_later_repeat_leaves_a_verdict_on_the_others(slow, tmp_path):
    process = start(slow, "--mode", "lifecycle", command="leak")
    wait_for_worker(tmp_path, LATER)
    for worker in workers_of(tmp_path):
        worker.kill()
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "the worker was killed (SIGKILL) in phase" in errors(tmp_path)
    assert "incomplete" in out
    found = report(tmp_path)
    assert found["complete"] is False
    assert 2 <= found["leak"]["repeats"] < LATER
    assert found["leak"]["verdict"] == "clean"


def test_an_interruption_keeps_what_was_measured(slow, tmp_path):
    process = start(slow, "--mode", "lifecycle", command="leak")
    wait_for_worker(tmp_path, LATER)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert gone(tmp_path)
    assert 2 <= report(tmp_path)["leak"]["repeats"] < LATER


def test_an_interruption_before_the_first_repeat_ends_writes_nothing(fake, tmp_path):
    process = start(fake(model={"fault": "hang"}, agents=5), command="leak")
    wait_for_worker(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert gone(tmp_path)
    assert not (tmp_path / "reports").exists()


def test_agents_that_do_not_fit_are_reported_as_that(memprof, fake):
    run = memprof("leak", fake(model={"fault": "exhaust"}), "--memory-limit", "500 MB")
    assert run.code == 3
    assert "does not fit in the memory limit of 500 MB" in run.err
    assert not (run.folder / "reports").exists()
