"""The parent's side: run a worker, and follow it until it has said what counts.

Why a worker has no result: its own word, or what its death and its limits tell.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import msgspec

from memprof.errors import (
    BackendFailed,
    ClusterError,
    MeasurementError,
    MemoryLimitReached,
    MemprofError,
    ScenarioError,
    UsageError,
    WorkerDied,
    WorkerFailed,
    WorkerTimeout,
)
from memprof.launch.forks import Forks
from memprof.launch.machine import worker_environment
from memprof.launch.start import Halt, MemorySampler, Worker, temporary_folder
from memprof.posix import Limits, rlimit_bytes
from memprof.text import format_limit, format_size, raised
from memprof.values.measurements import Mark
from memprof.values.requests import (
    Event,
    Failure,
    FailureKind,
    Part,
    Progress,
    R,
    Request,
    Result,
    decode_event,
    encode,
)

_ARGUMENTS = ["-P", "-m", "memprof.worker"]
_IMPORT_SECONDS = 45.0  # under a memory limit: with too little, BLAS tries for ever


@dataclass(frozen=True, slots=True)
class Finished(Generic[R]):
    """A worker's result, the phases it went through, and, if it was sampled, its resident set as
    (epoch seconds, bytes)."""

    value: R
    marks: tuple[Mark, ...]
    samples: tuple[tuple[float, float], ...] = ()


def run_worker(
    request: Request[R],
    limits: Limits,
    on_progress: Callable[[Mark], None],
    *,
    sample: bool = False,
    on_part: Callable[[R], None] | None = None,
    halt: Halt | None = None,
    forks: Forks | None = None,
    cache: Path | None = None,
) -> Finished[R]:
    """Run one job in a fresh process, one of the `forks` where those are of use; it, what it
    started and its temporary files are gone when this returns or raises. `on_part` is told what is
    known of the result so far, where a job says it. What it compiles is in the folder `cache`,
    for others with the same passes.

    Raises:
        KeyboardInterrupt: the user ended it, or `halt` was called.
        ScenarioError: the worker found the scenario wrong.
        MeasurementError: it did not start, died, failed, ran out of time or into the memory limit.
    """
    request = msgspec.structs.replace(request, memory_limit_bytes=limits.memory_bytes)
    ceiling = Ceiling.of(limits.memory_bytes)
    environment = worker_environment(
        request.spec.backend, type(request), cache, request.spec.passes
    )
    environment["PYTHONHASHSEED"] = "0"
    server = None
    if forks is not None and ceiling is None:
        server = forks.server_for(request, environment, limits.timeout_seconds, halt)
    marks: list[Mark] = []

    def keep(mark: Mark) -> None:
        marks.append(mark)
        on_progress(mark)

    with temporary_folder() as folder:
        fork = None if server is None else server.fork
        try:
            if sample:
                MemorySampler.load()
            with Worker(encode(request), _ARGUMENTS, folder, environment, halt, fork) as worker:
                process = worker.process() if sample else None
                sampler = None if process is None else MemorySampler(process)
                last = _follow(
                    worker, request, limits, ceiling, keep, on_part or (lambda value: None)
                )
                worker.let_go()
            if isinstance(last, Result):
                return Finished(last.value, tuple(marks), sampler.samples() if sampler else ())
            raise failure(last, worker.code(), request, ceiling, marks, worker.printed())
        except MeasurementError:
            if server is None or server.is_alive():
                raise
    # A fork ends with its server, which says nothing of what it was to do.
    return run_worker(
        request, limits, on_progress, sample=sample, on_part=on_part, halt=halt, cache=cache
    )


def _follow(
    worker: Worker,
    request: Request[R],
    limits: Limits,
    ceiling: Ceiling | None,
    on_progress: Callable[[Mark], None],
    on_part: Callable[[R], None],
) -> Result[R] | Failure | None:
    """Pass on progress and parts until there is a result or an error; None if the worker ended
    without. Whoever else has the pipe open then, a process or thread of the user's code, is not
    waited for."""
    start = time.monotonic()
    pieces: list[bytes] = []
    label = "start"
    while True:
        seconds = limits.timeout_seconds
        starved = ceiling if label in IMPORTING else None
        if starved is not None:
            seconds = min(_IMPORT_SECONDS, seconds or _IMPORT_SECONDS)
        left = None if seconds is None else start + seconds - time.monotonic()
        if left is not None and left <= 0:
            if starved is not None:
                raise too_low_for_imports(request, starved)
            raise WorkerTimeout(
                f"the worker exceeded the time limit of {limits.timeout_seconds:g} s, in "
                f"phase {label!r}; raise --timeout, or lower --agents or --steps"
            )
        data = worker.read(left)
        if data is None:
            return None
        pieces.append(data)
        if b"\n" not in data:
            continue
        *lines, rest = b"".join(pieces).split(b"\n")
        pieces = [rest]
        for line in lines:
            said = _heard(line, request)
            if isinstance(said, Progress):
                label = said.mark.label
                on_progress(said.mark)
            elif isinstance(said, Part):
                on_part(said.value)
            else:
                return said


def _heard(line: bytes, request: Request[R]) -> Event[R]:
    """What a line says.

    Raises:
        WorkerFailed: it is none of the worker's.
    """
    try:
        return decode_event(line, request)
    except (ValueError, RecursionError) as error:
        raise WorkerFailed(
            "the worker's messages cannot be read; does the model or its environment write to "
            "files that it did not open, or replace functions of Python?",
            detail=raised(error),
        ) from None


# Phases in which libraries load; they load more of themselves when they are first used.
IMPORTING = ("start", "import", "warm up")
_IMPORT_BYTES = 500 * 10**6
_AMPLE_BYTES = 4 * 10**9  # with so much, a crash has another reason


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The lowest limit of a worker's memory: the user's own, or one that memprof inherited.

    Attributes:
        words: what it is, in a message.
        option: what raises it.
    """

    size_bytes: int
    words: str
    option: str

    @classmethod
    def of(cls, memory_limit_bytes: int | None) -> Ceiling | None:
        """That of a worker which is started now; None if nothing limits it, or not by much."""
        found = []
        if memory_limit_bytes is not None:
            words = f"the memory limit of {format_limit(memory_limit_bytes)}"
            found.append(cls(memory_limit_bytes, words, "--memory-limit"))
        for kind, option in (("DATA", "ulimit -d"), ("AS", "ulimit -v")):
            limit = rlimit_bytes(kind)
            if limit is not None and limit < _AMPLE_BYTES:
                words = f"the memory limit of {format_size(limit)} that memprof was started with"
                found.append(cls(limit, words, option))
        return min(found, key=lambda each: each.size_bytes, default=None)


