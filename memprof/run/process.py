"""The process of a program that is watched: started, followed to its end, and listened to.

This is what `memprof run` does first, so it imports little: all that a report takes is imported
while the program runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from memprof.errors import WorkerFailed
from memprof.posix import Limits
from memprof.run.target import NO_SITES, SITES, Program

if TYPE_CHECKING:
    from memprof.values.watch import CellFailed, ChildProcess, Ended, Watched

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_POLL_SECONDS = 0.2
# What a program may still do when it is told to end.
_GRACE_SECONDS = 10.0
_INTERRUPTED = 130
_BY_SIGNAL = 128


@dataclass(frozen=True, slots=True)
class End:
    """How a program ended.

    Attributes:
        code: its exit code, or as a shell gives it of one that a signal killed.
        seconds: since its start.
    """

    code: int
    ended: Ended
    seconds: float


class Running:
    """A program's process, until it has ended, in a `with` block. Signals that would end memprof
    wait meanwhile; the program gets those of a terminal, and those that `follow` hands on.

    Attributes:
        watched: the last word of its process; None where that has said nothing.
        failed: the cell of a notebook at which it ended.

    Raises:
        WorkerFailed: the system lets no further process start.
    """

    def __init__(self, program: Program, limits: Limits, folder: Path, *, sites: bool) -> None:
        self._folder = folder
        self.watched: Watched | None = None
        self.failed: CellFailed | None = None
        self._timeout = limits.timeout_seconds
        events, theirs = os.pipe()
        own = [
            str(theirs),
            str(limits.memory_bytes or 0),
            SITES if sites else NO_SITES,
            str(folder),
        ]
        module = ["memprof.run.program", *own, program.kind]
        if program.kind == "notebook":
            module = ["memprof.run.notebook", *own]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", *module, program.target, *program.arguments],
                pass_fds=[theirs],
            )
        except OSError as error:
            os.close(events)
            raise WorkerFailed(f"cannot start the program: {error.strerror}") from None
        finally:
            os.close(theirs)
        self._began = time.monotonic()
        self._listening = threading.Thread(target=self._listen, args=(events,), daemon=True)

    def __enter__(self) -> Self:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDING, signal.SIGCHLD})
        self._listening.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._end()
        while signal.sigtimedwait({*_ENDING, signal.SIGCHLD}, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _listen(self, events: int) -> None:
        import msgspec

        from memprof.values.watch import Said

        with os.fdopen(events, "rb") as stream:
            for line in stream:
                with contextlib.suppress(msgspec.DecodeError):  # cut short as the process ended
                    said = msgspec.json.decode(line, type=Said)
                    self.watched = said.watched or self.watched
                    self.failed = said.failed or self.failed

    def follow(self) -> End:
        """Wait for its end, and for all that it says. Children that the program left may have the
        other end open, and say nothing."""
        ended: Ended = "exit"
        deadline = None if self._timeout is None else self._began + self._timeout
        while self._process.poll() is None:
            found = signal.sigtimedwait({*_ENDING, signal.SIGCHLD}, _POLL_SECONDS)
            if found is not None and found.si_signo in _ENDING:
                ended = "interrupted"
                if found.si_code <= 0:  # SI_USER and the like
                    self._process.send_signal(found.si_signo)
            if deadline is not None and time.monotonic() > deadline:
                ended, deadline = "timeout", None
                self._end()
        code, seconds = self._process.returncode, time.monotonic() - self._began
        self._listening.join(timeout=1.0)
        if code < 0:
            return End(_BY_SIGNAL - code, "killed" if ended == "exit" else ended, seconds)
        if ended == "exit" and code == _INTERRUPTED:
            ended = "interrupted"
        return End(code, ended, seconds)

    def processes(self) -> tuple[ChildProcess, ...]:
        """What processes that the program started have left, in the order in which they started."""
        import msgspec

        from memprof.values.watch import PROCESS_SUFFIX, ChildProcess

        found = []
        for file in self._folder.glob(f"*{PROCESS_SUFFIX}"):
            with contextlib.suppress(OSError, msgspec.DecodeError):  # written by somebody else
                found.append(msgspec.json.decode(file.read_bytes(), type=ChildProcess))
        return tuple(sorted(found, key=lambda each: each.started_seconds))

    def _end(self) -> None:
        """First as Ctrl-C does, so that it can clean up and say what it held."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                self._process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return
        self._process.wait()
