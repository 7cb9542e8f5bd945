"""The parent's side: start a worker, follow its events, end it, and say why it failed."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from memprof.density import DensityRun
from memprof.environment import worker_environment
from memprof.errors import (
    BackendFailed,
    MemoryLimitReached,
    MemprofError,
    ScenarioError,
    WorkerDied,
    WorkerFailed,
    WorkerTimeout,
)
from memprof.instruments.timeline import MemorySampler
from memprof.leak import Attribution, CycleRun
from memprof.measurements import InstrumentRun, Mark, Measurement, ThreadsRun, TraceComparison
from memprof.posix import check_can_measure
from memprof.units import format_limit, format_size
from memprof.worker.protocol import Request

_KEPT_OUTPUT_LINES = 40
# Libraries load more of themselves when they are first used.
_IMPORTING = ("start", "import", "warm up")
_IMPORT_SECONDS = 45.0
_IMPORT_BYTES = {"numpy": 500 * 10**6, "jax": 500 * 10**6}
_RESULTS: dict[str, TypeAdapter[Any]] = {
    "measure": TypeAdapter(Measurement),
    "instrument": TypeAdapter(InstrumentRun),
    "trace": TypeAdapter(TraceComparison),
    "leak": TypeAdapter(CycleRun),
    "sites": TypeAdapter(Attribution),
    "density": TypeAdapter(DensityRun),
    "threads": TypeAdapter(ThreadsRun),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use; None is no limit.

    Raises:
        MeasurementError: this system has no workers.
    """

    timeout_seconds: float | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        check_can_measure()

    def import_seconds(self) -> float | None:
        """For how long a worker may import: with too little memory, BLAS tries for ever."""
        if self.memory_bytes is None:
            return self.timeout_seconds
        return min(_IMPORT_SECONDS, self.timeout_seconds or _IMPORT_SECONDS)


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker's result, the phases it went through, and, if it was sampled, its resident set as
    (epoch seconds, bytes)."""

    value: Any
    marks: tuple[Mark, ...]
    samples: tuple[tuple[float, float], ...] = ()


def run_worker(
    request: Request,
    limits: Limits,
    on_progress: Callable[[Mark], None],
    *,
    sample: bool = False,
    on_part: Callable[[Any], None] | None = None,
) -> Finished:
    """Run one job in a fresh process; it and its temporary files are gone when this returns or
    raises. `on_part` is told what is known of the result so far, where a job says it.

    Raises:
        ScenarioError: the worker found the scenario wrong.
        MeasurementError: it died, failed, ran out of time or into the memory limit.
    """
    request = replace(request, memory_limit_bytes=limits.memory_bytes)
    with tempfile.TemporaryDirectory(prefix="memprof-") as folder:
        return _run(request, limits, on_progress, sample, on_part or (lambda value: None), folder)


def _run(
    request: Request,
    limits: Limits,
    on_progress: Callable[[Mark], None],
    sample: bool,
    on_part: Callable[[Any], None],
    folder: str,
) -> Finished:
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "memprof.worker", str(writer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # PyMDP prints there; kept for the message if the worker fails
            stderr=subprocess.STDOUT,
            pass_fds=[writer],
            env={
                **worker_environment(
                    request.spec.backend,
                    cycles=request.cycles > 0,
                    threads=request.job == "threads",
                ),
                "PYTHONHASHSEED": "0",
                "TMPDIR": folder,
            },
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends the worker
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    marks: list[Mark] = []

    def keep(mark: Mark) -> None:
        marks.append(mark)
        on_progress(mark)

    output = _Output(process)
    sampler = MemorySampler(process) if sample else None
    try:
        with contextlib.suppress(BrokenPipeError):
            assert process.stdin is not None
            process.stdin.write(request.to_json().encode())
            process.stdin.close()
        last = _follow(reader, request, limits, keep, on_part)
        process.wait()
    finally:
        os.close(reader)
        _end(process)
    if last is not None and last["event"] == "result":
        value = _RESULTS[request.job].validate_python(last["value"])
        return Finished(value, tuple(marks), sampler.samples() if sampler else ())
    raise _failure(last, process.returncode, request, limits, marks, output.tail())


def _follow(
    reader: int,
    request: Request,
    limits: Limits,
    on_progress: Callable[[Mark], None],
    on_part: Callable[[Any], None],
) -> dict[str, Any] | None:
    """Pass on progress and parts until the pipe closes; the last event that was a result or an
    error."""
    start = time.monotonic()
    buffer, last, label = b"", None, "start"
    while True:
        importing = label in _IMPORTING
        seconds = limits.import_seconds() if importing else limits.timeout_seconds
        left = None if seconds is None else start + seconds - time.monotonic()
        if left is not None and left <= 0:
            if importing and limits.memory_bytes is not None:
                raise _too_low_for_imports(request)
            raise WorkerTimeout(
                f"the worker ran past the time limit of {limits.timeout_seconds:g} s, while in "
                f"phase {label!r}; raise --timeout, or lower --agents or --steps"
            )
        if not select.select([reader], [], [], left)[0]:
            continue
        data = os.read(reader, 1 << 16)
        if not data:
            return last
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event["event"] == "progress":
                mark = Mark(event["seconds"], event["label"], event["agents"])
                label = mark.label
                on_progress(mark)
            elif event["event"] == "part":
                on_part(_RESULTS[request.job].validate_python(event["value"]))
            else:
                last = event


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind: the worker and whatever it started are killed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failure(
    event: dict[str, Any] | None,
    code: int,
    request: Request,
    limits: Limits,
    marks: list[Mark],
    output: str,
) -> MemprofError:
    """Why there is no result: the worker's own word, or what its death tells."""
    if event is not None and event["kind"] == "scenario":
        return ScenarioError(event["field"], event["message"], detail=event["detail"])
    detail = output if event is None else event["detail"]
    phase = marks[-1].label if marks else "start"
    if limits.memory_bytes is not None and _limit_was_hit(event, code, request, marks):
        if phase in _IMPORTING and not _during(event):
            return _too_low_for_imports(request, detail)
        during = "" if event is None else f" ({event['message']})"
        return MemoryLimitReached(
            f"the population does not fit in the memory limit of "
            f"{format_limit(limits.memory_bytes)}{during}; raise --memory-limit, lower --agents, "
            "or add passes",
            detail=detail,
        )
    if event is not None and event["kind"] == "memory":
        return MemoryLimitReached(
            f"the population does not fit in this machine's memory ({event['message']}); lower "
            "--agents, or add passes",
            detail=detail,
        )
    if event is not None and event["kind"] == "backend":
        return BackendFailed(event["message"], detail=detail)
    if event is not None:
        return WorkerFailed(f"the worker failed: {event['message']}", detail=detail)
    if code >= 0:
        return WorkerDied(
            f"the worker ended with exit code {code} and no result, while in phase {phase!r}; "
            "does the model or its environment end the process?",
            detail=detail,
        )
    name, cause = signal.Signals(-code).name, ""
    if code == -signal.SIGKILL:
        cause = (
            ", most often by the kernel because the machine ran out of memory; let fewer agents "
            "live, or make one need less"
        )
    return WorkerDied(
        f"the worker was killed ({name}) while in phase {phase!r}{cause}", detail=detail
    )


