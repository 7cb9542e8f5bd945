"""What a process holds that is not memory, or not only: descriptors, threads, child processes and
the like.

Each is counted exactly, so that one in each cycle is found. How it is counted is in
`instruments/resources.py`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

CountName = Literal[
    "descriptors", "threads", "children", "segments", "maps", "files", "programs", "uncollectable",
    "figures", "loggers", "handlers", "warnings",
]  # fmt: skip


class Counted(NamedTuple):
    """What is counted, in words: one of it, many, how there comes to be one, and what to do about
    those that stay."""

    one: str
    many: str
    made: str
    remedy: str


COUNTS: dict[CountName, Counted] = {
    "maps": Counted(
        "memory map",
        "memory maps",
        "mapped",
        "close() each with the agent that mapped it, and drop arrays that look into it.",
    ),
    "segments": Counted(
        "shared memory segment",
        "shared memory segments",
        "created",
        "close() and unlink() each with the agent that created it.",
    ),
    "descriptors": Counted(
        "file descriptor",
        "file descriptors",
        "opened",
        "Close each with the agent that opened it, or open it in a with block.",
    ),
    "threads": Counted(
        "thread",
        "threads",
        "started",
        "Have each end with the agent that started it, and join it.",
    ),
    "children": Counted(
        "child process",
        "child processes",
        "started",
        "End each with the agent that started it: terminate() it, and wait() for it.",
    ),
    "files": Counted(
        "temporary file",
        "temporary files",
        "created",
        "Remove each with the agent that created it, as tempfile.TemporaryDirectory does.",
    ),
    "programs": Counted(
        "compiled program",
        "compiled programs",
        "compiled",
        "Compile once: call the same jitted function, with arguments of the same shapes.",
    ),
    "uncollectable": Counted(
        "uncollectable object",
        "uncollectable objects",
        "made",
        "Empty gc.garbage, and find what fills it (gc.DEBUG_SAVEALL does).",
    ),
    "figures": Counted(
        "matplotlib figure",
        "matplotlib figures",
        "made",
        "Call matplotlib.pyplot.close(figure) once it is drawn or saved.",
    ),
    "loggers": Counted(
        "logger",
        "loggers",
        "made",
        "Use one logger for all agents: Python keeps every name.",
    ),
    "handlers": Counted(
        "logging handler",
        "logging handlers",
        "added",
        "Remove each with the agent that added it: logger.removeHandler(handler).",
    ),
    "warnings": Counted(
        "remembered warning",
        "remembered warnings",
        "warned",
        "Warn with a text that does not change: Python remembers each one.",
    ),
}
