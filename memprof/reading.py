"""Files that others wrote, read as text: within a size, and never one that does not end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from memprof.units import format_limit


def read_text(path: Path, most_bytes: int) -> str:
    """What is in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no file, too large, or no UTF-8; the message says so of it.
    """
    # A pipe that nobody writes to would be waited for, without this flag.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb", closefd=True) as stream:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise ValueError("expected a file, found a pipe, a device or a socket")
        return read_stream(stream, most_bytes)


def read_stream(stream: BinaryIO, most_bytes: int) -> str:
    """The same of a stream that is open.

    Raises:
        ValueError: as above.
    """
    data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"is larger than {format_limit(most_bytes)}, the most that is read")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"expected UTF-8, found the byte 0x{data[error.start]:02x} in line {line}; save it as "
            "UTF-8"
        ) from None
