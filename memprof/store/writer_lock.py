"""One process at a time writes to a store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from memprof.errors import StoreError

_NAME = "writer"


def lock_for_writing(folder: Path) -> IO[str]:
    """The lock of a store, as a file to close; the kernel frees it when the process dies.

    It is the process's own: a forked process does not inherit it, and a second one in the same
    process would succeed.
    """
    file = (folder / _NAME).open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            file.seek(0)
            raise StoreError(
                f"{folder}: process {file.read()} has it open for writing: wait until that has "
                "ended, or open it with readonly=True"
            ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
