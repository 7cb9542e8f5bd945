"""The parent's side of a server: the process that workers are forked from, so that they import
their backend once.

Forks have one layout of their address space, and the state of the allocator at the fork. Two of
them that measure the same would agree by more than chance has it: only the first is forked.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memprof.catalogue.backends import BACKENDS
from memprof.catalogue.passes import PASSES
from memprof.errors import MeasurementError, WorkerFailed
from memprof.launch import server
from memprof.launch.limits import left_bytes
from memprof.launch.start import Halt, temporary_folder
from memprof.values.requests import Request

# Imports of PyMDP, JAX's too, take half of it.
_ROOM_BYTES = 10**9
_LONGEST_FORK = 10.0
_LONGEST_END = 5.0
_LONGEST_WAIT = 3600.0


class Forks:
    """The forked workers of one scenario. In use in a `with` block, after which nothing is left of
    the process that they were forked from."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._server: Server | None = None
        self._environment: Mapping[str, str] | None = None
        self._forked: set[tuple[Any, ...]] = set()

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *error: object) -> None:
        if self._server is not None:
            self._server.close()

    def server_for(
        self,
        request: Request[Any],
        environment: Mapping[str, str],
        seconds: float | None,
        halt: Halt | None,
    ) -> Server | None:
        """The process to fork this worker from; None if it is to be started. It takes so many
        seconds at most.

        Raises:
            KeyboardInterrupt: the user ended it, or `halt` was called.
        """
        imports = BACKENDS[request.spec.backend].imports
        early = any(PASSES[name].early for name in request.spec.passes)
        if not imports or early or request.is_of_start:
            return None
        what = type(request), request.spec.passes, getattr(request, "instrument", "")
        with self._turn:
            if what in self._forked:
                return None
            if self._environment is None:
                self._environment = environment
                self._server = _started(environment, [request.target, *imports])
            if self._server is None or self._environment != environment:
                return None
            if not self._server.is_ready(seconds, halt):
                return None
            self._forked.add(what)
            return self._server


class Server:
    """The process that has imported what workers need. It need not become ready: then there are no
    forks."""

    def __init__(self, environment: Mapping[str, str], imports: Sequence[str]) -> None:
        """Start it.

        Raises:
            WorkerFailed, OSError: the system does not let it start.
        """
        self._turn = threading.Lock()
        self._ready: bool | None = None  # None while it may become so
        with contextlib.ExitStack() as kept:
            folder = kept.enter_context(temporary_folder())
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept.enter_context(self._socket)
            with theirs:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-m", server.__name__),
                        *(str(theirs.fileno()), str(folder), *imports),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env={**environment, "TMPDIR": str(folder)},
                    start_new_session=True,
                )
            self._kept = kept.pop_all()

    def is_ready(self, seconds: float | None, halt: Halt | None) -> bool:
        """Whether it has imported everything, and its forks are like processes that are started;
        to be waited for so long.

        Raises:
            KeyboardInterrupt: the user ended it, or `halt` was called.
        """
        if self._ready is None:
            poll = select.poll()
            for each in [self._socket.fileno(), *([] if halt is None else [halt.descriptor])]:
                poll.register(each, select.POLLIN)
            longest = _LONGEST_WAIT if seconds is None else min(seconds, _LONGEST_WAIT)
            heard = {each for each, _ in poll.poll(1000 * longest)}
            if halt is not None and halt.descriptor in heard:
                raise KeyboardInterrupt
            self._ready = bool(heard) and self._hear() == server.READY
            self._socket.settimeout(_LONGEST_FORK)
        return self._ready

    def fork(self, folder: Path, descriptors: Sequence[int]) -> Keeper:
        """A keeper with its worker, and with these descriptors for standard input, output, events
        and status.

        Raises:
            OSError: there is none, and the server is no more.
        """
        with self._turn:
            try:
                socket.send_fds(self._socket, [os.fsencode(folder)], descriptors)
                said, given, *_ = socket.recv_fds(self._socket, len(server.FORKED), 1)
                if said == server.FORKED:
                    return Keeper(*given)
                raise ConnectionError("the server has ended")
            except OSError:
                self._ready = False
                self._end()
                raise

    def is_alive(self) -> bool:
        """Whether forks still have the process that they came from: they end with it."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it; its workers have ended."""
        with self._kept:
            self._socket.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LONGEST_END)
            self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _hear(self) -> bytes:
        with contextlib.suppress(OSError):
            return self._socket.recv(len(server.READY))
        return b""


class Keeper:
    """The process of a forked keeper, no child of this one: known by its descriptor (pidfd)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Until it has ended. How it did is not known: if it did not say that of its worker, it was
        killed.

        Raises:
            subprocess.TimeoutExpired: it takes longer than so many seconds.
        """
        if self._descriptor is not None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            if not poll.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired(server.WORKER, timeout or 0.0)
            os.close(self._descriptor)
            self._descriptor = None
        return -signal.SIGKILL

    def _send(self, number: int) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)


def _started(environment: Mapping[str, str], imports: Sequence[str]) -> Server | None:
    """None where there cannot be one, or memory is short."""
    if not hasattr(os, "pidfd_open"):
        return None
    with contextlib.suppress(OSError, WorkerFailed, MeasurementError):
        return Server(environment, imports) if left_bytes() > _ROOM_BYTES else None
    return None
