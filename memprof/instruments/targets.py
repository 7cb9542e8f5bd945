"""What counted resources are called, and the Python objects that stand for them."""

from __future__ import annotations

import io
import logging
import mmap
import re
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from memprof.instruments.resources import FILTER, Key, programs
from memprof.values.counts import CountName

_INODE = re.compile(r":\[\d+\]$")
_MOST_LETTERS = 60


class Target(NamedTuple):
    """One resource: what a reader knows it by, and its object; None where there is no such."""

    called: str
    thing: Any = None


Things = Iterable[Any]


def targets(name: CountName, keys: Collection[Key], things: Things) -> dict[Key, Target]:
    """Those of some resources of a kind; `things` are all objects (`graph.everything`). One of
    which nothing is known is called by its key if that is a path, and nothing otherwise."""
    of_kind = _OF_KIND.get(name)
    found = {} if of_kind is None else dict(of_kind(keys, things))
    unknown = {key: Target(_file(key) if isinstance(key, str) else "") for key in keys}
    return unknown | found


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def _file(path: str) -> str:
    """A path by its end."""
    return path if len(path) <= _MOST_LETTERS else f"…{path[1 - _MOST_LETTERS :]}"


def _descriptors(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    owners = {}
    for thing in things:
        if issubclass(type(thing), io.FileIO | socket.socket):
            with suppress(ValueError, OSError):
                owners[thing.fileno()] = thing
    sockets = {}
    with suppress(psutil.Error, OSError, AttributeError):
        sockets = {each.fd: each for each in psutil.Process().net_connections("all")}
    for fd, target in keys:
        called = _INODE.sub("", target)
        if fd in sockets:
            called = _connection(sockets[fd])
        yield (fd, target), Target(_file(called), owners.get(fd))


def _connection(found: Any) -> str:
    """`TCP 127.0.0.1:80 to 127.0.0.1:5432`."""
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return f"socket {found.laddr or ''}".strip()
    kind = "UDP" if found.type == socket.SOCK_DGRAM else "TCP"
    ends = [f"{each.ip}:{each.port}" for each in (found.laddr, found.raddr) if each]
    listens = " listens at" * (found.status == psutil.CONN_LISTEN)
    return f"{kind}{listens} {' to '.join(ends)}".strip()


def _threads(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    pythons = {each.native_id: each for each in threading.enumerate()}
    for key in keys:
        thread: Any = pythons.get(key)
        if thread is None:
            with suppress(OSError):
                name = Path(f"/proc/self/task/{key}/comm").read_text().strip()
                yield key, Target(f"{name} (not Python's)")
            continue
        target = getattr(thread, "_target", None)
        called = getattr(target, "__qualname__", "")
        yield key, Target(f"{thread.name}, target {called}" if called else thread.name, thread)


def _children(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    kinds = (subprocess.Popen, BaseProcess)
    owners = {each.pid: each for each in things if issubclass(type(each), kinds)}
    for pid, started in keys:
        yield (pid, started), Target(_short(_command(pid)), owners.get(pid))


def _command(pid: int) -> str:
    """What a process runs; of one that has ended, and that nobody has waited for, what is left."""
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return f"{process.name()} (ended; nobody waited for it)"
        return " ".join(process.cmdline()) or process.name()
    return f"process {pid}"


def _segments(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    shared = getattr(sys.modules.get("multiprocessing.shared_memory"), "SharedMemory", None)
    owners = {}
    if shared is not None:
        owners = {each.name: each for each in things if issubclass(type(each), shared)}
    for key in keys:
        name = Path(key).name
        yield key, Target(name, owners.get(name))


def _maps(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    owners = {}
    for thing in things:
        if issubclass(type(thing), mmap.mmap):
            with suppress(ValueError, BufferError):  # it is closed
                owners[np.frombuffer(thing, np.uint8).ctypes.data] = thing
    for key in keys:
        file = key[1].partition(" ")[2]
        yield (
            key,
            Target(
                "anonymous" if file.startswith("/dev/zero") else _file(file), owners.get(key[0])
            ),
        )


def _figures(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    managers = sys.modules["matplotlib._pylab_helpers"].Gcf.figs
    return ((key, Target(f"number {key}", managers.get(key))) for key in keys)


def _loggers(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    known = logging.root.manager.loggerDict
    return ((key, Target(key, known.get(key))) for key in keys)


def _handlers(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    known = logging.root.manager.loggerDict
    for key in keys:
        name, part = key
        logger = logging.root if name == "root" else known[name]
        parts = (*logger.handlers, *logger.filters) if isinstance(logger, logging.Logger) else ()
        for each in parts:
            if id(each) == part:
                yield key, Target(f"{type(each).__qualname__} of {name}", each)


def _warnings(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    filters = {id(each): each for each in warnings.filters}
    for key in keys:
        where, what, *_ = key
        if where == FILTER and what in filters:
            action, message, category, *_ = filters[what]
            said = getattr(message, "pattern", message) or getattr(category, "__name__", "")
            yield key, Target(_short(f"filter {action} '{said}'"))
        else:
            yield key, Target(_short(f"'{what}' in {where}"))


def _programs(keys: Collection[Any], things: Things) -> Iterator[tuple[Key, Target]]:
    for each in programs() or ():
        if id(each) in keys:
            modules = each.hlo_modules()
            yield id(each), Target(modules[0].name if modules else "")


_OF_KIND = {
    "descriptors": _descriptors,
    "threads": _threads,
    "children": _children,
    "segments": _segments,
    "maps": _maps,
    "programs": _programs,
    "figures": _figures,
    "loggers": _loggers,
    "handlers": _handlers,
    "warnings": _warnings,
}
