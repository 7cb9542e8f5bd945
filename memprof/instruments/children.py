"""Processes that this one has started: their memory is in no figure of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable
from typing import Any

import psutil

from memprof.values.measurements import Children, Processes


def running() -> frozenset[int]:
    """All processes that descend from this one, by their ids."""
    return frozenset(child.pid for child in psutil.Process().children(recursive=True))


def children(earlier: Container[int]) -> Children:
    """Those that run now: without what was there `earlier`, and those that were."""
    pids = running()
    return Children(
        _processes(pid for pid in pids if pid not in earlier),
        _processes(pid for pid in pids if pid in earlier),
    )


def _processes(pids: Iterable[int]) -> Processes:
    found = Processes()
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):  # it has ended
            memory: Any = psutil.Process(pid).memory_full_info()
            if memory.rss:  # not only its exit code
                own = found.own_bytes + getattr(memory, "uss", memory.rss)
                found = Processes(found.count + 1, found.rss_bytes + memory.rss, own)
    return found
