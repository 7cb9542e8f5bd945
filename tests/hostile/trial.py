"""Inputs tried one after the other in children with limits; what each came to."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import typer.main

from memprof.cli.app import main as run_command
from memprof.instruments import process

MB = 10**6
MOST_SECONDS = 2.0
MOST_BYTES = 220 * MB  # beyond the 80 that the command has of its own
BUSY_SECONDS, HANGS_SECONDS = 30, 300  # of the processor, and on the clock: the end of a trial
GUARD_BYTES = 2 << 30
LONGEST_MESSAGE = 1_000

# Typer makes its commands anew at every call, which takes longer than most inputs do.
typer.main.get_command = functools.cache(typer.main.get_command)  # type: ignore[assignment]

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Outcome:
    """What became of one input: how it ended, processor time, and by how much the largest resident
    set grew."""

    end: str
    seconds: float
    more_bytes: int


@dataclass(frozen=True)
class Ended:
    """What one run of the command, in this process, gave."""

    code: int | str
    out: str
    err: str


Input = tuple[str, Callable[[], str]]
"""A name, and what tries it: it returns how it ended, or raises what the command must not."""
_BATCH = 100


class Worker(BaseException):
    """The command got as far as starting a worker."""


def command(*arguments: str) -> Ended:
    """Run memprof in this process, up to the point where its first worker would start."""

    def start(*given: object, **more: object) -> None:
        raise Worker

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    popen, argv = subprocess.Popen, sys.argv
    code: int | str | None = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["memprof", *arguments]
        subprocess.Popen = start  # type: ignore[assignment,misc]
        try:
            run_command()
        except SystemExit as ended:
            code = ended.code
        except Worker:
            code = "worker"
        finally:
            subprocess.Popen, sys.argv = popen, argv  # type: ignore[misc]
        said = [_written(each) for each in (sys.stdout, sys.stderr)]
    return Ended(0 if code is None else code, *said)


def _written(stream: Any) -> str:
    """What went to a stream, which the command may have replaced by one of its own."""
    stream.flush()
    return str(stream.buffer.getvalue().decode("utf-8", "backslashreplace"))


def problem_of(found: Ended, allowed: Sequence[int | str]) -> str:
    """What is wrong with how the command ended; empty if nothing is."""
    if found.code not in allowed:
        return f"exit code {found.code}: {found.err[:200]}"
    if found.code == 2 and "memprof: " not in found.err[:150]:
        return f"exit code 2 without a message: {found.err[:200]!r}"
    if "Traceback" in found.err:
        return f"a traceback: {found.err[-200:]}"
    if len(found.err) > LONGEST_MESSAGE:
        return f"a message of {len(found.err)} characters: {found.err[:100]!r}"
    return unfit(found.out) or unfit(found.err)


def unfit(text: str) -> str:
    """What a terminal or a CI server would take for more than text."""
    for line in _outside_of_stops(text):
        if line.lstrip().startswith("::") or "##[" in line:
            return f"a line that CI obeys: {line[:60]!r}"
    found = _UNFIT.search(text)
    return f"the character {found[0]!r} in {text[: found.end()][-60:]!r}" if found else ""


def _outside_of_stops(text: str) -> Iterator[str]:
    """Lines that GitHub's runner would look for commands in."""
    token = ""
    for line in text.splitlines():
        if token:
            token = "" if line == f"::{token}::" else token
        elif line.startswith("::stop-commands::"):
            token = line.removeprefix("::stop-commands::")
        else:
            yield line


def try_all(
    inputs: Iterable[Input], seconds: float = MOST_SECONDS
) -> Iterator[tuple[str, Outcome, str]]:
    """Each input's name, outcome and what is wrong with it (empty if nothing is)."""
    waiting: list[Input] = []
    source = iter(inputs)
    gc.freeze()  # what is there now, no child has to look through
    while waiting or (waiting := list(islice(source, _BATCH))):
        outcomes = list(_in_a_child(waiting))
        for (name, _), outcome in zip(waiting, outcomes, strict=False):
            problem = outcome.end.removeprefix("wrong: ") if "wrong: " in outcome.end else ""
            if not problem and outcome.seconds > seconds:
                problem = f"{outcome.end} after {outcome.seconds:.2f} s"
            if not problem and outcome.more_bytes > MOST_BYTES:
                problem = f"{outcome.end} with {outcome.more_bytes / MB:.0f} MB"
            yield name, outcome, problem
        del waiting[: len(outcomes)]
    gc.unfreeze()


def _in_a_child(inputs: Sequence[Input]) -> Iterator[Outcome]:
    """Outcomes until the child is through, or one of them ended it."""
    results, answer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(results)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + GUARD_BYTES, used + GUARD_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for _, attempt in inputs:
            end, spent, more = _measured(attempt)
            os.write(answer, (json.dumps([end, spent, more]) + "\n").encode())
        os._exit(0)
    os.close(answer)
    known = 0
    with os.fdopen(results, "rb", buffering=0) as file:
        for said in _lines(file.fileno()):
            known += 1
            yield Outcome(*json.loads(said))
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if known < len(inputs):
        yield Outcome(f"wrong: hangs, or ended its process with {code}", 0.0, 0)


def _lines(descriptor: int) -> Iterator[bytes]:
    """Lines until there are no more, or none for too long."""
    buffer = b""
    while select.select([descriptor], [], [], HANGS_SECONDS)[0]:
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        yield from lines


def _measured(attempt: Callable[[], str]) -> tuple[str, float, int]:
    process.reset_peak()
    before = process.peak_rss_bytes() or 0
    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, BUSY_SECONDS)
    try:
        end = attempt()
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = ([each for each in frames if "/memprof/" in each.filename] or frames)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        end = f"wrong: {type(error).__name__} in {place}: {str(error)[:100]}"
    spent = time.process_time() - start
    return end, spent, (process.peak_rss_bytes() or 0) - before


def run(
    inputs: Iterable[Input],
    what: str,
    *,
    seconds: float = MOST_SECONDS,
    verbose: bool = False,
) -> list[str]:
    """Try all; what is wrong with any of them."""
    problems, ends = [], Counter[str]()
    slowest, largest = 0.0, 0
    for number, (name, outcome, problem) in enumerate(try_all(inputs, seconds)):
        if verbose and number and number % 500 == 0:
            print(f"after {number:,}: {dict(ends.most_common())}", flush=True)
        ends["wrong" if problem else outcome.end] += 1
        slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.more_bytes)
        if problem:
            problems.append(f"{name}: {problem}")
            if verbose:
                print(problems[-1], flush=True)
    if verbose:
        print(
            f"{sum(ends.values()):,} {what}: {dict(ends.most_common())}; most processor time "
            f"{slowest:.2f} s, most memory {largest / MB:.0f} MB"
        )
    return problems
