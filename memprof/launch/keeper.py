"""The keeper of a worker: `python -I -S keeper.py PARENT STATUS EVENTS FOLDER COMMAND...`.

It stands between memprof and the worker, so that whatever the worker's code starts, daemons too,
becomes its child once the own parent is gone (Linux). When the worker ends, when memprof says so
(SIGTERM), or when the process PARENT is gone, it ends all of them. It says on the descriptor STATUS
which process the worker is and how that ended; EVENTS is the worker's. Standard library only: it
lives beside what is measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
COMMON_FOLDER = "MEMPROF_COMMON_FOLDER"
"""Environment variable: a folder that workers have in common; whoever finds memprof gone removes
it."""
_AWAITED = {signal.SIGCHLD, signal.SIGTERM}
_LONGEST_TIDYING = 1.0
_LONGEST_END = 3.0  # for what cannot be killed: it belongs to another user, or hangs in the kernel


def main() -> None:
    """Start the command, and leave nothing of it."""
    parent, status, events = (int(each) for each in sys.argv[1:4])
    folder, *command = sys.argv[4:]
    if keep(parent, status, events, folder):
        execute([*command, str(events)])


def keep(parent: int, status: int, events: int, folder: str) -> bool:
    """Fork a worker, and leave nothing of it. True in the worker, at once, which is in a session of
    its own and goes if its keeper does; False in the keeper, when all is over."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # children of a process that ignores it vanish
    signal.pthread_sigmask(signal.SIG_SETMASK, _AWAITED)
    keeper, worker = os.getpid(), os.fork()
    if worker == 0:
        os.close(status)
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(127)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return True
    _let_go(events)
    _say(status, f"worker {worker}")
    ended: dict[int, int] = {}
    while worker not in ended and os.getppid() == parent:
        if signal.sigwait(_AWAITED) == signal.SIGTERM:
            break
        _reap(ended)
    _end_all(ended)
    if worker in ended:
        _say(status, f"ended {ended[worker]}")
    if _is_gone(parent):
        remove(folder)
    return False


def remove(folder: str) -> None:
    """This folder, and the one that workers have in common."""
    import shutil

    for each in filter(None, (folder, os.environ.get(COMMON_FOLDER))):
        shutil.rmtree(each, ignore_errors=True)


def _is_gone(parent: int) -> bool:
    """Whether memprof has died. Its first thread does so before the others, and children are theirs
    for as long as one lives."""
    if os.getppid() != parent:
        return True
    with contextlib.suppress(OSError):
        return _stat(parent)[0] in (b"Z", b"X")
    return False


def execute(command: list[str]) -> None:
    """Be the program of the command, for good."""
    try:
        for each in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(each, signal.SIG_DFL)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _let_go(events: int) -> None:
    """What memprof reads from has to end with the worker."""
    os.close(events)
    empty = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(empty, each)
    os.close(empty)


def _reap(ended: dict[int, int]) -> bool:
    """Note how those ended that did; False if there is no child left."""
    with contextlib.suppress(ChildProcessError):
        while True:
            child, how = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                return True
            ended[child] = os.waitstatus_to_exitcode(how)
    return False


def _end_all(ended: dict[int, int]) -> None:
    """Kill all that descends from here; children of those killed come here, and go next. What
    removes segments of shared memory when those are gone that use them has time for it."""
    start = time.monotonic()
    while _reap(ended) and time.monotonic() < start + _LONGEST_END:
        in_time = time.monotonic() < start + _LONGEST_TIDYING
        for each in _descendants():
            if not (in_time and _tidies_up(each)):
                with contextlib.suppress(OSError):
                    os.kill(each, signal.SIGKILL)
        time.sleep(0.001)


def _tidies_up(process: int) -> bool:
    """Whether it is multiprocessing's tracker of shared memory, or one of its kind."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as stream:
        return b"resource_tracker" in stream.read()
    return False


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            process = int(name)
            children.setdefault(int(_stat(process)[1]), []).append(process)
    found = [*children.get(os.getpid(), ())]
    for each in found:
        found += children.get(each, ())
    return found


def _stat(process: int) -> list[bytes]:
    """What the system says of a process after its name: its state, its parent, and more (proc(5));
    an OSError where it has gone."""
    with open(f"/proc/{process}/stat", "rb") as stream:
        return stream.read().rpartition(b")")[2].split()


def _say(status: int, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(status, f"{line}\n".encode())


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
