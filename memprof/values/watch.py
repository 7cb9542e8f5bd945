"""What a watched program holds, as its own process says it, and the report of `memprof run`.

Frozen structs with plain fields, bytes and seconds only. A *kind* are the agents of one class
that one line of the program builds; a *look* is one walk over all agents that live.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from memprof.text import counted, format_size, parse_size
from memprof.values.instruments import Count, Positive, SourceLine
from memprof.values.measurements import Ledger, WorkerRun
from memprof.values.report import Interval, LeakVerdict
from memprof.values.watch_jax import Arrays, Compiling, Rollout
from memprof.values.watch_sites import Sites

Ended = Literal["exit", "exception", "interrupted", "killed", "timeout", "memory"]
MOST_MOMENTS = 512
SAME_SIZE = 1.25
"""Agents are of about the same size as long as the largest is no more than so many times as large
as the smallest."""
CELL = "%%memprof"
"""The program of a report that is of a notebook's cell."""


def per_agent_budget(text: str) -> int:
    """The bytes in `per_agent=2 MB`: what one agent of any kind may cost.

    Raises:
        ValueError: it is something else, or nothing.
    """
    name, _, size = str(text).partition("=")
    if name.strip() != "per_agent" or not size.strip():
        raise ValueError("expected per_agent=SIZE, such as per_agent=2MB")
    limit = parse_size(size.strip())
    if limit == 0:
        raise ValueError("expected a size above 0")
    return limit


class KindCost(Struct, frozen=True):
    """What one more agent of a kind costs.

    Attributes:
        how: `slope` of the process over the agents, where they were built one after another and
            that line fits; else `ledger`, what an agent holds alone.
        ci95_bytes: of the slope; None for the ledger's figure, which is no estimate.
    """

    bytes: float
    how: Literal["slope", "ledger"]
    ci95_bytes: Interval | None = None


class Saving(Struct, frozen=True):
    """What agents of a kind would take under a pass, measured beside them: those of NumPy at rest
    under `template`, those of JAX under `share`.

    Attributes:
        agents: that were encoded and decoded again, after the one that is their template; or that
            were compared with the first, row by row.
        bytes_per_agent: of a record, the mean; or of the rows that are an agent's own.
        seconds_per_use: to decode one and to encode it again; None where nothing is encoded,
            or where tracing makes it longer.
        exact: all came back the same, bit by bit; or what is shared is alike, bit by bit.
        refused: why agents of this kind cannot be stored, or shared; empty where they can.
        once_bytes: that all of them would hold together; None where that was not measured.
    """

    agents: Count
    bytes_per_agent: float | None
    seconds_per_use: float | None
    exact: bool
    refused: str = ""
    pass_name: Literal["template", "share"] = "template"
    once_bytes: Count | None = None

    def each_of(self, agents: int) -> float | None:
        """What each of so many takes, with its part of what they hold together."""
        if self.bytes_per_agent is None:
            return None
        return self.bytes_per_agent + (self.once_bytes or 0) / agents


class Kind(Struct, frozen=True):
    """Agents of one class that one line builds.

    Attributes:
        name: the class with the line, as a reader tells kinds apart.
        class_name: of the agents, with its module.
        built_at: the line of the user's that builds them; None where memprof came later.
        agents: that live; a batch of JAX agents counts each of its rows. The ledger may have one
            less, which is just about to go.
        built: ever, by constructors.
        equal_bytes: of what one agent holds, what another holds alike, bit by bit; nominal.
        saving: None where it was not measured.
    """

    name: str
    class_name: str
    built_at: SourceLine | None
    backend: Literal["numpy", "jax"]
    agents: Positive
    built: Count
    per_agent: KindCost
    equal_bytes: float
    ledger: Ledger
    saving: Saving | None = None

    @property
    def sizes(self) -> Interval | None:
        """What the smallest and the largest agent hold alone, where that is not about the same:
        then no one figure is what an agent of this kind costs."""
        found = self.ledger.agent_bytes_range
        return found if found is not None and found[1] > SAME_SIZE * found[0] else None

    @property
    def alone_bytes(self) -> float:
        """What one agent holds alone, by the ledger."""
        return sum(row.private_bytes for row in self.ledger.rows) / self.ledger.agents

    @property
    def grows_beyond(self) -> bool:
        """Whether the process grew by more for each agent than that holds: by what else was built
        along with it."""
        beyond = self.per_agent.bytes > SAME_SIZE * self.alone_bytes
        return self.sizes is None and self.per_agent.how == "slope" and beyond

    @property
    def most_bytes(self) -> float:
        """What the most expensive agent costs."""
        return max(self.per_agent.bytes, self.sizes[1] if self.sizes else 0.0)


class Growth(Struct, frozen=True):
    """Whether the process goes on growing while the same agents step.

    Attributes:
        agents: that lived; all of them step once in a step of the whole.
        first_step, last_step: that were looked at, counted from when there were so many.
        bytes_per_step: of all agents together; None where there were too few steps to tell.
        floor_bytes: the smallest growth that would have been found; None if none would have been.
    """

    agents: Positive
    first_step: Count
    last_step: Count
    verdict: LeakVerdict | None
    bytes_per_step: float | None
    ci95_bytes: Interval | None
    floor_bytes: float | None


