"""Text for people: made harmless where others wrote it; sizes and durations as people write and
read them; files that are read within a limit.

Whatever leaves memprof for a person or a server to read goes through here: the terminal, errors,
progress, pages, Markdown and what CI takes. JSON is written as it is: its own rules escape.
MB = 10^6 bytes, MiB = 2^20, everywhere.
"""

from __future__ import annotations

import errno
import importlib
import math
import os
import re
import reprlib
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

# What commands a terminal (C0 and C1 but for tabs and ends of lines), turns or hides what is read
# (marks of direction, tags, ends of line and annotations of Unicode), or is no text that a file can
# hold (half characters, those that are none).
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)  # of GitHub's runner, see `for_a_log`
_NOT_THE_USERS = (str(Path(__file__).parent), str(Path(importlib.__file__).parent), "<frozen ")
_MOST_SHOWN = 60
_MOST_RAISED, _MOST_QUOTED = 2_000, 1 << 15


def harmless(text: str) -> str:
    """`text` with its lines, and without what is more than text."""
    return _UNFIT.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The same where a line is all that there may be: nothing in it ends one, or is a command."""
    return inert(" ".join(text.expandtabs(1).splitlines()))


def inert(text: str) -> str:
    """Lines that stand as they are where nobody can stop a CI server that looks for commands."""
    return _COMMAND.sub(lambda found: found[0][:-1] + "\ufffd", harmless(text))


def for_a_log(text: str) -> str:
    """`text` in which GitHub's runner shall find no commands, if it is the one that reads it.

    It looks for `::` at the start of a line, and for `##[` anywhere in one (actions/runner,
    src/Runner.Common/ActionCommand.cs). Nobody may be able to guess the token that ends this
    (GitHub's documentation: stopping and starting workflow commands).
    """
    if "GITHUB_ACTIONS" not in os.environ or not _COMMAND.search(text):
        return text
    import secrets

    token = secrets.token_hex()
    return f"::stop-commands::{token}\n{text.rstrip()}\n::{token}::\n"


def cut(text: str, most: int = _MOST_SHOWN) -> str:
    """`text` as the beginning of it where it is longer than a message should be."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shown(value: object) -> str:
    """A value that was found in place of another, as Python writes it and no longer than needed."""
    return cut(one_line(_SHORT.repr(value)), 2 * _MOST_SHOWN)


def raised(error: BaseException) -> str:
    """What an exception of others is and says."""
    return f"{type(error).__name__}: {said_by(error)}"


def said_by(error: BaseException) -> str:
    """An exception's message, whatever its own code does when it is asked for it."""
    try:
        return cut(str(error), _MOST_RAISED)
    except Exception as failure:
        return f"(its message fails with {type(failure).__name__})"


def out_of_memory(error: MemoryError) -> str:
    """What was being done when memory ran out, which its notes say, and what it says itself."""
    where = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    return f"out of memory{where}: {said_by(error)}"


def own_traceback(error: BaseException) -> str:
    """The traceback of what the user's code, or PyMDP's, raised: without the frames of memprof, of
    the import system and of the calls between them, in the whole chain of causes."""
    import traceback

    found: traceback.TracebackException | None = traceback.TracebackException.from_exception(error)
    whole = found
    while found is not None:
        kept = [frame for frame in found.stack if not frame.filename.startswith(_NOT_THE_USERS)]
        found.stack = traceback.StackSummary.from_list(kept)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    assert whole is not None
    return "".join(whole.format())


def quoted(text: str) -> str:
    """The beginning and the end of what may be very long, as a traceback with its last line."""
    left_out = len(text) - _MOST_QUOTED
    if left_out <= 0:
        return text
    half = _MOST_QUOTED // 2
    return f"{text[:half]}\n… {left_out:,} characters left out …\n{text[-half:]}"


def listed(names: Sequence[str]) -> str:
    """`B`, `B and A`, `B, A and C`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def counted(number: int, what: str, several: str = "") -> str:
    """`1 agent`, `2,000 agents`; `several` of what does not end in `s` then."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"


class _Short(reprlib.Repr):
    """Python's short form, also of what has none: its own code fails, or a number is too long."""

    def repr1(self, value: object, level: int) -> str:
        try:
            return super().repr1(value, level)
        except Exception:
            return f"<{type(value).__name__}>"


_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = _MOST_SHOWN
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 8
_SHORT.maxlevel = 3


_FACTORS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
MOST_BYTES = 2**60
"""No size is larger than an exbibyte."""
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str | int) -> int:
    """Bytes meant by `text`, such as `10 MB`, `64KiB` or a plain count of bytes.

    Raises:
        ValueError: the text is no size, or none that a computer can have.
    """
    match = _SIZE.fullmatch(str(text))
    factor = _FACTORS.get((match[2] or "B").lower()) if match else None
    if match is None or factor is None:
        raise ValueError("expected a size such as 64 KB, 10 MB or 2GiB")
    size = float(match[1]) * factor
    if size > MOST_BYTES:
        raise ValueError("expected a size up to 1 EiB")
    return round(size)


def format_size(size_bytes: float | None, *, signed: bool = False) -> str:
    """`size_bytes` in the largest fitting unit with three or more digits: `31.9 MB`."""
    if size_bytes is None:
        return "-"
    sign = "-" if size_bytes < 0 else "+" if signed and size_bytes > 0 else ""
    size = abs(size_bytes)
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor * 0.9995:
            return f"{sign}{_three_digits(size / factor)} {unit}"
    return f"{sign}{size:.0f} B"


def format_limit(size_bytes: int) -> str:
    """A limit as people set it: `2 GiB` where it is a whole number of GiB or MiB."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor} {unit}"
    return format_size(size_bytes)


def format_seconds(seconds: float | None) -> str:
    """`seconds` in s, ms or µs with three digits."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{_three_digits(seconds / factor)} {unit}"
    return f"{_three_digits(seconds / 1e-6)} µs"


_SPANS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h)?\s*")


A_DAY, A_YEAR = 24 * 3600.0, 365 * 24 * 3600.0
_LONG = {A_DAY: "a day", A_YEAR: "a year"}


def parse_seconds(text: str | float, least: float = 0.0, most: float = A_YEAR) -> float:
    """Seconds meant by `text`, such as `500 ms`, `10 s`, `2 min`, `1 h` or a plain number.

    Raises:
        ValueError: the text is no duration, or one that is shorter or longer than may be.
    """
    match = _SPAN.fullmatch(str(text))
    if match is None:
        raise ValueError("expected a duration such as 500 ms, 10 s, 2 min or 1 h")
    found = float(match[1]) * _SPANS[match[2] or "s"]
    if not least <= found <= most:
        raise ValueError(f"expected {least:g} s to {_LONG.get(most, f'{most:g} s')}")
    return found


def format_share(share: float) -> str:
    """Rounded down, with one digit more than nines: 99.9991 % is not 100 %."""
    if share >= 1:
        return "100%"
    nines = max(1, math.floor(-math.log10(1 - share)) - 1)
    return f"{math.floor(share * 100 * 10**nines) / 10**nines:.{nines}f}%"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


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
