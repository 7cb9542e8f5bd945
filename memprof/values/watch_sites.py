"""Where a watched program keeps memory from step to step, as `memprof run --sites` finds it."""

from __future__ import annotations

from msgspec import Struct

from memprof.values.instruments import Count, SourceLine


class KeptAt(SourceLine, frozen=True):
    """A line that allocates what stays, more in every step.

    Attributes:
        bytes_per_step: of all agents' steps together.
        blocks_per_step: how many pieces of memory that is.
        caller: the user's own line that led there, where the line is not the user's; None where
            none is known.
        added_to: what the user's line adds to, as it says itself, such as `kept`; empty where it
            does not say.
    """

    bytes_per_step: float
    blocks_per_step: float
    caller: SourceLine | None = None
    added_to: str = ""

    @property
    def where(self) -> str:
        """The line, and the user's that led there."""
        return self.place if self.caller is None else f"{self.place} (from {self.caller.place})"


class Sites(Struct, frozen=True):
    """What stays from step to step, by the lines that allocate it.

    Attributes:
        lines: the user's own first, then most bytes first; none where nothing stays.
        first_step, last_step: between which it was watched; 0 where there were too few.
        traced_bytes_per_step: that all lines together gain.
        tracing_bytes: what tracing itself took at last, which the process's figures leave out.
        failed: why there is nothing to say; empty where there is.
        untraced_steps: how many steps were lived without tracing, which would have taken too long.
    """

    lines: tuple[KeptAt, ...]
    first_step: Count
    last_step: Count
    traced_bytes_per_step: float
    tracing_bytes: Count
    failed: str = ""
    untraced_steps: Count = 0
