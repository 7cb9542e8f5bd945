"""What CI servers take from a gate: files in their formats, annotations and a summary."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memprof.errors import MemprofError, OutputError, UsageError
from memprof.gate import GateReport

if TYPE_CHECKING:
    from memprof.cli.output import Output

_SUMMARY = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True, slots=True)
class CiFormats:
    """What was asked for; the summary goes where GitHub says that it wants one."""

    junit: Path | None
    benchmark: Path | None
    bencher: Path | None
    github: bool

    def check(self, json: str | None) -> None:
        """See that annotations do not get into the JSON on standard output.

        Raises:
            UsageError: they would.
        """
        if self.github and json == "-":
            raise UsageError(
                "--github: prints annotations where --json - has the report; give --json a file"
            )

    def files(self) -> list[Path]:
        """Those that will be written."""
        return [each for each in (self.junit, self.benchmark, self.bencher) if each is not None]

    def deliver(
        self,
        output: Output,
        report: GateReport,
        failure: MemprofError | None,
    ) -> None:
        """Write and print all that was asked for, here and of `output`, and end as the gate did.

        Raises:
            MemprofError: `failure`, or else an `OutputError` if something could not be written.
        """
        try:
            self._announce(report)
        except OutputError as error:
            failure = failure or error
        output.deliver(report, failure, self._texts(report))

    def _texts(self, report: GateReport) -> dict[Path, str]:
        """What goes into each file."""
        from memprof.reports import bencher, benchmark_action, junit

        renderers = (
            (self.junit, junit.render),
            (self.benchmark, benchmark_action.render),
            (self.bencher, bencher.render),
        )
        return {path: render(report) for path, render in renderers if path is not None}

    def _announce(self, report: GateReport) -> None:
        """Print the annotations, and append the summary to GitHub's file."""
        from memprof.reports import github

        if self.github:
            sys.stdout.write(github.annotations(report))
            sys.stdout.flush()
        if path := os.environ.get(_SUMMARY):
            try:
                with Path(path).open("a", encoding="utf-8") as stream:
                    stream.write(github.summary(report))
            except OSError as error:
                raise OutputError(f"cannot write {_SUMMARY}={path}: {error.strerror}") from None
