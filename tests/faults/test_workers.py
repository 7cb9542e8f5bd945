"""Workers that die, hang, fail or run out of memory: exit code, message, and no leftovers."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import COMMAND


def workers_of(folder):
    """Worker processes that were started for a scenario in `folder`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if process.cwd() == str(folder) and "memprof.worker" in process.cmdline():
                found.append(process)
    return found


def asked_of(worker):
    """Its request; nothing where it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{worker.pid}/fd/0").read_text()
    return ""


def gone(folder):
    deadline = time.monotonic() + 300
    while workers_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        (
            "die",
            [],
            "the worker was killed (SIGKILL) in phase 'build', most likely by the kernel",
        ),
        ("hang", ["--timeout", "10"], "exceeded the time limit of 10 s, in phase 'build'"),
        ("raise", [], "the worker failed: RuntimeError: this fault was asked for"),
        ("exhaust", ["--memory-limit", "500 MB"], "does not fit in the memory limit of 500 MB"),
    ],
)
def test_a_failing_worker_is_explained_and_leaves_nothing(
    memprof, fake, tmp_path, fault, options, words
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = memprof("profile", fake(model={"fault": fault}), *options, TMPDIR=str(temporary))
    assert run.code == 3
    assert words in run.err
    assert gone(run.folder)
    assert list(temporary.iterdir()) == [], "not even what a killed worker was writing"
    assert not (run.folder / "reports").exists(), "nothing was measured, so nothing is written"
    assert ("Traceback" in run.err) == (fault in ("raise", "exhaust"))


STAYING = """
import atexit, os, threading, time
import numpy as np

def start():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            time.sleep(3600)
        os.write(writer, b"%d" % os.getpid())
        time.sleep(3600)
    threading.Thread(target=time.sleep, args=(3600,)).start()
    atexit.register(time.sleep, 3600)
    return int(os.read(reader, 20))

def make(size, file):
    if not hasattr(make, "started"):
        make.started = True
        with open(file, "a") as stream:
            print(os.getpid(), start(), file=stream)
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0], B[0] = np.eye(size), np.eye(size)[:, :, None]
    return {"A": A, "B": B}
