"""What was seen of a watched program, and how `memprof run` ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from memprof.errors import BudgetExceeded, LeakFound, MemprofError, WorkerTimeout
from memprof.launch.machine import describe_environment
from memprof.launch.runner import Outcome
from memprof.posix import Limits
from memprof.run import cautions
from memprof.run.advice import advise
from memprof.run.process import Running
from memprof.text import counted, format_size
from memprof.values.run import KindBudget, RunReport
from memprof.values.watch import (
    CellFailed,
    ChildProcess,
    Ended,
    Kind,
    Watched,
)


def run(
    running: Running,
    words: tuple[str, ...],
    budget_bytes: int | None,
    limits: Limits,
    *,
    fail_on_leak: bool = False,
) -> Outcome[RunReport]:
    """Follow the program, called by these `words`, to its end, whatever that is."""
    end = running.follow()
    report = report_of(
        words,
        end.code,
        end.ended,
        running.watched or _nothing(end.seconds),
        failed=running.failed,
        processes=running.processes(),
        memory_limit_bytes=limits.memory_bytes,
        budget_bytes=budget_bytes,
    )
    return Outcome(report, _broken(report, limits, fail_on_leak=fail_on_leak))


def _nothing(seconds: float) -> Watched:
    """What is known of a process that ended without a word."""
    return Watched(
        facts={}, seconds=seconds, looks=(), timeline=(), operations=(), growth=None,
        start_bytes=0, peak_bytes=None, watch_seconds=0.0, finished=False,
    )  # fmt: skip


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
    sites = report.watched.sites
    if fail_on_leak and sites is not None and sites.lines:  # growth is less certain when traced
        first = sites.lines[0]
        return LeakFound(
            f"{first.where} keeps {format_size(first.bytes_per_step)} per step of all agents"
        )
    over = [each for each in report.budget if not each.kept]
    if not over:
        return None
    most = max(over, key=lambda each: each.bytes)
    others = f", and {counted(len(over) - 1, 'further kind')} more" if over[1:] else ""
    return BudgetExceeded(
        f"{most.kind}: an agent costs {format_size(most.bytes)}, above the budget of "
        f"{format_size(most.limit_bytes)}{others}"
    )
