"""One process at a time writes to a store."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from memprof.errors import StoreError
from memprof.posix import check_can_lock, lock
from memprof.store.untrusted import check_regular, shown

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
