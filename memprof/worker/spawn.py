"""The parent's side: run a worker, and follow it until it has said what counts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from memprof.density import DensityRun
from memprof.environment import worker_environment
from memprof.errors import WorkerFailed, WorkerTimeout
from memprof.instruments.timeline import MemorySampler
from memprof.leak import Attribution, LeakRun
from memprof.measurements import InstrumentRun, Mark, Measurement, ThreadsRun, TraceComparison
from memprof.posix import check_can_measure
from memprof.text import raised, shown
from memprof.worker.failure import IMPORTING, Ceiling, failure, too_low_for_imports
from memprof.worker.launch import Worker, temporary_folder
from memprof.worker.protocol import Request

_MARK = TypeAdapter(Mark)
_ERROR = TypeAdapter(dict[str, str])
_IMPORT_SECONDS = 45.0  # under a memory limit: with too little, BLAS tries for ever
_RESULTS: dict[str, TypeAdapter[Any]] = {
    "measure": TypeAdapter(Measurement),
    "instrument": TypeAdapter(InstrumentRun),
    "trace": TypeAdapter(TraceComparison),
    "leak": TypeAdapter(LeakRun),
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
    """Run one job in a fresh process; it, what it started and its temporary files are gone when
    this returns or raises. `on_part` is told what is known of the result so far, where a job says
    it.

    Raises:
        ScenarioError: the worker found the scenario wrong.
        MeasurementError: it did not start, died, failed, ran out of time or into the memory limit.
    """
    request = replace(request, memory_limit_bytes=limits.memory_bytes)
    ceiling = Ceiling.of(limits.memory_bytes)
    environment = {
        **worker_environment(
            request.spec.backend, cycles=request.cycles > 0, threads=request.job == "threads"
        ),
        "PYTHONHASHSEED": "0",
    }
    marks: list[Mark] = []

    def keep(mark: Mark) -> None:
        marks.append(mark)
        on_progress(mark)

    with temporary_folder() as folder:
        arguments = ["-P", "-m", "memprof.worker"]
        with Worker(request.to_json(), arguments, folder, environment) as worker:
            process = worker.process() if sample else None
            sampler = None if process is None else MemorySampler(process)
            last = _follow(worker, request, limits, ceiling, keep, on_part or (lambda value: None))
            worker.let_go()
        if last is not None and last[0] == "result":
            return Finished(last[1], tuple(marks), sampler.samples() if sampler else ())
        raise failure(last and last[1], worker.code(), request, ceiling, marks, worker.printed())


def _follow(
    worker: Worker,
    request: Request,
    limits: Limits,
    ceiling: Ceiling | None,
    on_progress: Callable[[Mark], None],
    on_part: Callable[[Any], None],
) -> tuple[str, Any] | None:
    """Pass on progress and parts until there is a result or an error, which is returned with its
    kind; None if the worker ended without. Whoever else has the pipe open then, a process or
    thread of the user's code, is not waited for."""
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
                f"the worker ran past the time limit of {limits.timeout_seconds:g} s, while in "
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
            kind, said = _heard(line, request)
            if kind == "progress":
                label = said.label
                on_progress(said)
            elif kind == "part":
                on_part(said)
            else:
                return kind, said


def _heard(line: bytes, request: Request) -> tuple[str, Any]:
    """What a line is, and what it says.

    Raises:
        WorkerFailed: it is none of the worker's.
    """
    try:
        event = json.loads(line)
        kind = event.pop("event")
        if kind == "progress":
            return kind, _MARK.validate_python(event)
        if kind in ("part", "result"):
            return kind, _RESULTS[request.job].validate_python(event["value"])
        if kind == "error":
            facts = {"field": "", "detail": ""} | _ERROR.validate_python(event)
            return kind, facts | {name: facts[name] for name in ("kind", "message")}
        problem = f"no event is called {shown(kind)}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        problem = raised(error)
    raise WorkerFailed(
        "what the worker says cannot be read; does the model or its environment write to files "
        "that it did not open, or replace functions of Python?",
        detail=problem,
    )
