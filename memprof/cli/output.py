"""What every measuring command does with its report: files, the screen, the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from memprof.errors import MemprofError, OutputError
from memprof.reports import sinks, terminal
from memprof.reports.formats import FORMATS, Format
from memprof.reports.json_text import AnyReport
from memprof.reports.view import view_of
from memprof.text import for_a_log


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

    def check(self, further: Iterable[Path] = ()) -> None:
        """See that the files can be written: now, not after minutes of measuring.

        Raises:
            UsageError: they cannot.
        """
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
        rendered = {each: each.render(report) for each in FORMATS.values()}
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
        if self.json == "-":
            say(as_json)
        elif not self.quiet:
            shown = terminal.render_for(sys.stdout, view_of(report))
            say(for_a_log(f"{shown}\n{_written(written)}"))
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
        say(for_a_log(_written(texts)))


def say(text: str) -> None:
    """Print it; who reads may have heard enough, which changes nothing about how a command ends."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_stdout()
    except OSError as error:
        _let_go_of_stdout()
        raise OutputError(f"cannot write to standard output: {error.strerror}") from None


def _let_go_of_stdout() -> None:
    """What is still to be written goes nowhere, so that Python does not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _written(files: Iterable[Path]) -> str:
    """Which files were; those that differ behind the first dot as one, as a shell expands it."""
    suffixes: dict[Path, list[str]] = {}
    for file in files:
        stem, dot, suffix = file.name.partition(".")
        suffixes.setdefault(file.with_name(f"{stem}{dot}"), []).append(suffix)
    listed = ", ".join(
        f"{start}{found[0]}" if len(found) == 1 else f"{start}{{{','.join(found)}}}"
        for start, found in suffixes.items()
    )
    return f"Written: {listed}\n"
