"""The place of a new store: looked at beforehand, filled in one step, and as it was when that
fails.

One process at a time writes to a store.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from memprof.errors import StoreError
from memprof.posix import check_can_lock, lock
from memprof.storage.failures import cannot_create
from memprof.storage.untrusted import check_regular, shown

_NAMED = 32  # characters of the store's name in its draft's, which has to fit too


class Place:
    """A folder that is new or empty, for a store.

    Raises:
        StoreError: no store can be created there; the message says why, and what it takes.
    """

    def __init__(self, folder: Path) -> None:
        check_can_lock()
        try:
            self.folder = folder.absolute()
            self._is_new = self._look()
            self._made: int | None = None
        except (OSError, ValueError) as error:
            raise cannot_create(folder, error) from error

    def check(self) -> None:
        """Refuse the place now, rather than when there is something to store."""
        try:
            with self.draft():
                pass
        except (OSError, ValueError) as error:
            raise cannot_create(self.folder, error) from error

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A hidden folder `.NAME.*` beside the place, gone when the block ends; unless the process
        is killed, or the draft was published."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        name = f".{self.folder.name[:_NAMED]}.{secrets.token_hex(4)}"
        draft = self.folder.parent / name
        try:
            draft.mkdir()
            self._made = draft.stat().st_ino
            if not self._is_new:
                shutil.copymode(self.folder, draft)
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def publish(self, draft: Path) -> None:
        """Let the draft become the folder, in one step."""
        self._look()
        draft.rename(self.folder)

    def clear(self) -> None:
        """Take away what was published, if it was: the place is new or empty again."""
        try:
            published = self.folder.lstat().st_ino == self._made
        except OSError:
            return
        if published and self._is_new:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif published:
            for path in self.folder.iterdir():
                path.unlink(missing_ok=True)

    def _look(self) -> bool:
        """Whether the folder is new; an OSError if it is neither new nor empty."""
        try:
            self.folder.lstat()
        except FileNotFoundError:
            return True
        if self.folder.is_symlink():
            raise OSError(errno.ENOTDIR, "it is a link")
        with os.scandir(self.folder) as entries:
            if next(entries, None) is not None:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        return False


_NAME = "writer"


def lock_for_writing(folder: Path) -> IO[bytes]:
    """The lock of a store, as a file to close; the kernel frees it when the process dies.

    It is the process's own: a forked process does not inherit it, and a second one in the same
    process would succeed.
    """
    check_can_lock()
    path = folder / _NAME
    with suppress(FileNotFoundError):
        check_regular(path)
    file = path.open("a+b")
    try:
        lock(file)
    except BlockingIOError:
        with file:
            raise StoreError(
                f"{shown(folder)}: process {_number(file)} has it open for writing: wait until "
                "that has ended, or open it with readonly=True"
            ) from None
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    return file


def _number(file: IO[bytes]) -> str:
    file.seek(0)
    number = file.read(20)
    return number.decode() if number.isdigit() else "of unknown number"
