"""What a process holds that is not memory of its heap: descriptors, threads, child processes and
the like, each counted exactly.

Each count that the operating system keeps is tried in this process before it is trusted
(`left_out`), as readings of memory are.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from memprof.instruments import Load, failure
from memprof.instruments.created import created, target_of
from memprof.posix import PAGE_BYTES, OwnFile
from memprof.values.counts import COUNTS, CountName

_SYSTEM_V = Path("/proc/sysvipc/shm")
_FD, _TASKS, _MAPS = Path("/proc/self/fd"), Path("/proc/self/task"), Path("/proc/self/maps")
_LONGEST_END = 1.0

FILTER = "filter"
Key = Hashable
"""The same for the same resource for as long as it is there."""


def counts() -> dict[CountName, int]:
    """How many of each there are now, of those that can be told and trusted."""
    found: dict[CountName, int] = {}
    for name in COUNTS:
        keys = None if name in left_out() else present(name)
        if keys is not None:
            found[name] = len(keys)
    return found


def stamp(name: CountName) -> object:
    """Something that is the same, in microseconds, for as long as none of a kind comes; where there
    is nothing like it, never the same."""
    of_kind = _STAMPS.get(name, object)
    with contextlib.suppress(OSError):
        return of_kind()
    return object()


def present(name: CountName) -> Collection[Key] | None:
    """What there is now of one kind; None where it cannot be told."""
    return _PRESENT[name]()


@cache
def left_out() -> dict[str, str]:
    """Counts of this process that are not to be trusted, and why."""
    found = {}
    for name, load in _LOADS.items():
        with contextlib.suppress(OSError, RuntimeError):  # there may be none to have: no fault
            found[name] = failure(_counter(name), load(), 1, COUNTS[name].many)
    return {name: why for name, why in found.items() if why}


def _counter(name: CountName) -> Callable[[], int | None]:
    def count() -> int | None:
        keys = present(name)
        return None if keys is None else len(keys)

    return count


_RAN_OUT: dict[int, tuple[CountName, ...]] = {
    errno.EMFILE: ("descriptors",),
    errno.ENFILE: ("descriptors",),
    errno.EAGAIN: ("children", "threads"),
    errno.ENOMEM: ("maps", "segments"),
    errno.ENOSPC: ("files", "segments"),
    errno.EDQUOT: ("files",),
}
_NO_THREAD = "can't start new thread"


def exhausted(error: BaseException) -> Iterator[tuple[CountName, str]]:
    """What there may have been no more of when an error came, by all that led to it, in its
    words."""
    found: BaseException | None = error
    while found is not None:
        said = f"{type(found).__name__}: {found}"
        if isinstance(found, OSError):
            yield from ((name, said) for name in _RAN_OUT.get(found.errno or 0, ()))
        elif isinstance(found, RuntimeError) and str(found) == _NO_THREAD:
            yield from (("threads", said), ("children", said))
        found = found.__cause__ or found.__context__


class Spare:
    """Some descriptors put by, so that a process that has no more can still say what it has
    measured."""

    _MANY = 12

    def __init__(self) -> None:
        self._files: list[OwnFile] = []
        with contextlib.suppress(OSError):
            for _ in range(self._MANY):
                self._files.append(OwnFile(os.open(os.devnull, os.O_RDONLY)))

    def release(self) -> None:
        """Let the process have them."""
        while self._files:
            self._files.pop().close()


# ---------------------------------------------------------------- what the system counts


def _descriptors() -> Collection[Key] | None:
    """Open descriptors, with what they lead to."""
    with contextlib.suppress(OSError):
        return {(int(fd), target) for fd in os.listdir(_FD) if (target := target_of(fd))}
    return None


def _threads() -> Collection[Key] | None:
    """Python's and others."""
    with contextlib.suppress(OSError):
        return set(map(int, os.listdir(_TASKS)))
    return None


def _children() -> Collection[Key] | None:
    """All processes that descend from this one, and those whose parents are gone: a worker's
    keeper adopts these."""
    mine = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError):
        is_worker = hasattr(os, "getsid") and os.getsid(0) == mine.pid
        first = psutil.Process(mine.ppid()) if is_worker else mine
        return {(each.pid, each.create_time()) for each in below(first)} - {
            (mine.pid, mine.create_time())
        }
    return None


def below(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True)


def _segments() -> Collection[Key] | None:
    """Of shared memory, POSIX's by name and System V's by number, that this process created."""
    found = created().segments()
    with contextlib.suppress(OSError):
        for line in _SYSTEM_V.read_text().splitlines()[1:]:
            _, number, _, _, creator, *_ = map(int, line.split())
            if found is not None and creator == os.getpid():
                found.add(f"System V {number}")
    return found


