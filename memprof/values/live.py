"""What a watched process says of itself while it lives: to its own exporter and alerts, and, as
JSON, to `memprof top`.

Frozen structs with plain fields, bytes and seconds only.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from memprof.text import format_size
from memprof.values.instruments import Count
from memprof.values.watch import Growth, OperationUse
from memprof.values.watch_jax import Compiling


class LiveKind(Struct, frozen=True):
    """The agents of one kind, now.

    Attributes:
        agents: that live; a batch of JAX agents counts each of its rows.
        built: ever, by constructors; a batch counts each of its rows.
        private_bytes: what one holds alone, the mean at the last look; None before one.
        largest_bytes: the same of the largest.
    """

    name: str
    backend: Literal["numpy", "jax"]
    agents: Count
    built: Count
    private_bytes: float | None
    largest_bytes: float | None


class Live(Struct, frozen=True, kw_only=True):
    """A watched process at one moment.

    Attributes:
        pid: as the process knows itself.
        program: with its arguments, as it knows them.
        began: when watching did, in Unix time.
        seconds: since then.
        uss_bytes: what the system would have back if it ended; None where that cannot be read.
        peak_bytes: highest resident set; None where the platform cannot tell.
        shared_bytes: what several agents hold, at the last look.
        looked_seconds: after the beginning, when agents were last looked at; None before.
        growth: of the last ten minutes, or of less; None where no agents step.
        watch_seconds: what looks took.
    """

    pid: int
    program: str
    began: float
    seconds: float
    uss_bytes: int | None
    resident_bytes: int
    peak_bytes: int | None
    kinds: tuple[LiveKind, ...]
    shared_bytes: int
    looked_seconds: float | None
    operations: tuple[OperationUse, ...]
    growth: Growth | None
    compiling: Compiling | None
    watch_seconds: float

    @property
    def agents(self) -> int:
        return sum(kind.agents for kind in self.kinds)


class Alert(Struct, frozen=True):
    """Something that is no longer well.

    Attributes:
        what: `budget`: the largest agent of a kind holds more than it may; `growth`: the process
            grows from step to step, for as long as was asked for.
        kind: of the agents that break the budget; empty for growth.
        bytes: what the agent holds, or the growth per step of all agents.
        limit_bytes: the budget; None for growth.
        seconds: since watching began.
    """

    what: Literal["budget", "growth"]
    kind: str
    bytes: float
    limit_bytes: int | None
    seconds: float

    def __str__(self) -> str:
        if self.limit_bytes is None:
            return f"the process grows by {format_size(self.bytes)} per step of all agents"
        return (
            f"{self.kind}: an agent holds {format_size(self.bytes)}, above the budget of "
            f"{format_size(self.limit_bytes)}"
        )
