"""What `memprof top` sees of a process. Its JSON is a contract: bytes and seconds only."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from memprof.values.instruments import Count
from memprof.values.live import Live


class ProcessNow(Struct, frozen=True, kw_only=True):
    """What the system tells of any process; None is what it tells its user only, or not at all.

    Attributes:
        command: with its arguments; a name where there is none.
        uss_bytes: what the system would have back if it ended.
        peak_bytes: highest resident set.
        processors: how many it kept busy since the last reading; since it began, at the first.
        children: processes that descend from it.
        children_bytes: their resident sets.
    """

    pid: int
    name: str
    command: str
    user: str
    seconds: float
    resident_bytes: int
    uss_bytes: int | None
    peak_bytes: int | None
    threads: Count
    open_files: Count | None
    processors: float
    children: Count
    children_bytes: int


class Seen(Struct, frozen=True, kw_only=True):
    """A process at one moment.

    Attributes:
        live: what it says of itself; None where nobody watches it, or it does not answer.
        note: why not, and what to do.
    """

    schema: Literal["memprof.top/1"] = "memprof.top/1"
    process: ProcessNow
    live: Live | None
    note: str
