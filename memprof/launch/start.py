"""The parent's side of a process: start a worker under its keeper, hear it, sample its memory, and
leave nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from memprof.errors import WorkerFailed
from memprof.launch import keeper

_KEPT_OUTPUT_LINES, _KEPT_OUTPUT_BYTES = 40, 1 << 16
_LONGEST_WAIT = 3600.0  # at once; poll() counts milliseconds in 31 bits
# What a worker may still do when its result is there: exit handlers and threads of the user's code.
_GRACE_SECONDS = 1.0
_LONGEST_END = 5.0
_SAMPLED_SECONDS, _LONGEST_SAMPLED = 0.02, 1e9  # it ends with the process
_REMEDIES = {
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the machine has too many files open",
    errno.EAGAIN: "raise the limit of processes (ulimit -u)",
    errno.ENOMEM: "there is too little memory, on the machine or under ulimit -v",
    errno.ENOSPC: "free some space, or set TMPDIR to a folder that has some",
}


def new_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that is gone with this object, with whatever is in it.

    Raises:
        WorkerFailed: there is no place for one.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="memprof-", ignore_cleanup_errors=True)
        Path(folder.name).chmod(0o700)  # whatever the umask takes away
    except OSError as error:
        raise WorkerFailed(
            f"cannot make a temporary folder: {error.strerror or error}; set TMPDIR to a writable "
            "folder"
        ) from None
    return folder


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """The same, until the end of the block.

    Raises:
        WorkerFailed: there is no place for one.
    """
    with new_folder() as name:
        yield Path(name)


class Halt:
    """A call to all workers of other threads to end now; Ctrl-C reaches the first thread alone. In
    use in a `with` block."""

    def __enter__(self) -> Halt:
        self._turn = threading.Lock()
        self.descriptor, self._caller = os.pipe()
        self._open = True
        return self

    def __exit__(self, *error: object) -> None:
        with self._turn:
            self._open = False
            _close([self.descriptor, self._caller])

    def call(self) -> None:
        """Whoever polls the descriptor finds it readable from now on. After the block there is
        nobody: a second Ctrl-C does not wait for the threads."""
        with self._turn:
            if self._open:
                os.write(self._caller, b".")


class Process(Protocol):
    """A keeper's process: what `subprocess.Popen` has."""

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


Fork = Callable[[Path, Sequence[int]], Process]
"""Forks a keeper and its worker, from the folder and the descriptors of standard input, output,
events and status; an OSError where it cannot."""


class Worker:
    """A worker, its keeper, what it says and what it prints. In use in a `with` block, after which
    no process of it is left."""

    def __init__(
        self,
        request: str,
        arguments: list[str],
        folder: Path,
        environment: Mapping[str, str],
        halt: Halt | None = None,
        fork: Fork | None = None,
    ) -> None:
        """Start `python ARGUMENTS DESCRIPTOR`, or `fork` a process that goes on as that. It finds
        the request on standard input, and what it writes to the descriptor comes out of `read`.

        Raises:
            WorkerFailed: the system lets no further process start, or there is none to fork.
        """
        self._pid: int | None = None
        self._code: int | None = None
        self._said = b""
        own: list[int] = []  # descriptors
        theirs: list[int] = []
        try:
            for _ in ("events", "status", "output"):
                reader, writer = os.pipe()
                own.append(reader)
                theirs.append(writer)
            events, status, output = theirs
            with tempfile.TemporaryFile(dir=folder) as stdin:
                stdin.write(request.encode())
                stdin.seek(0)
                streams = stdin.fileno(), output, events, status
                if fork is not None:
                    self._keeper: Process = fork(folder, streams)
                else:
                    self._keeper = _started(arguments, folder, environment, *streams)
        except BaseException as error:
            _close(own)
            if isinstance(error, OSError):
                raise WorkerFailed(f"cannot start a worker: {_why(error)}") from None
            raise
        finally:
            _close(theirs)
        self._events, self._status, printed = own
        self._poll = select.poll()
        for each in (self._events, self._status):
            self._poll.register(each, select.POLLIN)
        self._halt = None if halt is None else halt.descriptor
        if self._halt is not None:
            self._poll.register(self._halt, select.POLLIN)
        self._output = _Output(printed)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        """End what is left of it: the worker, and all that it started."""
        try:
            with contextlib.suppress(ProcessLookupError):
                self._keeper.terminate()
            try:
                self._keeper.wait(_LONGEST_END)
            except subprocess.TimeoutExpired:
                self._keeper.kill()
                self._keeper.wait()
            while self._hear_keeper():
                pass
        finally:
            _close([self._events, self._status])

    def read(self, seconds: float | None) -> bytes | None:
        """What the worker says next: nothing within so many seconds is empty; None is the end.

        Raises:
            KeyboardInterrupt: all workers are called to end.
        """
        longest = _LONGEST_WAIT if seconds is None else min(seconds, _LONGEST_WAIT)
        ready = {each for each, _ in self._poll.poll(1000 * longest)}
        if self._halt in ready:
            raise KeyboardInterrupt
        if self._events in ready:
            data = os.read(self._events, 1 << 16)
            if not data:  # it closed its end; how it ended follows from its keeper
                self._poll.unregister(self._events)
            return data
        if self._status in ready and not self._hear_keeper():
            return None
        return b""

    def let_go(self) -> None:
        """Give it a moment to end by itself, now that it has said what counts."""
        last = time.monotonic() + _GRACE_SECONDS
        while (left := last - time.monotonic()) > 0 and self.read(left) is not None:
            pass

    def process(self) -> int | None:
        """Its number; None if it did not start."""
        while self._pid is None and self._hear_keeper():
            pass
        return self._pid

    def code(self) -> int:
        """How it ended: its exit code, or minus the signal; to be asked when it has."""
        return self._keeper.wait() if self._code is None else self._code

    def printed(self) -> str:
        """The last lines of what it printed."""
        return self._output.tail()

    def _hear_keeper(self) -> bool:
        """Take in what the keeper says; False if that was its last."""
        data = os.read(self._status, 1 << 12)
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"worker":
                self._pid = int(number)
            else:
                self._code = int(number)
        return bool(data)


