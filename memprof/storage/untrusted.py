"""What a stranger may have written: the files of a store, and JSON in them; and what to do about a
store that cannot be created, opened, read or written.

Whoever hands over a store chooses what its names stand for and what its bytes are.
"""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from memprof.errors import StoreError

CREATE_AGAIN = "delete the store and create it again"

_SHOWN = 200
_FEW = 1000  # objects and lists that take no memory worth speaking of


class NoPlainFile(OSError):
    """A name in a store is not a plain file of the store's own."""


def check_regular(path: Path) -> None:
    """Refuse what is not a plain file before it is opened: opening a pipe waits for a writer, and
    what is written to a link ends up in a file of somebody else's choice.

    Raises:
        NoPlainFile: as it says.
        OSError: there is none.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise NoPlainFile(f"{path.name} is not a plain file")


def read_at_most(path: Path, most_bytes: int) -> bytes:
    """The bytes of a plain file.

    Raises:
        OSError: it is not a plain file, or cannot be read.
        ValueError: there are more.
    """
    check_regular(path)
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"more than {most_bytes} bytes")
    return data


def parsed(data: bytes, *, each_bytes: int = 0) -> Any:
    """The value of a JSON document in UTF-8, whose objects and lists have on average at least
    `each_bytes`, but for a few: many empty ones take some 25 times the memory of their text.

    Raises:
        ValueError: it is none, has a name twice, or is nested too deeply.
    """
    if (data.count(b"{") + data.count(b"[") - _FEW) * each_bytes > len(data):
        raise ValueError("has too many objects for its length")
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def shown(what: Path | str) -> str:
    """A path or name in a message: of readable length, without what commands a terminal."""
    text = str(what)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def reason(error: Exception) -> str:
    """What an exception says, without the path that the message names anyway."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextmanager
def decoding(what: str, remedy: str = CREATE_AGAIN) -> Iterator[None]:
    """A block that does nothing but decode, and derive from what was decoded: that `what` is
    damaged is all that its failing can mean."""
    try:
        yield
    except (MemoryError, StoreError):
        raise
    except Exception as error:
        raise StoreError(
            f"{what} is damaged ({type(error).__name__}: {error}): {remedy}"
        ) from error


def is_count(value: Any) -> bool:
    """Whether a value of JSON is a whole number, 0 or more, that fits into 8 bytes."""
    return type(value) is int and 0 <= value < 2**63


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError("has a name twice")
        found[name] = value
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"has the number {constant}")


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
        advice = ": even reading needs write permission for its files; or work on a copy"
    elif isinstance(error, lmdb.ReadonlyError):
        advice = ": open it again, without readonly=True, to write"
    elif _OPEN_HERE in str(error):
        advice = ": close it here first"
    return StoreError(f"{what} ({reason(error)}){advice}")


def cannot_create(folder: Path, error: Exception) -> StoreError:
    """The error for a place in which no store can be created."""
    return StoreError(
        f"{shown(folder)}: a store cannot be created here ({reason(error)}): it needs a new or "
        "empty folder, on a writable disk with free space"
    )
