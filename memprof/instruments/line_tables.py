"""Line numbers that are found at once, which makes tracing several times faster.

tracemalloc asks for the line of every frame of every allocation, and CPython decodes the function's
line table from its start to find it: in the long functions that agents are made of, that takes more
time than all the rest. CPython 3.11 keeps the decoded table of a function of which a line was
followed once, and looks lines up there from then on. Later versions do not.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Self

_KEEPS_TABLES = sys.version_info < (3, 12)


class LineTables:
    """Follows one line of every function that runs, in this thread, while it is entered. Where a
    debugger or the like follows lines, it does so itself, and nothing is done."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._left = False

    def __enter__(self) -> Self:
        if _KEEPS_TABLES and sys.gettrace() is None:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None:  # those that run already
                self._enter(frame, "call", None)
                frame.f_trace = frame.f_trace or _once
                frame = frame.f_back
            sys.settrace(self._enter)
        return self

    def __exit__(self, *error: object) -> None:
        self._left = True
        if sys.gettrace() == self._enter:
            sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if self._left:  # by another thread
            sys.settrace(None)
            return None
        code = id(frame.f_code)
        if code in self._seen:
            return None
        self._seen.add(code)
        return _once


def _once(frame: FrameType, event: str, argument: Any) -> None:
    frame.f_trace = None