_SAID: Mapping[FailureKind, type[MemprofError]] = {"usage": UsageError, "cluster": ClusterError}
"""What a worker has said in full."""


def failure(
    event: Failure | None,
    code: int,
    request: Request[Any],
    ceiling: Ceiling | None,
    marks: list[Mark],
    output: str,
) -> MemprofError:
    """Why there is no result: the worker's own word, or what its death tells."""
    phase = marks[-1].label if marks else "start"
    detail = output if event is None else event.detail
    if event is not None and event.kind == "scenario":
        return ScenarioError(event.field, event.message, detail=detail)
    if event is not None and event.kind in _SAID:
        return _SAID[event.kind](event.message, detail=detail)
    if ceiling is not None and _limit_was_hit(event, code, ceiling, phase):
        living = event is not None and event.kind == "memory" and " during " in event.message
        if phase in IMPORTING and not living:
            return too_low_for_imports(request, ceiling, detail)
        during = "" if event is None else f" ({event.message})"
        return MemoryLimitReached(
            f"the population does not fit in {ceiling.words}{during}; raise {ceiling.option}, "
            "lower --agents, or add passes",
            detail=detail,
        )
    if event is None:
        return WorkerDied(_death(code, phase), detail=detail)
    if event.kind == "memory":
        return MemoryLimitReached(
            f"the population does not fit in this machine's memory ({event.message}); lower "
            "--agents, or add passes",
            detail=detail,
        )
    if event.kind == "backend":
        return BackendFailed(event.message, detail=detail)
    return WorkerFailed(f"the worker failed: {event.message}", detail=detail)


def _death(code: int, phase: str) -> str:
    """What the exit code of a worker without a word tells; minus the signal that ended it."""
    if code >= 0:
        return (
            f"the worker ended with exit code {code} and no result, in phase {phase!r}; does the "
            "model or its environment end the process, or close files that it did not open?"
        )
    name, cause = f"signal {-code}", ""  # signals for programs' own use have no name
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
    seconds = rlimit_bytes("CPU")
    if seconds is not None and code in (-signal.SIGKILL, -signal.SIGXCPU):
        cause = f"; does it need more processor time than the {seconds} s of ulimit -t?"
    elif code == -signal.SIGKILL:
        cause = (
            ", most likely by the kernel because the machine ran out of memory; use fewer agents, "
            "or passes that make each of them smaller"
        )
    return f"the worker was killed ({name}) in phase {phase!r}{cause}"


def too_low_for_imports(
    request: Request[Any], ceiling: Ceiling, detail: str = ""
) -> MemoryLimitReached:
    """What to say where not even libraries can be loaded."""
    return MemoryLimitReached(
        f"{ceiling.words} is too low for the imports alone; PyMDP with backend "
        f"{request.spec.backend} needs about {format_size(_IMPORT_BYTES)}. Raise {ceiling.option}",
        detail=detail,
    )


def _limit_was_hit(event: Failure | None, code: int, ceiling: Ceiling, phase: str) -> bool:
    """Out of memory shows as MemoryError where Python notices, as a native library's exit or crash
    where it does not, and as almost anything while modules are loaded."""
    if event is None:
        return code != -signal.SIGKILL
    if event.kind == "backend":
        return ceiling.size_bytes < _IMPORT_BYTES
    loading = phase in IMPORTING and "ModuleNotFound" not in event.message
    return event.kind == "memory" or loading