def _maps() -> Collection[Key] | None:
    """Mappings of files and of shared memory; one that has parts with rights of their own, as
    libraries have, counts once."""
    with contextlib.suppress(OSError):
        found: list[Key] = []
        goes_on = (0, 0, "")
        for line in _MAPS.read_text().splitlines():
            addresses, _, offset, _, inode, *path = line.split(maxsplit=5)
            first, last = (int(each, 16) for each in addresses.split("-"))
            file = f"{inode} {path[0] if path else ''}"
            if inode != "0" and (first, int(offset, 16), file) != goes_on:
                found.append((first, file))
            goes_on = last, int(offset, 16) + last - first, file
        return found
    return None


def _programs() -> Collection[Key] | None:
    found = programs()
    return None if found is None else [id(each) for each in found]


def programs() -> list[Any] | None:
    """Those that JAX has compiled and that are still there, on all devices' clients; None where it
    does not tell, or has no device."""
    jax = sys.modules.get("jax")
    if jax is None:
        return []
    try:
        devices = jax.local_devices()
    except Exception:  # a RuntimeError, or an assertion of its own
        return None
    clients = {id(client): client for client in (each.client for each in devices)}
    if not all(hasattr(client, "live_executables") for client in clients.values()):
        return None
    return [each for client in clients.values() for each in client.live_executables()]


# ---------------------------------------------------------------- what Python and libraries keep


def _figures() -> Collection[Key] | None:
    """Those that pyplot keeps until they are closed."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    return [] if helpers is None else list(helpers.Gcf.figs)


def _loggers() -> Collection[Key]:
    return list(logging.root.manager.loggerDict)


def _handlers() -> Collection[Key]:
    """Handlers and filters, each with the name of its logger."""
    loggers = {"root": logging.root, **logging.root.manager.loggerDict}
    return {
        (name, id(part))
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger)
        for part in (*logger.handlers, *logger.filters)
    }


def _warnings() -> Collection[Key]:
    """What was warned of once, in each module's registry, and filters."""
    found: set[Key] = {(FILTER, id(each)) for each in warnings.filters}
    for name, module in list(sys.modules.items()):
        registry = getattr(module, "__dict__", {}).get("__warningregistry__", ())
        found |= {(name, *map(str, each)) for each in list(registry) if isinstance(each, tuple)}
    return found


_STAMPS: dict[CountName, Callable[[], object]] = {
    "maps": lambda: Path("/proc/self/statm").read_text().split()[0],
    "children": lambda: Path("/proc/loadavg").read_text().split()[-1],  # the latest process
}
_PRESENT: dict[CountName, Callable[[], Collection[Key] | None]] = {
    "descriptors": _descriptors,
    "threads": _threads,
    "children": _children,
    "segments": _segments,
    "maps": _maps,
    "files": lambda: created().files(),
    "programs": _programs,
    "uncollectable": lambda: [id(each) for each in gc.garbage],
    "figures": _figures,
    "loggers": _loggers,
    "handlers": _handlers,
    "warnings": _warnings,
}


# ---------------------------------------------------------------- one of each, to try the counts


class _Descriptor:
    def take(self) -> None:
        self._fd = os.open(os.devnull, os.O_RDONLY)

    def free(self) -> None:
        os.close(self._fd)


class _Thread:
    def take(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._end.wait)
        self._thread.start()

    def free(self) -> None:
        self._end.set()
        self._thread.join()
        _until(lambda: self._thread.native_id not in (present("threads") or ()))


class _Child:
    """A child that waits for the end of its input."""

    def take(self) -> None:
        command = [sys.executable, "-I", "-S", "-c", "input()"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def free(self) -> None:
        self._process.communicate()


class _Map:
    def take(self) -> None:
        self._map = mmap.mmap(-1, PAGE_BYTES)

    def free(self) -> None:
        self._map.close()


class _File:
    def take(self) -> None:
        handle, self._name = tempfile.mkstemp()
        os.close(handle)

    def free(self) -> None:
        os.unlink(self._name)


_LOADS: dict[CountName, Callable[[], Load]] = {
    "descriptors": _Descriptor,
    "threads": _Thread,
    "children": _Child,
    "maps": _Map,
    "files": _File,
}


def _until(done: Callable[[], bool]) -> None:
    """A thread is in the system's account for a moment after it has ended."""
    end = time.monotonic() + _LONGEST_END
    while not done() and time.monotonic() < end:
        time.sleep(0.001)
