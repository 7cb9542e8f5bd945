"""`memprof run`: the user's program in a process of its own, watched, and what was seen of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from memprof.errors import (
    BudgetExceeded,
    LeakFound,
    MemprofError,
    WorkerFailed,
    WorkerTimeout,
)
from memprof.launch.machine import describe_environment
from memprof.launch.runner import Outcome
from memprof.launch.start import temporary_folder
from memprof.posix import Limits
from memprof.run import cautions
from memprof.run.advice import advise
from memprof.run.target import Program
from memprof.text import counted, format_size
from memprof.values.watch import (
    NO_SITES,
    PROCESS_SUFFIX,
    SITES,
    CellFailed,
    ChildProcess,
    Ended,
    Kind,
    KindBudget,
    RunReport,
    Said,
    Watched,
)

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_POLL_SECONDS = 0.2
# What a program may still do when it is told to end.
_GRACE_SECONDS = 10.0
_INTERRUPTED = 130
_BY_SIGNAL = 128


@dataclass(frozen=True, slots=True)
class _End:
    code: int
    ended: Ended
    seconds: float


def run(
    program: Program,
    budget_bytes: int | None,
    limits: Limits,
    *,
    fail_on_leak: bool = False,
    sites: bool = False,
) -> Outcome[RunReport]:
    """Run it to its end, whatever that is. `sites`: have it traced, for the lines that keep memory.

    Raises:
        WorkerFailed: the system lets no further process start.
    """
    with temporary_folder() as folder:
        end, heard = _run(program, limits, folder, sites=sites)
        watched, processes = heard.last(end), _said_in(folder)
    report = report_of(
        program.words,
        end.code,
        end.ended,
        watched,
        failed=heard.failed,
        processes=processes,
        memory_limit_bytes=limits.memory_bytes,
        budget_bytes=budget_bytes,
    )
    return Outcome(report, _broken(report, limits, fail_on_leak=fail_on_leak))


def _run(program: Program, limits: Limits, folder: Path, *, sites: bool) -> tuple[_End, _Heard]:
    events, theirs = os.pipe()
    limit, traced = str(limits.memory_bytes or 0), SITES if sites else NO_SITES
    own = ["-P", "-m", "memprof.run.program", str(theirs), limit, traced, str(folder), program.kind]
    if program.kind == "notebook":
        own = ["-P", "-m", "memprof.run.notebook", str(theirs), limit, traced, str(folder)]
    try:
        process = subprocess.Popen(
            [sys.executable, *own, program.target, *program.arguments], pass_fds=[theirs]
        )
    except OSError as error:
        os.close(events)
        raise WorkerFailed(f"cannot start the program: {error.strerror}") from None
    finally:
        os.close(theirs)
    heard = _Heard(events)
    return _until_it_ends(process, limits.timeout_seconds), heard


def _said_in(folder: Path) -> tuple[ChildProcess, ...]:
    """What processes that the program started have left, in the order in which they started."""
    found = []
    for file in folder.glob(f"*{PROCESS_SUFFIX}"):
        with contextlib.suppress(OSError, msgspec.DecodeError):  # written by somebody else
            found.append(msgspec.json.decode(file.read_bytes(), type=ChildProcess))
    return tuple(sorted(found, key=lambda each: each.started_seconds))


class _Heard:
    """What the program's process says, as it comes: the last word counts."""

    def __init__(self, events: int) -> None:
        self._latest: Watched | None = None
        self.failed: CellFailed | None = None
        self._thread = threading.Thread(target=self._hear, args=(events,), daemon=True)
        self._thread.start()

    def _hear(self, events: int) -> None:
        with os.fdopen(events, "rb") as stream:
            for line in stream:
                with contextlib.suppress(msgspec.DecodeError):  # cut short as the process ended
                    said = msgspec.json.decode(line, type=Said)
                    self._latest = said.watched or self._latest
                    self.failed = said.failed or self.failed

    def last(self, end: _End) -> Watched:
        """All that is known; little, where the process ended without a word. Children that the
        program left may have the other end open, and say nothing."""
        self._thread.join(timeout=1.0)
        return self._latest or Watched(
            facts={}, seconds=end.seconds, looks=(), timeline=(), operations=(),
            growth=None, start_bytes=0, peak_bytes=None, watch_seconds=0.0, finished=False,
        )  # fmt: skip


