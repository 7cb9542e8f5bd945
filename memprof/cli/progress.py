"""Progress on the way to a report, on standard error: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from memprof.launch.runner import Observer
from memprof.text import counted, one_line
from memprof.values.measurements import Mark

_LONG_SECONDS = 30.0


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Observer]:
    """An observer that draws a bar on a terminal, prints lines elsewhere, or nothing."""
    if quiet:
        yield Observer()
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield _Bar(bar, bar.add_task("start", total=None, left=""))
    else:
        yield _Lines()


class _Lines(Observer):
    """A line per worker, and more where one works for long."""

    def __init__(self) -> None:
        self._said = 0.0

    def worker(self, title: str, number: int, total: int, left_seconds: float | None) -> None:
        left = _left(left_seconds)
        of_all = f" of {total}" if total else ""
        self._say(f"worker {number}{of_all}: {title}{f'; {left}' if left else ''}")

    def phase(self, title: str, mark: Mark) -> None:
        if time.monotonic() > self._said + _LONG_SECONDS:
            self._say(f"  {title}: {_words(mark)}")

    def known(self, finding: str) -> None:
        self._say(f"  {finding}")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        print(one_line(line), file=sys.stderr, flush=True)


class _Bar(Observer):
    """A bar, and above it a line per figure."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def worker(self, title: str, number: int, total: int, left_seconds: float | None) -> None:
        left = _left(left_seconds)
        self._bar.update(
            self._task,
            description=one_line(title),
            completed=number - 1,
            total=total or None,
            left=left,
        )

    def phase(self, title: str, mark: Mark) -> None:
        description = f"{one_line(title)}: {_words(mark)}"
        self._bar.update(self._task, description=description, refresh=True)  # however short it is

    def known(self, finding: str) -> None:
        self._bar.console.print(one_line(finding), markup=False, highlight=False)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"about {math.ceil(seconds):,} s left"


def _words(mark: Mark) -> str:
    return one_line(f"{mark.label} {counted(mark.agents, 'agent')}" if mark.agents else mark.label)
