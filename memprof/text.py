"""Text of others: names, paths, messages and source lines of users, their code and their files.

Whatever leaves memprof for a person or a server to read goes through here: the terminal, errors,
progress, pages, Markdown and what CI takes. JSON is written as it is: its own rules escape.
"""

from __future__ import annotations

import os
import re
import reprlib

# What commands a terminal (C0 and C1 but for tabs and ends of lines), turns or hides what is read
# (marks of direction, tags, ends of line and annotations of Unicode), or is no text that a file can
# hold (half characters, those that are none).
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)  # of GitHub's runner, see `for_a_log`
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


def quoted(text: str) -> str:
    """The beginning and the end of what may be very long, as a traceback with its last line."""
    left_out = len(text) - _MOST_QUOTED
    if left_out <= 0:
        return text
    half = _MOST_QUOTED // 2
    return f"{text[:half]}\n… {left_out:,} characters left out …\n{text[-half:]}"


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
