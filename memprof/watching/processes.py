"""Processes that a watched program starts by `fork` or by Python's multiprocessing: each has an
observer of its own, and leaves what it saw in a folder that the program's memprof reads."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from memprof.values.watch import PROCESS_SUFFIX, ChildProcess
from memprof.watching.imports import Imports
from memprof.watching.observer import Observer

# The last thing that a process of multiprocessing does at its end.
_LAST = -1000
# Runs in a process that was started anew, as what it is to do is read. Whatever comes of it, the
# program's own process goes on.
_BEGIN = """
try:
    from memprof.watching.processes import begin
    begin({folder!r}, {names!r}, {start!r})
except Exception:
    pass
"""
_OF_MULTIPROCESSING = b"from multiprocessing."


@dataclass(slots=True)
class _Here:
    """Who watches this process, and where its word goes.

    Attributes:
        folder: of all processes of this program.
        names: the one from which the program's files are named.
        start: of the program, by the clock that all processes share.
        began: of this process, by the same one.
        is_child: whether another process of the program started this one.
    """

    observer: Observer
    folder: Path
    names: str
    start: float
    began: float
    is_child: bool = False


_here: list[_Here] = []


class _Stowaway:
    """Begins to watch where it is unpickled, in a process that need not know this module."""

    def __init__(self, here: _Here) -> None:
        self._text = _BEGIN.format(folder=str(here.folder), names=here.names, start=here.start)

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self._text, {})


def follow(observer: Observer, folder: Path) -> None:
    """Watch the processes that this one starts, as `observer` watches this one."""
    _follow(_Here(observer, folder, os.getcwd(), observer.start_seconds, observer.start_seconds))


def begin(folder: str, names: str, start: float) -> None:
    """Watch this process, which multiprocessing has started anew."""
    now = time.monotonic()
    here = _Here(Observer(names, _say), Path(folder), names, start, now, is_child=True)
    _follow(here)
    here.observer.start()


def _follow(here: _Here) -> None:
    _watch(here)
    atexit.register(_end)
    then = {"multiprocessing.spawn": _take_along, "multiprocessing.util": _end_with}
    Imports(then).start()


def _watch(here: _Here) -> None:
    here.observer.follows, here.observer.in_a_fork = is_followed, _in_a_fork
    _here[:] = [here]


def _in_a_fork() -> Observer:
    """For a process that is a fork of the one here."""
    (earlier,) = _here
    observer = Observer(earlier.names, _say, earlier=earlier.observer)
    start, began = earlier.start, earlier.observer.start_seconds
    _watch(_Here(observer, earlier.folder, earlier.names, start, began, is_child=True))
    observer.start()
    return observer


def _take_along(spawn: ModuleType) -> None:
    """What a process that is started anew is told begins with us."""
    told = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {"memprof": _Stowaway(_here[0]), **told(name)}

    setattr(spawn, told.__name__, get_preparation_data)


def _end_with(util: ModuleType) -> None:
    """Processes of multiprocessing end without `atexit`."""
    util.register_after_fork(_LASTING, lambda _: util.Finalize(None, _end, exitpriority=_LAST))


class _Lasting:
    """What multiprocessing wants to know alive."""


_LASTING = _Lasting()


def _end() -> None:
    (here,) = _here
    if here.is_child:
        here.observer.end()


def _say(observer: Observer) -> None:
    """Leave all that is known until now, if there is anything; once the folder is gone nobody
    asks."""
    (here,) = _here
    if here.observer is not observer or not (observer.has_looked or observer.inherited):
        return
    file = here.folder / f"{os.getpid()}{PROCESS_SUFFIX}"
    with contextlib.suppress(OSError):
        written = file.with_suffix(".writing")
        written.write_bytes(msgspec.json.encode(_known(here)))
        written.replace(file)


def _known(here: _Here) -> ChildProcess:
    watched = here.observer.watched()
    return ChildProcess(
        name=_name(),
        started_seconds=here.began - here.start,
        kinds=watched.peak_kinds,
        unseen=watched.unseen,
        inherited=here.observer.inherited,
        peak_bytes=watched.peak_bytes,
        finished=watched.finished,
    )


def _name() -> str:
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return "fork"
    return str(process.current_process().name)


def is_followed(pid: int) -> bool:
    """Whether a process is a fork of this one, or one of multiprocessing's."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return _OF_MULTIPROCESSING in command or command == Path("/proc/self/cmdline").read_bytes()
    except OSError:  # it has ended
        return False
