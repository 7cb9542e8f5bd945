"""What every measuring command does with its report: files, the screen, the exit code.

Progress on the way, on standard error: which worker, which repeat, which population size.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from memprof.catalogue.formats import FORMATS, Format, in_all_formats
from memprof.errors import MemprofError, OutputError, UsageError
from memprof.export import sinks
from memprof.export.json_text import AnyReport
from memprof.launch.runner import Observer
from memprof.render import terminal
from memprof.render.page import view_of
from memprof.text import for_a_log, one_line
from memprof.values.measurements import Mark


@dataclass(frozen=True, slots=True)
class Question:
    """What a report answers: its kind and, where it is about one, the scenario's name."""

    kind: str
    scenario: str = ""

    @classmethod
    def of(cls, report: AnyReport) -> Question:
        """That of a report."""
        return cls._of(asdict(report))

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> Question:
        named = values["scenario"]["name"] if values["kind"] in _OF_ONE_SCENARIO else ""
        return cls(str(values["kind"]), str(named))

    def check(self, file: Path) -> None:
        """See that a report at `file` would replace none of another question.

        Raises:
            UsageError: it would.
        """
        try:
            values = json.loads(file.read_bytes()) if file.is_file() else {}
            is_report = str(values["schema"]).startswith("memprof.report/")
            found = self._of(values) if is_report else self
        except (OSError, ValueError, RecursionError, LookupError, TypeError):
            return  # it is no report
        if found != self:
            raise UsageError(
                f"{file} is the report of another question ({found}), and this one ({self}) would "
                "replace it; give another --out, or move it away"
            )

    def __str__(self) -> str:
        return f"{self.kind} of {self.scenario}" if self.scenario else self.kind


_OF_ONE_SCENARIO = ("profile", "leak", "density")


@dataclass(frozen=True, slots=True)
class Output:
    """Where a report goes.

    Attributes:
        folder, name: `<name>.json`, `<name>.md` and so on are written there, one for each format.
        json: a further file for the JSON; `-` is standard output, without the report for people.
        quiet: nothing for people on standard output.
    """

    folder: Path
    name: str
    json: str | None
    quiet: bool

    def check(self, question: Question, further: Iterable[Path] = ()) -> None:
        """See that the files can be written, over no report of another question: now, not after
        minutes of measuring.

        Raises:
            UsageError: they cannot.
        """
        question.check(self._file(FORMATS["json"]))
        files = [self._file(each) for each in FORMATS.values()]
        sinks.check_writable([*files, *self._json_file(), *further])

    def deliver(
        self,
        report: AnyReport,
        failure: MemprofError | None,
        further: Mapping[Path, str] = MappingProxyType({}),
    ) -> None:
        """Write the report in every format and the `further` texts, print what was asked for, and
        end as the measurement did. What an earlier report had and this one has not goes.

        Raises:
            MemprofError: `failure`, or else an `OutputError` if a file could not be written.
        """
        rendered, failed = in_all_formats(report)
        failure = failure or failed
        texts = {self._file(each): text for each, text in rendered.items() if text is not None}
        as_json = texts[self._file(FORMATS["json"])]
        texts.update(dict.fromkeys(self._json_file(), as_json))
        texts.update(further)
        written = list(texts)
        try:  # files first: whoever reads standard output may go away
            sinks.write_files(texts)
            sinks.remove_files(self._file(each) for each, text in rendered.items() if text is None)
        except OutputError as error:
            failure = failure or error
            written = [file for file in texts if file not in error.files]
        try:
            if self.json == "-":
                say(as_json)
            elif not self.quiet:
                shown = terminal.render_for(sys.stdout, view_of(report))
                say(for_a_log(f"{shown}\nWritten: {listed(written)}\n"))
        except OutputError as error:
            failure = failure or error
        if failure is not None:
            raise failure

    def _file(self, written: Format) -> Path:
        return self.folder / f"{self.name}{written.suffix}"

    def _json_file(self) -> list[Path]:
        return [] if self.json in (None, "-") else [Path(self.json)]


def show(report: AnyReport) -> None:
    """Print the report as it looks on a terminal."""
    say(for_a_log(terminal.render_for(sys.stdout, view_of(report))))


def write(texts: Mapping[Path, str], *, quiet: bool) -> None:
    """Write the files, and say so unless `quiet`.

    Raises:
        OutputError: one or more could not be written.
    """
    sinks.write_files(texts)
    if not quiet:
        say(for_a_log(f"Written: {listed(texts)}\n"))


def say(text: str) -> None:
    """Print it, now.

    Raises:
        OutputError: it cannot be written (`memprof.cli.streams`).
    """
    sys.stdout.write(text)
    sys.stdout.flush()


def listed(files: Iterable[Path]) -> str:
    """Files in a line; those that differ behind the first dot as one, as a shell expands it."""
    suffixes: dict[Path, list[str]] = {}
    for file in files:
        stem, dot, suffix = file.name.partition(".")
        suffixes.setdefault(file.with_name(f"{stem}{dot}"), []).append(suffix)
    return one_line(
        ", ".join(
            f"{start}{found[0]}" if len(found) == 1 else f"{start}{{{','.join(found)}}}"
            for start, found in suffixes.items()
        )
    )


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
