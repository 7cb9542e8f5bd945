"""What an optimised population takes."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.api.plan import AppliedPlan
from memprof.text import counted, format_size
from memprof.values.measurements import LedgerRow


@dataclass(frozen=True, slots=True)
class PopulationMemory:
    """The ledger of an optimised population.

    Attributes:
        rows: bytes per component, as in a report's ledger.
        typical_agent_bytes: median of the resident bytes that one agent holds alone; None where
            the platform cannot tell.
        kept_whole: attributes that remain the same objects at rest, with their types: they have no
            exact encoding, or something outside the agent holds them too.
        not_replaced: functions of PyMDP that `pool` does not replace, with the first thing in them
            whose source it does not know (from another release, or a user's). They run unchanged.
        passes: the names of the passes.
        because: why `optimize` chose them; empty if the caller named them.
        plan: what each pass has done, if the population tells.
        file_bytes: what the agents and their template take in files on disk, under `mmap`; no other
            figure includes it.
    """

    agents: int
    rows: tuple[LedgerRow, ...]
    typical_agent_bytes: float | None
    kept_whole: dict[str, str]
    not_replaced: dict[str, str]
    passes: tuple[str, ...]
    because: str
    file_bytes: int = 0
    plan: AppliedPlan | None = None

    @property
    def nominal_bytes(self) -> int:
        return sum(row.nominal_bytes for row in self.rows)

    @property
    def resident_bytes(self) -> int | None:
        """Bytes that the kernel has provided for all of it; None where the platform cannot tell."""
        sizes = [row.resident_bytes for row in self.rows]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def __str__(self) -> str:
        lines = [
            f"{counted(self.agents, 'agent')}, {format_size(self.typical_agent_bytes)} of memory "
            f"each, {format_size(self.resident_bytes)} in all"
        ]
        if self.file_bytes:
            lines.append(f"in files on disk: {format_size(self.file_bytes)}")
        lines.append(f"  {'component':24} {'resident':>10}")
        lines += [
            f"  {row.component:24} {format_size(row.resident_bytes):>10}"
            for row in self.rows
            if row.nominal_bytes
        ]
        lines += [f"  kept whole: {name} ({kind})" for name, kind in self.kept_whole.items()]
        lines += [
            f"  not replaced by pool: {name} (unknown: {what})"
            for name, what in self.not_replaced.items()
        ]
        why = f", because {self.because}" if self.because else ""
        lines += [f"passes: {', '.join(self.passes) or 'none'}{why}"]
        lines += [f"  {each}" for each in self.plan.passes] if self.plan else []
        return "\n".join(lines)
