"""What every measuring command does with its report: files, the screen, the exit code."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from memprof.errors import MemprofError, OutputError
from memprof.reports import github, json_text, markdown, sinks, terminal
from memprof.reports.page import View


@dataclass(frozen=True, slots=True)
class Output:
    """Where a report goes.

    Attributes:
        folder, name: `<name>.json` and `<name>.md` are written there.
        json: a further file for the JSON; `-` is standard output, without the report for people.
        quiet: nothing for people on standard output.
    """

    folder: Path
    name: str
    json: str | None
    quiet: bool

    def check(self, further: Iterable[Path] = ()) -> None:
        """See that the files can be written: now, not after minutes of measuring.

        Raises:
            UsageError: they cannot.
        """
        sinks.check_writable([*self._json_files(), self._markdown_file(), *further])

    def deliver(
        self,
        report: json_text.AnyReport,
        view: View,
        failure: MemprofError | None,
        further: Mapping[Path, str] = MappingProxyType({}),
    ) -> None:
        """Write the files and the `further` texts, print what was asked for, and end as the
        measurement did.

        Raises:
            MemprofError: `failure`, or else an `OutputError` if a file could not be written.
        """
        as_json = json_text.render(report)
        texts = dict.fromkeys(self._json_files(), as_json)
        texts[self._markdown_file()] = markdown.render(view)
        texts.update(further)
        written = [str(file) for file in texts]
        try:  # files first: whoever reads standard output may go away
            sinks.write_files(texts)
        except OutputError as error:
            failure = failure or error
            written = [str(file) for file in texts if file not in error.files]
        if self.json == "-":
            _say(as_json)
        elif not self.quiet:
            shown = terminal.render_for(sys.stdout, view)
            _say(_for_a_log(f"{shown}\nWritten: {', '.join(written)}\n"))
        if failure is not None:
            raise failure

    def _json_files(self) -> list[Path]:
        further = [] if self.json in (None, "-") else [Path(self.json)]
        return [self.folder / f"{self.name}.json", *further]

    def _markdown_file(self) -> Path:
        return self.folder / f"{self.name}.md"


def _say(text: str) -> None:
    """Print it; who reads may have heard enough, which changes nothing about how a command ends."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _for_a_log(text: str) -> str:
    """`text`, in which GitHub's runner shall find no commands if it is the one that reads it."""
    return github.inert(text, secrets.token_hex()) if "GITHUB_ACTIONS" in os.environ else text
