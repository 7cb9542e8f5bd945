"""Reading a process once, or until it ends."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from memprof.errors import UsageError
from memprof.top.ask import ask, watched
from memprof.top.process import Process
from memprof.values.top import Seen


def see(process: Process) -> Seen:
    """As it is now.

    Raises:
        UsageError: it has ended.
    """
    try:
        found = process.read()
    except psutil.NoSuchProcess:
        raise UsageError(f"{process.pid}: that process has ended already") from None
    live, note = ask(process.pid, process.user)
    return Seen(process=found, live=live, note=note)


def follow(process: Process, seconds: float) -> Iterator[Seen]:
    """Every so many seconds, until it ends."""
    while not process.has_ended():
        try:
            yield see(process)
        except UsageError:
            return
        process.wait(seconds)


def see_all() -> list[Seen]:
    """All watched processes of this user."""
    found = []
    for pid in watched():
        try:
            found.append(see(Process(pid)))
        except UsageError:
            continue  # it has just ended
    return found
