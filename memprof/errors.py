"""Every error that memprof reports, with the exit code that the command ends with.

    MemprofError
    ├── CheckFailed            1   the measurement succeeded, but its result fails a check
    │   ├── BudgetExceeded         an agent costs more than the scenario allows
    │   ├── BehaviourDiverged      a pass changed the agents' behaviour
    │   ├── LeakFound              memory grows from cycle to cycle
    │   └── RegressionFound        a scenario got worse than its baseline
    ├── UsageError             2   the command line or the scenario is wrong
    │   ├── ScenarioError          with the field, and the line of the scenario file
    │   └── AgentActive            an agent is requested while it is in use
    └── MeasurementError       3   the measurement failed
        ├── WorkerDied             a signal or an exit without a result
        ├── WorkerFailed           an exception inside the worker, or it cannot be started
        ├── WorkerTimeout          the worker exceeded --timeout
        ├── MemoryLimitReached     the worker reached --memory-limit
        ├── BackendFailed          the backend is missing or does not start
        ├── ClusterError           Ray, or a node of its cluster, is not as it has to be
        │   └── ShardLost          a shard has died, and nothing says what its agents were
        ├── NoAccount              nothing tells what a program takes before it runs
        ├── Undecided              too few or too noisy readings to decide
        ├── NotComparable          no baseline, or one of another scenario or environment
        ├── StoreError             a store on disk is foreign, damaged or in use
        ├── OutputError            a report could not be written
        └── Interrupted        130     Ctrl-C, SIGTERM, SIGHUP, SIGQUIT or SIGXCPU

Anything else is a bug: it keeps its traceback, and the command ends with 3.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from memprof.text import harmless, quoted, shown


class MemprofError(Exception):
    """Base of all reported errors; `detail` is shown below the message (a worker's traceback).

    Both may quote untrusted text; whatever shows them must escape it.
    """

    exit_code = 3

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(harmless(quoted(message)))
        self.detail = harmless(quoted(detail))

    def __reduce__(self) -> tuple[Any, ...]:
        """The same error in another process, whatever its constructor takes."""
        return _again, (type(self), self.args), vars(self)


def _again(kind: type[MemprofError], args: tuple[Any, ...]) -> MemprofError:
    return kind.__new__(kind, *args)


class CheckFailed(MemprofError):
    """The measurement succeeded, but its result breaks a rule that the user set."""

    exit_code = 1


class BudgetExceeded(CheckFailed):
    """An agent costs more than the scenario's budget allows."""


class BehaviourDiverged(CheckFailed):
    """A pass changed beliefs or actions although it claims not to."""


class LeakFound(CheckFailed):
    """Memory grows from cycle to cycle; the message says by how much, and where first."""


class RegressionFound(CheckFailed):
    """A scenario got worse than the baseline allows; the message says what, and by how much."""


class UsageError(MemprofError):
    """The command line or the scenario is wrong."""

    exit_code = 2


_NAMED = 10


class AgentActive(UsageError):
    """An agent is requested while it is in use."""

    def __init__(self, index: int) -> None:
        super().__init__(
            f"agent {index} is active already; leave its `with` block before it is activated again"
        )


def in_use(agents: Sequence[int], what: str) -> UsageError:
    """Why `what` is not done while these agents are active."""
    some = ", ".join(map(str, agents[:_NAMED])) + ", ..." * (len(agents) > _NAMED)
    if len(agents) == 1:
        return UsageError(f"agent {some} is active; leave its `with` block before you {what}")
    return UsageError(f"agents {some} are active; leave their `with` blocks before you {what}")


class ScenarioError(UsageError):
    """One field of a scenario is wrong.

    Attributes:
        field: dotted path of the field, such as `model.size`; empty for the whole file.
        problem: what was expected, what was found, and what to do, in words.
        where: `file:line`, or empty.
    """

    def __init__(self, field: str, problem: str, *, where: str = "", detail: str = "") -> None:
        self.field = field
        self.problem = problem
        self.where = where
        place = f"{where}: " if where else ""
        name = f"{field}: " if field and where != option_of(field) else ""
        super().__init__(f"{place}{name}{problem}", detail=detail)


class FieldError(ValueError):
    """A mistake found across fields while a scenario is checked, to be reported at `field` as a
    `ScenarioError`."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


class MeasurementError(MemprofError):
    """The measurement failed."""

    exit_code = 3


class WorkerDied(MeasurementError):
    """The worker ended without a result."""


class WorkerFailed(MeasurementError):
    """An exception inside the worker, with its traceback in `detail`; or it cannot be started."""


class WorkerTimeout(MeasurementError):
    """The worker exceeded the time limit and was ended."""


class MemoryLimitReached(MeasurementError):
    """The worker reached the memory limit that the user set."""


class BackendFailed(MeasurementError):
    """The backend is missing or does not start."""


class ClusterError(MeasurementError):
    """Ray does not start or answer, its nodes differ in what they run, or one has no room."""


class ShardLost(ClusterError):
    """A shard has died, and there is no checkpoint from which its agents could go on."""


class NoAccount(MeasurementError):
    """Nothing tells how much memory a program takes before it runs; the message says why."""


class Undecided(MeasurementError):
    """The readings do not decide, between leak and chance or worse and same; the message says
    what would."""


class NotComparable(MeasurementError):
    """There is nothing to compare a run with: the baseline is missing, damaged, or of another
    scenario or environment; or a run is incomplete."""


class StoreError(MeasurementError):
    """A store on disk is missing, foreign, damaged, full or in use."""


class OutputError(MeasurementError):
    """A report could not be written; `files` are those that were not."""

    def __init__(self, message: str, files: Iterable[Path] = (), *, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.files = tuple(files)


class Interrupted(MeasurementError):
    """The user ended the run; unless the message says otherwise, there is a report."""

    exit_code = 130

    def __init__(
        self, message: str = "interrupted; the report has what was measured so far"
    ) -> None:
        super().__init__(message)


def option_of(field: str) -> str:
    """The command-line option that overrides a scenario's field."""
    return f"--{field.replace('_', '-')}"


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'? Known: x, y` for the nearest known name, or `known: x, y`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? Known" if close else "known"
    return f"{hint}: {', '.join(names)}"


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name of kind `what`."""
    return f"unknown {what} {shown(name)}; {nearest(name, known)}"