def _during(event: dict[str, Any] | None) -> bool:
    """Whether memory ran out while agents were built or stepped."""
    return event is not None and event["kind"] == "memory" and " during " in event["message"]


def _too_low_for_imports(request: Request, detail: str = "") -> MemoryLimitReached:
    limit, backend = request.memory_limit_bytes or 0, request.spec.backend
    needs = f"PyMDP with backend {backend} needs about {format_size(_import_bytes(request))}"
    return MemoryLimitReached(
        f"the memory limit of {format_limit(limit)} is too low for the imports alone; {needs}. "
        "Raise --memory-limit",
        detail=detail,
    )


def _import_bytes(request: Request) -> int:
    return _IMPORT_BYTES.get(request.spec.backend, _IMPORT_BYTES["numpy"])


def _limit_was_hit(
    event: dict[str, Any] | None, code: int, request: Request, marks: list[Mark]
) -> bool:
    """Out of memory shows as MemoryError where Python notices, as a native library's exit or crash
    where it does not, and as almost anything while modules are loaded."""
    if event is None:
        return code != -signal.SIGKILL
    if event["kind"] == "backend":
        return (request.memory_limit_bytes or 0) < _import_bytes(request)
    importing = not marks or marks[-1].label in _IMPORTING
    return event["kind"] == "memory" or (importing and "ModuleNotFound" not in event["message"])


class _Output:
    """The end of what a worker printed, read as it comes so that the worker never blocks."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_OUTPUT_LINES)
        self._thread = threading.Thread(target=self._drain, args=(process.stdout,), daemon=True)
        self._thread.start()

    def _drain(self, stream: Any) -> None:
        with stream:
            for line in stream:
                self._lines.append(line.decode(errors="replace"))

    def tail(self) -> str:
        self._thread.join(timeout=1.0)
        return "".join(self._lines)
