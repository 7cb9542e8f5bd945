"""Workers that are forked: whatever happens to the process that they were forked from, they are
measured, and nothing is left."""

import os
import signal
import time
from dataclasses import replace

import psutil
import pytest

from memprof.errors import WorkerDied, WorkerTimeout
from memprof.launch import forks as parents
from memprof.launch.forks import Forks
from memprof.launch.keeper import COMMON_FOLDER
from memprof.launch.runner import Crew, Observer
from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.profile.workers import Runs
from memprof.scenario import load_scenario
from memprof.values.requests import Measure, ReadThrough, TryReadings
from tests.faults.test_workers import errors, gone, start, wait_for_worker, workers_of

_FILE_BYTES = 16 * 2**20


def measure(path, forks, on_progress=lambda mark: None, **limits):
    request = Measure(load_scenario(path).spec(()), resolve=0, trend=False)
    return run_worker(request, Limits(**limits), on_progress, forks=forks).value


def server_of(forks):
    """Its process."""
    return psutil.Process(forks._server._process.pid)


@pytest.fixture
def forks(tmp_path, monkeypatch):
    """After which nothing is left of processes or files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with Forks() as found:
        yield found
    assert gone(tmp_path)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def count(monkeypatch):
    """Of workers that were forked."""
    found = []
    fork = parents.Server.fork
    monkeypatch.setattr(
        parents.Server, "fork", lambda *given: found.append(fork(*given)) or found[-1]
    )
    return lambda: len(found)


def test_of_those_that_measure_the_same_one_is_forked(fake, forks, count):
    path = fake()
    found = [measure(path, forks) for _ in range(3)]
    assert count() == 1
    assert len({each.digests for each in found}) == 1
    spec = load_scenario(path).spec
    run = lambda request, **limits: run_worker(  # noqa: E731
        request, Limits(**limits), lambda mark: None, forks=forks
    )
    run(Measure(spec(("fake-share",)), resolve=0, trend=False))
    run(ReadThrough(spec(()), instrument="fake"))
    assert count() == 3, "these measure something else"
    run(ReadThrough(spec(("fake-share",)), instrument="fake", imports=True))
    run(TryReadings(spec(("fake-half",))))
    run(Measure(spec(("fake-half",))), memory_bytes=2 * 10**9)
    assert count() == 3, "these depend on how a process starts"


def test_a_server_is_started_where_it_serves_more_than_one(fake, tmp_path, monkeypatch):
    """Imports of one worker take as long as those of its server."""
    monkeypatch.chdir(tmp_path)
    servers = []
    started = parents.Server.__init__
    monkeypatch.setattr(parents.Server, "__init__", lambda *given: servers.append(started(*given)))
    for fields, expected in (
        ({}, 0),
        ({"instruments": ["fake"]}, 0),
        ({"instruments": ["tracemalloc", "fake"]}, 1),
        ({"passes": ["fake-share"]}, 1),
    ):
        servers.clear()
        Runs(Crew(load_scenario(fake(**fields)), Limits(), Observer())).run_all()
        assert len(servers) == expected, fields


def test_a_worker_whose_server_dies_is_started_instead(fake, forks):
    path, killed = fake(), []

    def kill(mark):
        if mark.label == "build" and not killed:
            killed.append(server_of(forks))
            killed[0].kill()

    assert measure(path, forks, kill).digests == measure(path, None).digests
    assert killed
    forks._forked.clear()
    assert measure(path, forks).digests, "and so are those that come after it"


@pytest.mark.parametrize("word", ["fork", "wait"])
def test_a_server_that_does_not_answer_is_done_without(fake, forks, monkeypatch, word):
    """It hangs before it is ready, or when it is asked for a worker."""
    monkeypatch.setattr(parents, "_LONGEST_FORK", 0.2)
    path = fake()
    if word == "fork":
        measure(path, forks)
        forks._forked.clear()
        server_of(forks).send_signal(signal.SIGSTOP)
        assert measure(path, forks).digests
        return
    started = parents.Server.__init__

    def stopped(self, *given):
        started(self, *given)
        self._process.send_signal(signal.SIGSTOP)

    monkeypatch.setattr(parents.Server, "__init__", stopped)
    assert measure(path, forks, timeout_seconds=10).digests
    assert not forks._forked


MAPPED = """
import mmap
FILE = open({file!r}, "rb")
PAGES = mmap.mmap(FILE.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
assert sum(PAGES[::4096]) == 0
"""


def test_pages_of_files_are_the_forks_alone(fake, forks, tmp_path, monkeypatch):
    """As those of a worker that is started are; its server lets go of them."""
    (tmp_path / "file").write_bytes(bytes(_FILE_BYTES))
    (tmp_path / "mapped.py").write_text(MAPPED.format(file=str(tmp_path / "file")))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    backend = parents.BACKENDS["fake"]
    without = measure(fake(), forks).baseline
    monkeypatch.setattr(
        parents, "BACKENDS", {"fake": replace(backend, imports=("mapped", *backend.imports))}
    )
    with Forks() as mapping:
        found = measure(fake(), mapping).baseline
        assert mapping._forked
    for more in (found.uss_bytes - without.uss_bytes, found.rss_bytes - without.rss_bytes):
        assert more == pytest.approx(_FILE_BYTES, rel=0.1)
    assert found.private_bytes == pytest.approx(without.private_bytes, abs=0.1 * _FILE_BYTES)


UNFIT = {
    "a thread": "import _thread, time\n_thread.start_new_thread(time.sleep, (3600,))",
    "a file": "import tempfile\ntempfile.mkstemp()",
    "an error": "raise RuntimeError('no')",
    "its end": "import os\nos._exit(0)",
}


@pytest.mark.parametrize("left", UNFIT)
def test_what_an_import_leaves_in_its_process_is_left_to_none_but_that(
    fake, forks, tmp_path, monkeypatch, left
):
    (tmp_path / "unfit.py").write_text(UNFIT[left])
    paths = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    monkeypatch.setenv("PYTHONPATH", paths)
    backend = parents.BACKENDS["fake"]
    monkeypatch.setattr(parents, "BACKENDS", {"fake": replace(backend, imports=("unfit",))})
    assert measure(fake(), forks).digests
    assert not forks._forked


def test_a_forked_worker_that_dies_fails_as_others_do(fake, forks):
    with pytest.raises(WorkerDied, match=r"killed \(SIGKILL\) in phase 'build'"):
        measure(fake(model={"fault": "die"}), forks)
    assert server_of(forks).is_running()


def test_a_forked_worker_that_takes_too_long_is_ended(fake, forks):
    with pytest.raises(WorkerTimeout, match="in phase 'build'"):
        measure(fake(model={"fault": "hang"}), forks, timeout_seconds=10)
    assert server_of(forks).is_running()


def test_a_keeper_that_is_killed_takes_its_worker_along(fake, forks, tmp_path):
    def kill(mark):
        if mark.label == "build":
            [worker] = [
                each for each in workers_of(tmp_path) if each.ppid() != server_of(forks).pid
            ]
            worker.parent().kill()

    with pytest.raises(WorkerDied, match="SIGKILL"):
        measure(fake(), forks, kill)


@pytest.mark.parametrize("forked_for", [[], ["tracemalloc", "fake"]])
def test_a_folder_that_workers_have_in_common_goes_with_memprof(fake, tmp_path, forked_for):
    common = tmp_path / "common"
    common.mkdir()
    path = fake(instruments=forked_for, model={"fault": "hang"})
    process = start(path, **{COMMON_FOLDER: str(common)})
    wait_for_worker(tmp_path, 1)
    assert common.exists()
    process.kill()
    process.communicate(timeout=300)
    assert gone(tmp_path)
    deadline = time.monotonic() + 300
    while common.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_memprof_leaves_nothing_of_a_server(fake, tmp_path, sent):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = fake(instruments=["tracemalloc", "fake"], model={"fault": "hang"})
    process = start(path, TMPDIR=str(temporary))
    wait_for_worker(tmp_path, 1)
    [server] = psutil.Process(process.pid).children()
    assert "memprof.launch.server" in server.cmdline()
    assert len(list(temporary.iterdir())) == 2, "a folder of the server, one of the worker"
    process.send_signal(sent)
    process.communicate(timeout=300)
    assert process.returncode == (130 if sent != signal.SIGKILL else -sent)
    assert gone(tmp_path)
    deadline = time.monotonic() + 300
    while server.is_running() or list(temporary.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "Traceback" not in errors(tmp_path)
