"""Why a worker has no result: its own word, or what its death and its limits tell."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from memprof.errors import (
    BackendFailed,
    MemoryLimitReached,
    MemprofError,
    ScenarioError,
    WorkerDied,
    WorkerFailed,
)
from memprof.measurements import Mark
from memprof.posix import rlimit_bytes
from memprof.units import format_limit, format_size
from memprof.worker.protocol import Request

# Phases in which libraries load; they load more of themselves when they are first used.
IMPORTING = ("start", "import", "warm up")
_IMPORT_BYTES = {"numpy": 500 * 10**6, "jax": 500 * 10**6}
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


def failure(
    event: dict[str, Any] | None,
    code: int,
    request: Request,
    ceiling: Ceiling | None,
    marks: list[Mark],
    output: str,
) -> MemprofError:
    """Why there is no result: the worker's own word, or what its death tells."""
    if event is not None and event["kind"] == "scenario":
        return ScenarioError(event["field"], event["message"], detail=event["detail"])
    detail = output if event is None else event["detail"]
    phase = marks[-1].label if marks else "start"
    if ceiling is not None and _limit_was_hit(event, code, request, ceiling, marks):
        if phase in IMPORTING and not _during(event):
            return too_low_for_imports(request, ceiling, detail)
        during = "" if event is None else f" ({event['message']})"
        return MemoryLimitReached(
            f"the population does not fit in {ceiling.words}{during}; raise {ceiling.option}, "
            "lower --agents, or add passes",
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
    cause = ""
    seconds = rlimit_bytes("CPU")
    if seconds is not None and code in (-signal.SIGKILL, -signal.SIGXCPU):
        cause = f"; does it need more than the {seconds} s of processor time of ulimit -t?"
    elif code == -signal.SIGKILL:
        cause = (
            ", most often by the kernel because the machine ran out of memory; let fewer agents "
            "live, or make one need less"
        )
    return WorkerDied(
        f"the worker was killed ({_name(-code)}) while in phase {phase!r}{cause}", detail=detail
    )


def _name(number: int) -> str:
    """A signal's name; those for programs' own use have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _during(event: dict[str, Any] | None) -> bool:
    """Whether memory ran out while agents were built or stepped."""
    return event is not None and event["kind"] == "memory" and " during " in event["message"]


def too_low_for_imports(request: Request, ceiling: Ceiling, detail: str = "") -> MemoryLimitReached:
    """What to say where not even libraries can be loaded."""
    needs = f"PyMDP with backend {request.spec.backend} needs about "
    return MemoryLimitReached(
        f"{ceiling.words} is too low for the imports alone; {needs}"
        f"{format_size(_import_bytes(request))}. Raise {ceiling.option}",
        detail=detail,
    )


def _import_bytes(request: Request) -> int:
    return _IMPORT_BYTES.get(request.spec.backend, _IMPORT_BYTES["numpy"])


def _limit_was_hit(
    event: dict[str, Any] | None,
    code: int,
    request: Request,
    ceiling: Ceiling,
    marks: list[Mark],
) -> bool:
    """Out of memory shows as MemoryError where Python notices, as a native library's exit or crash
    where it does not, and as almost anything while modules are loaded."""
    if event is None:
        return code != -signal.SIGKILL
    if event["kind"] == "backend":
        return ceiling.size_bytes < _import_bytes(request)
    importing = not marks or marks[-1].label in IMPORTING
    return event["kind"] == "memory" or (importing and "ModuleNotFound" not in event["message"])
