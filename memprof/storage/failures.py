"""What to do about a store that cannot be created, opened, read or written."""

from __future__ import annotations

import errno
from pathlib import Path

import lmdb

from memprof.errors import StoreError
from memprof.storage.header import CREATE_AGAIN
from memprof.storage.untrusted import NoPlainFile, reason, shown

_DAMAGE = (
    FileNotFoundError,
    NoPlainFile,
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)
_OPEN_HERE = "already open in this process"  # an lmdb.Error without a type or code of its own
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # EIO: written in part


def failure(what: str, error: OSError | ValueError | lmdb.Error) -> StoreError:
    """The error for a store that is there, with what helps."""
    code = getattr(error, "code", None) or getattr(error, "errno", None)
    advice = ""
    if isinstance(error, _DAMAGE):
        advice = f": it is damaged, {CREATE_AGAIN}"
    elif code in _NO_ROOM:
        advice = ": make room on the disk"
    elif code in (errno.EACCES, errno.EPERM):
        advice = ": it takes the right to write its files, to read too; or work on a copy"
    elif isinstance(error, lmdb.ReadonlyError):
        advice = ": open it again, without readonly=True, to write"
    elif _OPEN_HERE in str(error):
        advice = ": close it here first"
    return StoreError(f"{what} ({reason(error)}){advice}")


def cannot_create(folder: Path, error: Exception) -> StoreError:
    """The error for a place in which no store can be created."""
    return StoreError(
        f"{shown(folder)}: a store cannot be created here ({reason(error)}): it takes a writable "
        "place on a disk with room, and a folder that is new or empty"
    )
