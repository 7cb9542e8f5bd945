"""The standard streams, whatever they are connected to: closed, full, gone, or in ASCII."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from memprof.errors import OutputError
from memprof.text import for_a_log, harmless


def make_safe() -> None:
    """See that all three are there, and that writing to them ends in nothing but an `OutputError`.

    What was closed when the command started is not, by accident, the next file that is opened:
    there is a descriptor now of which reading or writing fails, as it would have.
    """
    for descriptor, unusable in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, unusable)  # the lowest that is free, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = _replaced(_Output, sys.stdout, 1)
    sys.stderr = _replaced(_Messages, sys.stderr, 2)


def finish(code: int) -> int:
    """Write what is still to be written; what the command ends with then."""
    try:
        sys.stdout.flush()
    except OutputError as error:
        print(f"memprof: {error}", file=sys.stderr)
        code = code or error.exit_code
    sys.stderr.flush()
    return code


class _Stream(io.TextIOWrapper):
    """A stream that says only once that it cannot be written; then all that follows goes nowhere,
    so that Python does not try again at its end."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._let_go(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._let_go(error)

    def _let_go(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        self.failed(error)

    def failed(self, error: OSError) -> None:
        """What its user is told."""


class _Messages(_Stream):
    """Standard error: nobody reads it, which changes nothing about what a command does.

    What others wrote is in all messages, Typer's about the command line too. Only the bar of
    progress is more than text, and it is there on a terminal alone.
    """

    def write(self, text: str, /) -> int:
        super().write(text if self.isatty() else for_a_log(harmless(text)))
        return len(text)


class _Output(_Stream):
    """Standard output: who reads may have heard enough; all else is an error."""

    def failed(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"cannot write to standard output: {error.strerror}") from None


def _replaced(kind: type[_Stream], stream: TextIO | None, descriptor: int) -> _Stream:
    """The same stream, safe; characters that its encoding has not are written as escapes."""
    if isinstance(stream, kind):  # the command runs once more in one process
        return stream
    if stream is None:  # it was closed
        return kind(open(descriptor, "wb"), "utf-8")
    lines = bool(stream.line_buffering)
    return kind(stream.buffer, stream.encoding, "backslashreplace", line_buffering=lines)