def _until_it_ends(process: subprocess.Popen[bytes], timeout: float | None) -> _End:
    """Wait for it. A signal that a person sends to memprof goes on to the program; one that a
    terminal sends, such as Ctrl-C, has reached both."""
    start = time.monotonic()
    ended: Ended = "exit"
    deadline = None if timeout is None else start + timeout
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDING, signal.SIGCHLD})
    try:
        while process.poll() is None:
            found = signal.sigtimedwait({*_ENDING, signal.SIGCHLD}, _POLL_SECONDS)
            if found is not None and found.si_signo in _ENDING:
                ended = "interrupted"
                if found.si_code <= 0:  # SI_USER and the like
                    process.send_signal(found.si_signo)
            if deadline is not None and time.monotonic() > deadline:
                ended, deadline = "timeout", None
                _end(process)
    finally:
        while signal.sigtimedwait({*_ENDING, signal.SIGCHLD}, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code, seconds = process.returncode, time.monotonic() - start
    if code < 0:
        return _End(_BY_SIGNAL - code, "killed" if ended == "exit" else ended, seconds)
    if ended == "exit" and code == _INTERRUPTED:
        ended = "interrupted"
    return _End(code, ended, seconds)


def _end(process: subprocess.Popen[bytes]) -> None:
    """First as Ctrl-C does, so that it can clean up and say what it held."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
    process.wait()


def report_of(
    program: tuple[str, ...],
    exit_code: int,
    ended: Ended,
    watched: Watched,
    *,
    failed: CellFailed | None = None,
    processes: tuple[ChildProcess, ...] = (),
    memory_limit_bytes: int | None = None,
    budget_bytes: int | None = None,
) -> RunReport:
    """What was seen of a program, or of a notebook's cell, that has come to its end."""
    kinds = watched.peak_kinds
    backend = "jax" if any(kind.backend == "jax" for kind in kinds) else "numpy"
    report = RunReport(
        complete=ended == "exit" and watched.finished,
        program=program,
        exit_code=exit_code,
        ended=ended,
        environment=describe_environment(backend, watched, memory_limit_bytes, None),
        warnings=tuple(cautions.find(watched, ended, failed, processes)),
        watched=watched,
        kinds=kinds,
        budget=() if budget_bytes is None else tuple(_judged(kinds, processes, budget_bytes)),
        processes=processes,
    )
    return replace(report, advice=advise(report))


def _judged(
    kinds: Sequence[Kind], processes: Sequence[ChildProcess], limit_bytes: int
) -> Iterator[KindBudget]:
    own = [(kind.name, kind) for kind in kinds]
    theirs = [(f"{kind.name} in {each.name}", kind) for each in processes for kind in each.kinds]
    for name, kind in (*own, *theirs):
        cost = kind.most_bytes
        yield KindBudget(limit_bytes, name, cost, kept=cost <= limit_bytes)


def _broken(report: RunReport, limits: Limits, *, fail_on_leak: bool) -> MemprofError | None:
    if report.ended == "timeout":
        return WorkerTimeout(
            f"the program exceeded the time limit of {limits.timeout_seconds:g} s; raise --timeout"
        )
    growth = report.watched.growth
    if fail_on_leak and growth is not None and growth.verdict == "leak":
        return LeakFound(
            f"the process grows by {format_size(growth.bytes_per_step)} per step of "
            f"{counted(growth.agents, 'agent')}"
        )
    over = [each for each in report.budget if not each.kept]
    if not over:
        return None
    first = max(over, key=lambda each: each.bytes)
    others = f", and {counted(len(over) - 1, 'further kind')} more" if over[1:] else ""
    return BudgetExceeded(
        f"{first.kind}: an agent costs {format_size(first.bytes)}, above the budget of "
        f"{format_size(first.limit_bytes)}{others}"
    )