"""


def test_what_a_model_starts_does_not_hold_its_figures_back_and_ends_with_the_worker(
    memprof, scenario, tmp_path
):
    (tmp_path / "staying.py").write_text(STAYING)
    params = {"size": 3, "file": str(tmp_path / "started")}
    model = {"kind": "factory", "callable": "staying:make", "params": params}
    run = memprof("profile", scenario(model=model, agents=2, steps=1, passes=[]))
    assert run.code == 0, run.err
    started = list(map(int, (tmp_path / "started").read_text().split()))
    assert len(started) == 2
    assert not any(map(psutil.pid_exists, started))


def test_noise_on_stdout_and_stderr_disturbs_nothing(memprof, fake):
    run = memprof("profile", fake(model={"fault": "print"}), "--json", "-")
    assert run.code == 0
    assert json.loads(run.out) == run.report(), "nothing else is there"
    said = (run.out + run.err).replace(str(run.folder), "")  # which has this test's name
    assert "noise" not in said


@pytest.mark.usefixtures("whole_imports")
def test_a_memory_limit_below_what_imports_need_is_said(memprof, scenario):
    for limit in ("30 MB", "120 MB"):
        run = memprof("profile", scenario(), "--memory-limit", limit)
        assert run.code == 3
        assert "is too low for the imports alone" in run.err


def test_real_agents_that_do_not_fit_the_limit_are_reported_as_that(memprof, scenario):
    path = scenario(model={"kind": "grid_world", "size": 29}, agents=40, steps=1, passes=[])
    run = memprof("profile", path, "--memory-limit", "600 MB")
    assert run.code == 3
    assert "the population does not fit in the memory limit of 600 MB" in run.err
    assert "built_in.py" in run.err, "the allocation that failed is shown"


@pytest.mark.usefixtures("whole_imports")
def test_a_memory_limit_below_what_jax_needs_is_said(memprof, scenario):
    run = memprof("profile", scenario(backend="jax"), "--memory-limit", "120 MB")
    assert run.code == 3
    assert "is too low for the imports alone; PyMDP with backend jax needs about 500 MB" in run.err


@pytest.mark.parametrize("limit", ["1.2 GB", "2 GB"])  # met when they are built, and when they step
def test_jax_agents_that_do_not_fit_the_limit_are_reported_as_that(memprof, scenario, limit):
    world = {"kind": "grid_world", "size": 29}
    path = scenario(backend="jax", model=world, agents=100, steps=1, passes=[])
    run = memprof("profile", path, "--memory-limit", limit)
    assert run.code == 3
    assert "the population does not fit in the memory limit of" in run.err
    assert "RESOURCE_EXHAUSTED" in run.err


@pytest.mark.parametrize("options", [(), ("--memory-limit", "4 GB")])
def test_a_jax_that_does_not_start_is_named_with_its_reason(memprof, scenario, options):
    run = memprof("profile", scenario(backend="jax"), *options, JAX_PLATFORMS="nonsense")
    assert run.code == 3
    assert "memprof: JAX could not start: RuntimeError: Unable to initialize backend" in run.err
    assert "'nonsense' is not in the list of known backends" in run.err
    assert "Check JAX_PLATFORMS" in run.err
    assert "Traceback" not in run.err


def test_a_jax_that_cannot_be_imported_is_named_with_its_reason(memprof, scenario, tmp_path):
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "jax.py").write_text("raise ImportError('a library of jaxlib is missing')")
    paths = os.pathsep.join([str(shadow), os.environ.get("PYTHONPATH", "")])
    run = memprof("profile", scenario(backend="jax"), PYTHONPATH=paths)
    assert run.code == 3
    assert "JAX could not start: ImportError: a library of jaxlib is missing" in run.err
    assert "installation of jax" in run.err
    assert "Traceback" not in run.err


def test_an_instrument_that_fails_loses_nothing_that_was_measured(fake, tmp_path):
    model = {"delay": 0.03}  # the worker is at work for long enough to be killed
    process = start(fake(model=model, instruments=["tracemalloc", "fake"], steps=20))
    wait_for_worker(tmp_path, 2)  # beside which the third may run
    while not (found := [each for each in workers_of(tmp_path) if "tracemalloc" in asked_of(each)]):
        time.sleep(0.02)
    found[0].kill()
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "the worker was killed (SIGKILL)" in errors(tmp_path)
    found = {
        each["name"]: each
        for each in json.loads((tmp_path / "reports" / "case.json").read_text())["variants"][
            "before"
        ]["instruments"]
    }
    assert "killed" in found["tracemalloc"]["failure"]
    assert found["fake"]["per_agent_bytes"] == pytest.approx(1000)
    assert "instrument_failed" in out


def start(path, *options, command="profile", **environment):
    return subprocess.Popen(
        [*COMMAND, command, path.name, *options],
        cwd=path.parent,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=(path.parent / "stderr").open("w"),
        text=True,
        start_new_session=True,
    )


def errors(folder):
    return (folder / "stderr").read_text()


def wait_for_worker(folder, number):
    """Until the `number`-th worker is at work."""
    deadline = time.monotonic() + 300
    while f"worker {number} of" not in errors(folder) or not workers_of(folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_workers_and_keeps_what_was_measured(fake, tmp_path, sent):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = start(fake(repeats=50), TMPDIR=str(temporary))
    wait_for_worker(tmp_path, 2 + 4)  # of which four at most run beside each other
    process.send_signal(sent)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert list(temporary.iterdir()) == []
    assert "interrupted" in errors(tmp_path)
    assert "Traceback" not in errors(tmp_path)
    assert "Written: reports/case.{json" in out
    assert gone(tmp_path)
    report = json.loads((tmp_path / "reports" / "case.json").read_text())
    assert report["complete"] is False
    assert report["variants"]["before"]["repeats"] >= 2
    assert report["warnings"][0]["kind"] == "incomplete"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_an_interruption_before_anything_was_measured_writes_nothing(fake, tmp_path, sent):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = start(fake(model={"fault": "hang"}), TMPDIR=str(temporary))
    wait_for_worker(tmp_path, 1)
    process.send_signal(sent)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors(tmp_path).endswith("memprof: interrupted before anything was measured\n")
    assert gone(tmp_path)
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "reports").exists()


def test_a_killed_parent_takes_its_worker_along(fake, tmp_path):
    process = start(fake(model={"fault": "hang"}))
    wait_for_worker(tmp_path, 1)
    assert workers_of(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    assert gone(tmp_path)


def test_a_worker_killed_in_a_later_repeat_leaves_a_partial_report(fake, tmp_path):
    process = start(fake(repeats=50))
    wait_for_worker(tmp_path, 2)
    for worker in workers_of(tmp_path):
        worker.kill()
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "the worker was killed (SIGKILL)" in errors(tmp_path)
    assert "incomplete" in out
