"""The one place where a command tells: progress on the way, on standard error; then its report, in
files, for CI servers and on the screen; and how it ends."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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

from memprof.catalogue.formats import FORMATS, Format
from memprof.cli.options import Destination, Verdicts
from memprof.errors import MemprofError, OutputError, UsageError
from memprof.export import sinks
from memprof.export.json_text import AnyReport
from memprof.gate import ci
from memprof.launch.runner import Observer, Outcome
from memprof.render import terminal, view_of
from memprof.text import counted, for_a_log, one_line
from memprof.values.gate import GateReport
from memprof.values.measurements import Mark

_SUMMARY = "GITHUB_STEP_SUMMARY"
_LONG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Question:
    """What a report answers: its kind and, where it is about one, the scenario's name or the
    program."""

    kind: str
    subject: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Question:
        """That of a report with these fields."""
        subject = str(values["scenario"]["name"]) if "scenario" in values else ""
        if words := values.get("program"):
            subject = " ".join(words[: 1 + (words[0] == "-m")])
        return cls(str(values["kind"]), subject)

    def check(self, file: Path) -> None:
        """See that a report at `file` would replace none of another question.

        Raises:
            UsageError: it would.
        """
        try:
            values = json.loads(file.read_bytes()) if file.is_file() else {}
            is_report = str(values["schema"]).startswith("memprof.report/")
            found = Question.of(values) if is_report else self
        except (OSError, ValueError, RecursionError, LookupError, TypeError):
            return  # it is no report
        if found != self:
            raise UsageError(
                f"{file} holds another report ({found}), which this one ({self}) would overwrite; "
                "choose another --out, or move the file"
            )

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}" if self.subject else self.kind


@dataclass(frozen=True, slots=True)
class Output:
    """What a command does with its report.

    Attributes:
        name: that of its files, in the folder and the formats of `to`.
        verdicts: further formats for CI servers, of a gate or a comparison.
        further: files that the measurement itself will write.
    """

    name: str
    to: Destination
    verdicts: Verdicts | None = None
    further: Sequence[Path] = ()

    def answer(self, question: Question, measure: Callable[[Observer], Outcome[AnyReport]]) -> None:
        """Measure what was asked, deliver the report, and end as the measurement did.

        Raises:
            MemprofError: what was measured fails its check, or it could not be measured or written.
        """
        self.check(question)
        with progress(quiet=self.to.quiet) as observer:
            outcome = measure(observer)
        self.deliver(outcome.report, outcome.failure)

    def check(self, question: Question) -> None:
        """See that the files can be written, over no report of another question: now, not after
        minutes of measuring.

        Raises:
            UsageError: they cannot.
        """
        asked = self.verdicts
        if asked is not None and asked.github and self.to.json == "-":
            raise UsageError(
                "--github: prints annotations to standard output, where --json - writes the "
                "report; give --json a file"
            )
        question.check(self.file(FORMATS["json"]))
        files = [self.file(each) for each in FORMATS.values()]
        sinks.check_writable([*files, *self._json_file(), *self._ci_files(), *self.further])

    def deliver(self, report: AnyReport, failure: MemprofError | None) -> None:
        """Write the report in every format, print what was asked for, and end as the measurement
        did. What an earlier report had and this one has not goes.

        Raises:
            MemprofError: `failure`, or else an `OutputError` if a file could not be written.
        """
        errors = [] if failure is None else [failure]
        rendered = self.rendered(report, errors)
        texts = {file: text for file, text in rendered.items() if text is not None}
        gone = rendered.keys() - texts.keys()
        as_json = texts[self.file(FORMATS["json"])]
        texts.update(dict.fromkeys(self._json_file(), as_json))
        if isinstance(report, GateReport):
            texts.update({file: render(report) for file, render in self._ci_files().items()})
        with _collecting(errors):
            if isinstance(report, GateReport) and self.verdicts is not None:
                _announce(report, github=self.verdicts.github)
        with _collecting(errors):  # before the screen: whoever reads that may go away
            sinks.write_files(texts)
            sinks.remove_files(gone)
        with _collecting(errors):
            if self.to.json == "-":
                say(as_json)
            elif not self.to.quiet:
                failed = {file for each in errors for file in getattr(each, "files", ())}
                written = listed(file for file in texts if file not in failed)
                last = f"\nWritten: {written}\n"
                if not self.to.full:
                    last += f"Full report: {self.file(FORMATS['html'])}, or --full\n"
                view = view_of(report)
                full = self.to.full
                say(for_a_log(terminal.render_for(sys.stdout, view, full=full, last=last)))
        if errors:
            raise errors[0]

    def file(self, written: Format) -> Path:
        """That of a format."""
        return self.to.out / f"{self.name}{written.suffix}"

    def rendered(self, report: AnyReport, errors: list[MemprofError]) -> dict[Path, str | None]:
        """The text of each format's file; None of one that has nothing for it, or that another
        package adds and that failed, which is added to the `errors`."""
        texts: dict[Path, str | None] = dict.fromkeys(map(self.file, FORMATS.values()))
        for each in FORMATS.values():
            with _collecting(errors):
                texts[self.file(each)] = each.render(report)
        return texts

    def _json_file(self) -> list[Path]:
        return [] if self.to.json in (None, "-") else [Path(self.to.json)]

    def _ci_files(self) -> dict[Path, Callable[[GateReport], str]]:
        """What goes into each file for a CI server."""
        asked = self.verdicts
        if asked is None:
            return {}
        renderers = (
            (asked.junit, ci.junit),
            (asked.benchmark_json, ci.benchmark_action),
            (asked.bencher_json, ci.bencher),
        )
        return {path: render for path, render in renderers if path is not None}


@contextlib.contextmanager
def _collecting(errors: list[MemprofError]) -> Iterator[None]:
    """Go on after what cannot be written."""
    try:
        yield
    except OutputError as error:
        errors.append(error)


def _announce(report: GateReport, *, github: bool) -> None:
    """Print GitHub's annotations if they are asked for, and append the summary to its file."""
    if github:
        say(ci.github_annotations(report))
    if path := os.environ.get(_SUMMARY):
        try:
            with Path(path).open("a", encoding="utf-8") as stream:
                stream.write(ci.summary(report))
        except OSError as error:
            raise OutputError(f"cannot write {_SUMMARY}={path}: {error.strerror}") from None


def say(text: str) -> None:
    """Print it, now.

    Raises:
        OutputError: it cannot be written (`memprof.export.sinks`).
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
