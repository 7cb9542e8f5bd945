"""Temporary files and segments of shared memory that this process has created and not removed.

Source: PEP 578, its table of audit events.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from memprof.posix import OwnFile

_SEGMENTS = "/dev/shm/"
_SHARED = ("/tmp/", "/var/tmp/")
"""Folders of temporary files in which others have theirs, too."""


_EVENTS = frozenset(
    {
        "open",
        "os.mkdir",
        "os.rename",
        "os.link",
        "os.symlink",
        "tempfile.mkstemp",
        "tempfile.mkdtemp",
        "sqlite3.connect",
        "mmap.__new__",
    }
)


class Created:
    """What this process has created, by its names: in folders of temporary files, and wherever
    `tempfile` was told to. Processes that it forks are heard, too.

    The names are kept in an unnamed file: on the heap they would be a leak of their own.
    """

    def __init__(self) -> None:
        self._names = OwnFile.unnamed()
        self._own = tempfile.gettempdir() + "/"
        self._watched = (_SEGMENTS, *_SHARED, self._own)
        sys.addaudithook(self._heard)

    def files(self) -> set[Hashable] | None:
        """Temporary files and folders; None if somebody closed the file of names."""
        there = self._there()
        if there is None:
            return None
        found = {name for name in there if not name.startswith(_SEGMENTS)}
        if self._own not in _SHARED:  # nobody else has any in there
            for folder, folders, files in os.walk(self._own):
                found |= {os.path.join(folder, each) for each in (*folders, *files)}
        return set(found)

    def segments(self) -> set[Hashable] | None:
        """Segments of shared memory; None as with `files`."""
        there = self._there()
        return None if there is None else {n for n in there if n.startswith(_SEGMENTS)}

    def _there(self) -> set[str] | None:
        if not self._names.is_there():
            return None
        found = {os.fsdecode(name) for name in self._names.content().split(b"\0") if name}
        there = {name for name in found if os.path.lexists(name)}
        self._names.empty()
        for name in there:
            self._note(name)
        return there

    def _note(self, name: str) -> None:
        if self._names.is_there():
            os.write(self._names.number, os.fsencode(name) + b"\0")

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS:  # a walk through all objects makes millions of others
            return
        with suppress(OSError, ValueError):  # the user's call fails by itself, with its own words
            for name in _coming(event, arguments):
                watched = event.startswith("tempfile.") or name.startswith(self._watched)
                if watched and not os.path.lexists(name):
                    self._note(name)
            if event == "mmap.__new__" and arguments[0] >= 0:
                segment = target_of(arguments[0])
                if segment.startswith(_SEGMENTS):
                    self._note(segment)


def _coming(event: str, arguments: tuple[Any, ...]) -> Iterator[str]:
    """The name that comes to be by what an event is of, if it is not there yet."""
    match event, arguments:
        case "open", (str() | bytes() | os.PathLike() as path, _, int(flags)):
            if flags & os.O_CREAT:
                yield _absolute(path)
        case "os.mkdir", (path, _, folder):
            yield _absolute(path, folder)
        case "os.rename" | "os.link", (_, path, _, folder):
            yield _absolute(path, folder)
        case "os.symlink", (_, path, folder):
            yield _absolute(path, folder)
        case "tempfile.mkstemp" | "tempfile.mkdtemp" | "sqlite3.connect", (path,):
            if isinstance(path, str | bytes | os.PathLike):
                yield _absolute(path)


def _absolute(path: str | bytes | os.PathLike[Any], folder: int = -1) -> str:
    """The name of a path, within the folder that a descriptor leads to if there is one."""
    base = target_of(folder) if folder >= 0 else ""
    return os.path.abspath(os.path.join(base, os.fsdecode(path)))


def target_of(fd: int | str) -> str:
    """What a descriptor leads to; empty if it is closed."""
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


@cache
def created() -> Created:
    """What this process creates from now on; from the first time that somebody asks."""
    return Created()
