"""Where reports go: files that are complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from memprof.errors import OutputError, UsageError
from memprof.text import cut


def check_writable(files: Iterable[Path]) -> None:
    """See that reports can be written there, without making anything.

    Raises:
        UsageError: they cannot.
    """
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
    failed = {}
    for path, text in texts.items():
        try:
            _write(path, text)
        except OSError as error:
            failed[path] = f"cannot write {cut(str(path), 200)}: {error.strerror or error}"
    if failed:
        raise OutputError("; ".join(failed.values()), failed)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove what is there, so that nothing of an earlier report stands beside this one.

    Raises:
        OutputError: one or more could not be.
    """
    failed = {}
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            failed[path] = f"cannot remove {path}: {error.strerror or error}"
    if failed:
        raise OutputError("; ".join(failed.values()), failed)


def _write(path: Path, text: str) -> None:
    """Replace a file, the one that a link leads to; write into what is no file, such as a pipe."""
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