def _started(
    arguments: list[str],
    folder: Path,
    environment: Mapping[str, str],
    stdin: int,
    output: int,
    events: int,
    status: int,
) -> Process:
    return subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", keeper.__file__),
            *(str(os.getpid()), str(status), str(events), str(folder)),
            *(sys.executable, *arguments),
        ],
        stdin=stdin,
        stdout=output,  # PyMDP prints there; shown if the worker fails
        stderr=subprocess.STDOUT,
        pass_fds=[events, status],
        env={**environment, "TMPDIR": str(folder)},
        start_new_session=True,  # Ctrl-C reaches memprof alone, which then ends it
    )


class _Output:
    """The end of what a worker printed, read as it comes so that the worker never blocks."""

    def __init__(self, descriptor: int) -> None:
        self._latest = b""
        self._thread = threading.Thread(target=self._drain, args=(descriptor,), daemon=True)
        self._thread.start()

    def _drain(self, descriptor: int) -> None:
        while data := os.read(descriptor, _KEPT_OUTPUT_BYTES):
            self._latest = (self._latest + data)[-_KEPT_OUTPUT_BYTES:]
        os.close(descriptor)

    def tail(self) -> str:
        self._thread.join(timeout=1.0)
        lines = self._latest.decode(errors="replace").splitlines(keepends=True)
        return "".join(lines[-_KEPT_OUTPUT_LINES:])


class MemorySampler:
    """Instrument `memory_profiler`: samples the resident set of a process until that ends."""

    @staticmethod
    def load() -> None:
        """Import what it takes, before there is a process: a short one may have ended otherwise."""
        import memory_profiler  # noqa: F401

    def __init__(self, process: int) -> None:
        self._samples: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._sample, args=(process,), daemon=True)
        self._thread.start()

    def samples(self) -> tuple[tuple[float, float], ...]:
        """(epoch seconds, resident bytes), once the process has ended."""
        self._thread.join()
        return tuple(self._samples)

    def _sample(self, process: int) -> None:
        from memory_profiler import memory_usage

        # The process may end between two looks at it, which memory_profiler does not expect.
        with contextlib.suppress(psutil.Error, OSError, TypeError):
            memory_usage(
                process,
                interval=_SAMPLED_SECONDS,
                timeout=_LONGEST_SAMPLED,
                timestamps=True,
                stream=self,
            )

    def write(self, line: str) -> None:
        """memory_profiler's stream: `MEM <MiB> <epoch seconds>`."""
        _, mebibytes, seconds = line.split()
        if float(mebibytes) > 0:  # a process that is being reaped reads as 0
            self._samples.append((float(seconds), float(mebibytes) * 2**20))

    def flush(self) -> None:
        """memory_profiler flushes its stream; there is nothing to flush."""


def _why(error: OSError) -> str:
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{error.strerror or error}{f'; {remedy}' if remedy else ''}"


def _close(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        os.close(each)
