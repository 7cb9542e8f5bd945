"""Where text goes: files that are complete or not there, and the standard streams, whatever they
are connected to: closed, full, gone, or in ASCII.

The command imports this first, so it imports little itself.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TextIO

from memprof.errors import OutputError, UsageError
from memprof.text import cut, for_a_log, harmless


def check_writable(files: Iterable[Path]) -> None:
    """See that reports can be written there, without making anything.

    Raises:
        UsageError: they cannot.
    """
    import tempfile

    for file in files:
        try:
            if file.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            existing = next(folder for folder in file.absolute().parents if folder.exists())
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise UsageError(
                f"cannot write {cut(str(file), 200)}: {error.strerror or error}"
            ) from None


def write_files(texts: Mapping[Path, str]) -> None:
    """Write every text that can be written, each atomically.

    Raises:
        OutputError: one or more could not; what was there before is untouched.
    """
    _each("write", texts, lambda path: _write(path, texts[path]))


def remove_files(paths: Iterable[Path]) -> None:
    """Remove what is there, so that nothing of an earlier report stands beside this one.

    Raises:
        OutputError: one or more could not be.
    """
    _each("remove", paths, lambda path: path.unlink(missing_ok=True))


def _each(what: str, paths: Iterable[Path], do: Callable[[Path], None]) -> None:
    failed = {}
    for path in paths:
        try:
            do(path)
        except OSError as error:
            failed[path] = f"cannot {what} {cut(str(path), 200)}: {error.strerror or error}"
    if failed:
        raise OutputError("; ".join(failed.values()), failed)


def _write(path: Path, text: str) -> None:
    """Replace a file, the one that a link leads to; write into what is no file, such as a pipe."""
    import tempfile

    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as stream:
            temporary = Path(stream.name)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ---------------------------------------------------------------- standard streams


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
