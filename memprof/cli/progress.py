"""Progress on the way, on standard error: which worker, which repeat, which population size."""

from __future__ import annotations

import contextlib
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

from memprof.measurements import Mark
from memprof.text import one_line
from memprof.workflows.crew import Observer

_LONG_SECONDS = 30.0


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Observer]:
    """An observer that draws a bar on a terminal, prints lines elsewhere, or nothing."""
    if quiet:
        yield _Silent()
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield _Bar(bar, bar.add_task("start", total=None))
    else:
        yield _Lines()


class _Silent:
    def worker(self, title: str, number: int, total: int) -> None:
        return None

    def phase(self, mark: Mark) -> None:
        return None


class _Lines(_Silent):
    """A line per worker, and more where one works for long."""

    def __init__(self) -> None:
        self._said = 0.0

    def worker(self, title: str, number: int, total: int) -> None:
        self._say(f"worker {number} of {total}: {title}")

    def phase(self, mark: Mark) -> None:
        if time.monotonic() > self._said + _LONG_SECONDS:
            self._say(f"  {_words(mark)}")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        print(one_line(line), file=sys.stderr, flush=True)


class _Bar:
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._title = ""

    def worker(self, title: str, number: int, total: int) -> None:
        self._title = title = one_line(title)
        self._bar.update(self._task, description=title, completed=number - 1, total=total)

    def phase(self, mark: Mark) -> None:
        description = f"{self._title}: {_words(mark)}"
        self._bar.update(self._task, description=description, refresh=True)  # however short it is


def _words(mark: Mark) -> str:
    return one_line(f"{mark.label} {mark.agents:,} agents" if mark.agents else mark.label)
