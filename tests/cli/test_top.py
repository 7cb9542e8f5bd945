"""`memprof top` on processes that nobody watches, that are gone, and on a terminal."""

import json
import os
import pty
import signal
import subprocess

import pytest

from tests.conftest import COMMAND


@pytest.fixture
def waiting():
    """A process that ends when it is told to."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    yield process
    process.stdin.close()
    process.wait()


def test_a_process_that_nobody_watches_is_shown_with_how_to_watch_it(memprof, waiting, tmp_path):
    found = memprof("top", waiting.pid, "--json", "seen.json")
    assert (found.code, found.out) == (0, "")
    seen = json.loads((tmp_path / "seen.json").read_text())
    process = seen["process"]
    assert (process["name"], process["command"]) == ("cat", "cat")
    assert process["resident_bytes"] >= process["uss_bytes"] > 0
    assert process["threads"] == 1
    assert seen["live"] is None
    shown = memprof("top", waiting.pid, "--once")
    assert shown.code == 0
    assert "put its work into: with memprof.watch():" in " ".join(shown.out.split())
    parent = json.loads(memprof("top", os.getpid(), "--json", "-").out)["process"]
    assert parent["children"] >= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["4194304"], "4194304: there is no such process"),
        (["0"], "expected 1 to 4,194,304, found 0"),
        (["cat"], "Invalid value for 'PID'"),
        (["1", "--interval", "never"], "--interval: expected a duration such as 500 ms"),
        (["1", "--interval", "0"], "--interval: expected 0.1 s to a day"),
        (["1", "--json", "/proc/nowhere/file"], "cannot write"),
    ],
)
def test_what_cannot_be_shown_is_refused(memprof, arguments, words):
    found = memprof("top", *arguments)
    assert (found.code, found.out) == (2, "")
    assert words in found.err


def test_a_process_that_has_ended_but_is_not_asked_for_is_gone(memprof, waiting):
    waiting.stdin.close()
    os.waitid(os.P_PID, waiting.pid, os.WEXITED | os.WNOWAIT)
    found = memprof("top", waiting.pid)
    assert (found.code, found.err) == (
        2, f"memprof: {waiting.pid}: that process has ended already\n"
    )  # fmt: skip


@pytest.mark.parametrize("interrupt", [False, True])
def test_on_a_terminal_it_goes_on_until_the_process_ends(waiting, interrupt):
    ours, theirs = pty.openpty()
    top = subprocess.Popen(
        [*COMMAND, "top", str(waiting.pid)], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL
    )
    os.close(theirs)
    said = b""
    while b"memprof.watch" not in said:
        said += os.read(ours, 1 << 16)
    if interrupt:
        top.send_signal(signal.SIGINT)
    else:
        waiting.stdin.close()
        waiting.wait()
    assert top.wait() == (130 if interrupt else 0)
    last = f"{waiting.pid} has ended." if not interrupt else "memprof: interrupted"
    while last.encode() not in said:
        said += os.read(ours, 1 << 16)
    os.close(ours)
    assert b"\x1b[?25h" in said, "the cursor is there again"


def test_without_a_pid_somebody_has_to_be_watched(tmp_path):
    """In a network of its own, where no process of another test is seen."""
    found = subprocess.run(
        ["unshare", "--net", *COMMAND, "top"], capture_output=True, text=True, check=False
    )
    if "unshare" in found.stderr:
        pytest.skip("needs the right to unshare")
    assert found.returncode == 2
    assert "expected a PID, as no process of yours is watched" in found.stderr
