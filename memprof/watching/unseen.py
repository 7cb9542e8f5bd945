"""Threads that the program does not see."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable

_running: set[threading.Lock] = set()


def start(work: Callable[[], None]) -> threading.Lock:
    """Do the work in a thread that `threading` does not list, and that takes none of the program's
    signals. The lock is free when it has ended, or could not start: there was no room."""
    working = threading.Lock()
    working.acquire()

    def run() -> None:
        _running.add(working)
        try:
            work()
        finally:
            _running.discard(working)
            working.release()

    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:
        working.release()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return working


def running() -> int:
    """How many there are, of which Python knows."""
    return len(_running)


def wait_for(working: threading.Lock | None) -> None:
    """Until that thread has ended."""
    if working is not None:
        with working:
            pass
