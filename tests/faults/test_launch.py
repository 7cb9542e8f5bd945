"""A worker and its keeper: what counts is taken when it is said, and nothing of it is left."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from memprof.launch.start import Halt, Worker, temporary_folder

HEAD = """
import atexit, json, os, signal, sys, threading, time
def say(**event):
    os.write(int(sys.argv[1]), json.dumps(event).encode() + b"\\n")
"""
# What each of these starts lasts a minute; the worker says who that is, has said all then, and goes
# on once it has been looked at.
STAYS = {
    "a forked child": """
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        say(pids=[child])
    """,
    "a daemon": """
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.write(writer, b"%d" % os.getpid())
            time.sleep(60)
        os.wait()
        say(pids=[int(os.read(reader, 20))])
    """,
    "a daemon that let go of everything": """
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.chdir("/")
            os.write(writer, b"%d" % os.getpid())
            os.closerange(0, 256)
            os.execve("/bin/sleep", ["sleep", "60"], {})
        os.wait()
        say(pids=[int(os.read(reader, 20))])
    """,
    "a thread": """
        threading.Thread(target=time.sleep, args=(60,)).start()
        say(pids=[os.getpid()])
    """,
    "an exit handler": """
        atexit.register(time.sleep, 60)
        say(pids=[os.getpid()])
    """,
    "a worker that is deaf": """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say(pids=[os.getpid()])
        time.sleep(60)
    """,
}


def launch(script, folder):
    return Worker("", ["-c", HEAD + textwrap.dedent(script)], folder, os.environ)


def said(worker):
    """All that it says until the end of a line, or of itself."""
    found = b""
    while not found.endswith(b"\n") and (data := worker.read(60.0)) is not None:
        found += data
    return found


HALF_GONE = """
import ctypes, os, threading, time
from memprof.launch import keeper

parent, (asked, asking) = os.getpid(), os.pipe()
if os.fork() == 0:
    print(keeper._is_gone(parent), flush=True)
    os.write(asking, b"!")
    while open(f"/proc/{parent}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.001)
    assert os.getppid() == parent
    print(keeper._is_gone(parent), flush=True)
    os._exit(0)
threading.Thread(target=os.wait).start()
os.read(asked, 1)
ctypes.CDLL(None).pthread_exit(None)
"""


def alive(process):
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    return False


def test_a_parent_is_gone_when_its_first_thread_is():
    """Others of its threads may live a little longer, and so be its children's parent."""
    done = subprocess.run([sys.executable, "-c", HALF_GONE], capture_output=True, check=True)
    assert done.stdout.split() == [b"False", b"True"]


@pytest.mark.parametrize("what", STAYS)
def test_what_stays_is_not_waited_for_and_does_not_stay(what):
    with temporary_folder() as folder:
        looked_at = folder / "looked at"
        waits = f"""
        while not os.path.exists({str(looked_at)!r}):
            time.sleep(0.01)
        """
        with launch(STAYS[what] + waits, folder) as worker:
            stays = json.loads(said(worker))["pids"]
            assert all(map(alive, stays)), "what was said is here before they end"
            looked_at.touch()
            worker.let_go()
        assert not any(map(alive, stays))
        itself = "pids=[os.getpid()]" in STAYS[what]
        assert worker.code() == (-signal.SIGKILL if itself else 0), "it is not waited for"
    assert not folder.exists()


def test_who_holds_the_pipe_does_not_hide_that_the_worker_died(tmp_path):
    dies = "os.fork() == 0 and time.sleep(60)\nos.kill(os.getpid(), signal.SIGSEGV)"
    with launch(dies, tmp_path) as worker:
        assert said(worker) == b""
        assert worker.code() == -signal.SIGSEGV
    with launch("os.fork() == 0 and time.sleep(60)\nos._exit(7)", tmp_path) as worker:
        assert said(worker) == b""
        assert worker.code() == 7


def test_a_fork_of_the_worker_is_not_heard(tmp_path):
    script = """
        from memprof.worker.job import Channel
        channel = Channel(int(sys.argv[1]))
        if os.fork() == 0:
            channel.error("failure", "of the fork")
            os._exit(0)
        os.wait()
        channel.error("failure", "of the worker")
        look = f"[ -e /proc/self/fd/{sys.argv[1]} ] && echo open || echo closed"
        os.execv("/bin/sh", ["sh", "-c", look])
    """
    with launch(script, tmp_path) as worker:
        assert json.loads(said(worker))["message"] == "of the worker"
        assert said(worker) == b""
    assert worker.printed() == "closed\n", "programs do not get the descriptor"


def test_output_without_an_end_takes_little_memory(tmp_path):
    with launch("os.write(1, b'x' * 10**7)", tmp_path) as worker:
        assert said(worker) == b""
    assert 10_000 < len(worker.printed()) < 100_000


PARENT = """
import os, signal, sys
from memprof.launch.start import Worker, temporary_folder
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests may ignore it
with temporary_folder() as folder:
    with Worker("", ["-c", sys.argv[1]], folder, os.environ) as worker:
        while not (event := worker.read(60.0)):
            pass
        print(folder, event.decode(), flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def parent(tmp_path):
    """A process of memprof's in a process group of its own, with a worker that has started a
    daemon; the folder and the daemon."""
    script = HEAD + textwrap.dedent(STAYS["a daemon"]) + "\ntime.sleep(60)"
    started = subprocess.Popen(
        [sys.executable, "-c", PARENT, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    with started:
        folder, _, event = started.stdout.readline().partition(" ")
        stays = json.loads(event)["pids"]
        assert all(map(alive, stays))
        yield started, folder, stays


def test_memprofs_own_death_leaves_neither_processes_nor_files(parent, tmp_path):
    process, folder, stays = parent
    process.kill()
    deadline = time.monotonic() + 300
    while any(map(alive, stays)) or os.path.exists(folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_reaches_memprof_alone_which_ends_all_that_its_worker_started(parent, tmp_path):
    """A terminal sends it to all of the process group."""
    process, _, stays = parent
    os.killpg(process.pid, signal.SIGINT)
    process.wait()
    assert not any(map(alive, stays))
    assert list(tmp_path.iterdir()) == []


def test_a_call_after_the_end_reaches_nobody():
    """A second Ctrl-C does not wait for threads that have yet to call; their descriptor may be
    another file's by then."""
    with Halt() as halt:
        halt.call()
        assert os.read(halt.descriptor, 1) == b"."
    reader, writer = os.pipe()
    try:
        assert {reader, writer} == {halt.descriptor, halt._caller}
        halt.call()
        assert select.select([reader], [], [], 0)[0] == []
    finally:
        os.close(reader)
        os.close(writer)
