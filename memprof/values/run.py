"""The report of `memprof run`, and of a notebook's cell."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from memprof.values.profile import Advice
from memprof.values.report import BaseReport, Caution, Environment
from memprof.values.watch import ChildProcess, Ended, Kind, Watched


class KindBudget(Struct, frozen=True):
    """What an agent of each kind may cost, and whether it does."""

    limit_bytes: int
    kind: str
    bytes: float
    kept: bool


class RunReport(BaseReport, frozen=True, kw_only=True):
    """Everything `memprof run` found. Its JSON is the contract.

    Attributes:
        program: as the user wrote it: a file, or `-m` and a module, with its arguments.
        exit_code: the program's own.
        ended: how it came to it.
        kinds: at the peak of what agents hold.
        processes: that the program started, and that had agents; in the order of their starts.
    """

    kind: Literal["run"] = "run"
    program: tuple[str, ...]
    exit_code: int
    ended: Ended
    environment: Environment
    warnings: tuple[Caution, ...]
    watched: Watched
    kinds: tuple[Kind, ...]
    budget: tuple[KindBudget, ...] = ()
    processes: tuple[ChildProcess, ...] = ()
    advice: tuple[Advice, ...] = ()

    @property
    def subject(self) -> str:
        """The program without its arguments."""
        return " ".join(self.program[: 1 + (self.program[:1] == ("-m",))])