class Look(Struct, frozen=True):
    """All agents that lived at one moment.

    Attributes:
        name: `peak`, `end`, or what the program marked.
        seconds: since the program began.
        private_bytes: of the process, see `Reading.private_bytes`.
        shared_bytes: what several agents hold, of whatever kind.
        look_seconds: what it took to look.
        arrays: JAX's live ones, by who holds them; empty where no agent is JAX's.
    """

    name: str
    seconds: float
    private_bytes: int
    kinds: tuple[Kind, ...]
    shared_bytes: int
    look_seconds: float
    arrays: tuple[Arrays, ...] = ()

    @property
    def agents(self) -> int:
        return sum(kind.agents for kind in self.kinds)

    def __str__(self) -> str:
        lines = [f"{self.name}: {counted(self.agents, 'agent')}, {format_size(self.held_bytes)}"]
        for kind in self.kinds:
            cost = format_size(kind.per_agent.bytes)
            lines.append(f"{kind.name}: {counted(kind.agents, 'agent')}, {cost} each")
            rows = sorted(kind.ledger.rows, key=lambda row: -row.nominal_bytes)
            lines += [
                f"  {row.component:<28}{format_size(row.private_bytes / kind.ledger.agents):>10} "
                f"each, {format_size(row.shared_bytes)} shared"
                for row in rows
            ]
        return "\n".join(lines)

    @property
    def held_bytes(self) -> int:
        """By all agents, each byte once."""
        return self.shared_bytes + sum(
            row.private_bytes for kind in self.kinds for row in kind.ledger.rows
        )


class Moment(Struct, frozen=True):
    """The process at one moment: seconds since the program began, and the agents that lived."""

    seconds: float
    private_bytes: int
    agents: Count


class OperationUse(Struct, frozen=True):
    """PyMDP's operation over the whole run.

    Attributes:
        seconds: of all calls.
        kept_bytes: growth of the process in a call, the mean of `sampled` ones.
        peak_bytes: the most that one of `peaks` calls has allocated at once, as tracemalloc sees
            it; None where none was read, as of JAX, whose arrays it does not see.
    """

    operation: str
    calls: Positive
    seconds: float
    kept_bytes: float
    sampled: Count
    peak_bytes: Count | None = None
    peaks: Count = 0


class Watched(WorkerRun, frozen=True, kw_only=True):
    """What a program's own process has to say of it until now.

    Attributes:
        looks: one of each name, the last of that name; the peak first.
        timeline: evenly spread over the run.
        growth: None where no agent stepped again and again.
        compiling: None where JAX was not used.
        rollouts: of PyMDP's JAX agents.
        sites: None where nobody asked for them.
        peak_bytes: highest resident set; None where the platform cannot tell.
        watch_seconds: what watching itself took, looks included.
        finished: whether the program came to its end, and this is the last word of it.
        built: agents that constructors ever built, whether or not anybody looked at them.
        failed: why a look could not be taken; empty where none failed.
        kinds: all that were seen, also those that are at none of the looks; as they were when
            they held most.
        unseen: kinds that constructors built, and that went before anybody looked.
    """

    seconds: float
    looks: tuple[Look, ...]
    timeline: Annotated[tuple[Moment, ...], Meta(max_length=MOST_MOMENTS)]
    operations: tuple[OperationUse, ...]
    growth: Growth | None
    compiling: Compiling | None = None
    rollouts: tuple[Rollout, ...] = ()
    sites: Sites | None = None
    start_bytes: int
    peak_bytes: int | None
    watch_seconds: float
    finished: bool = True
    built: Count = 0
    failed: str = ""
    kinds: tuple[Kind, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def peak_kinds(self) -> tuple[Kind, ...]:
        """The kinds at the look at which agents held most, then those of which none lived at that
        moment; none where none was seen."""
        most = max(self.looks, key=lambda each: each.held_bytes, default=None)
        if most is None:
            return ()
        tried = {
            kind.name: kind.saving for look in self.looks for kind in look.kinds if kind.saving
        }
        names = {kind.name for kind in most.kinds}
        kinds = *most.kinds, *(kind for kind in self.kinds if kind.name not in names)
        return tuple(replace(kind, saving=tried.get(kind.name, kind.saving)) for kind in kinds)


PROCESS_SUFFIX = ".process"
"""Of the file in which a process leaves what it saw."""


class ChildProcess(Struct, frozen=True):
    """A process that the program started, by `fork` or by Python's multiprocessing, and in which
    agents were built, or worked.

    Attributes:
        name: multiprocessing's, or `fork`.
        started_seconds: since the program began.
        kinds: built there, as they were when they held most.
        unseen: kinds that were built there, and that went before anybody looked.
        inherited: agents of the process that started it, which worked there, too; they are none of
            its kinds.
        peak_bytes: highest resident set; None where the platform cannot tell.
        finished: whether it came to its end, and this is the last word of it.
    """

    name: str
    started_seconds: float
    kinds: tuple[Kind, ...]
    unseen: tuple[str, ...]
    inherited: Count
    peak_bytes: int | None
    finished: bool


class CellFailed(Struct, frozen=True):
    """The cell of a notebook after which no other ran.

    Attributes:
        cell: its number, as in `In [3]`.
        error: as Python names it, or how its kernel ended.
    """

    cell: Positive
    error: str


class Said(Struct, frozen=True):
    """One word of a program's process to memprof, or of who runs a notebook's cells."""

    watched: Watched | None = None
    failed: CellFailed | None = None
