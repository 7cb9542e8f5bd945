"""The one place where a command tells: progress on the way, on standard error; then its report, in
files, for CI servers and on the screen; and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from memprof.catalogue.formats import FORMATS, Format
from memprof.cli.options import Destination, Verdicts
from memprof.errors import MemprofError, OutputError, UsageError
from memprof.export import sinks
from memprof.text import for_a_log, one_line

if TYPE_CHECKING:
    from memprof.export.json_text import AnyReport
    from memprof.launch.runner import Observer, Outcome
    from memprof.values.gate import GateReport

_SUMMARY = "GITHUB_STEP_SUMMARY"


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
        from memprof.cli.progress import progress

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

    def load(self) -> None:
        """Import what delivering takes, while something else keeps this command waiting."""
        for each in FORMATS.values():
            if not FORMATS.origin(each.name):
                import_module(each.target.partition(":")[0])
        from memprof.render import document, terminal  # noqa: F401

        document.load()

    def deliver(self, report: AnyReport, failure: MemprofError | None) -> None:
        """Write the report in every format, print what was asked for, and end as the measurement
        did. What an earlier report had and this one has not goes.

        Raises:
            MemprofError: `failure`, or else an `OutputError` if a file could not be written.
        """
        from memprof.render import terminal, view_of

        errors = [] if failure is None else [failure]
        rendered = self.rendered(report, errors)
        texts = {file: text for file, text in rendered.items() if text is not None}
        gone = rendered.keys() - texts.keys()
        as_json = texts[self.file(FORMATS["json"])]
        texts.update(dict.fromkeys(self._json_file(), as_json))
        if self.verdicts is not None:
            gate = cast("GateReport", report)
            texts.update({file: render(gate) for file, render in self._ci_files().items()})
            with _collecting(errors):
                _announce(gate, github=self.verdicts.github)
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
        from memprof.gate import ci

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
    from memprof.gate import ci

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
    """Files in a line; those that differ behind a dot as one, as a shell expands it."""
    alike: dict[Path, list[str]] = {}
    for file in files:
        stem, dot, _ = file.name.partition(".")
        alike.setdefault(file.with_name(f"{stem}{dot}"), []).append(str(file))
    words = []
    for names in alike.values():
        start = commonprefix(names).rpartition(".")[0]  # noqa: RUF071 (of names, not of paths)
        ends = ",".join(name.removeprefix(f"{start}.") for name in names)
        words.append(names[0] if len(names) == 1 else f"{start}.{{{ends}}}")
    return one_line(", ".join(words))
