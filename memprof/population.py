"""The public API: a population of the user's own agents, stored small and activated for use."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from memprof.errors import UsageError, nearest
from memprof.instruments import walker
from memprof.measurements import LedgerRow
from memprof.passes.catalogue import passes_for
from memprof.passes.history import Histories
from memprof.passes.mmap import Mmap
from memprof.passes.plan import Plan
from memprof.passes.pool import Pool
from memprof.populations.roster import Roster
from memprof.units import format_size

AUTO = ("history", "pool", "template")
"""The exact passes that `auto` stands for here: they help every population and need no trial."""


@dataclass(frozen=True, slots=True)
class PopulationMemory:
    """The ledger of an optimised population.

    Attributes:
        rows: bytes per component, as in a report's ledger.
        typical_agent_bytes: median of the resident bytes that one agent holds alone; None where
            the platform cannot tell.
        kept_whole: attributes that no exact encoding exists for, with their types: they are kept
            as they are.
    """

    agents: int
    rows: tuple[LedgerRow, ...]
    typical_agent_bytes: float | None
    kept_whole: dict[str, str]

    @property
    def nominal_bytes(self) -> int:
        return sum(row.nominal_bytes for row in self.rows)

    @property
    def resident_bytes(self) -> int | None:
        """Bytes that the kernel has given for all of it; None where the platform cannot tell."""
        sizes = [row.resident_bytes for row in self.rows]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def __str__(self) -> str:
        lines = [
            f"{self.agents} agents, {format_size(self.typical_agent_bytes)} each, "
            f"{format_size(self.resident_bytes)} in all"
        ]
        lines += [
            f"  {row.component:24} {format_size(row.resident_bytes):>10}"
            for row in self.rows
            if row.nominal_bytes
        ]
        lines += [f"  kept whole: {name} ({kind})" for name, kind in self.kept_whole.items()]
        return "\n".join(lines)


class OptimizedPopulation:
    """Agents at rest. `activate` makes one of them a real PyMDP agent for as long as it is used.

    Agents keep everything they are: beliefs, what they learned, their past, attributes that a
    subclass added. Large arrays of an active agent are read-only, because agents share them; PyMDP
    itself replaces arrays and never writes into one. Safe for threads that use different agents.

    Close it, or use it in a `with` statement, to leave PyMDP as it was (`pool` speeds up some of
    its functions while the population is in use).
    """

    def __init__(self, agents: Iterable[Any], plan: Plan) -> None:
        """Use `optimize` or `reopen`."""
        self._roster = Roster(plan)
        self._close = weakref.finalize(self, self._roster.close)
        try:
            for agent in agents:
                _check(agent)
                self._roster.add(agent)
        except BaseException:
            self._close()
            raise

    def __len__(self) -> int:
        return len(self._roster)

    @contextmanager
    def activate(self, index: int) -> Iterator[Any]:
        """The agent number `index`; stored again when the block ends, even by an exception.

        Raises:
            IndexError: there is no such agent.
            AgentActive: it is active already, here or in another thread.
        """
        agent = self._roster.wake(index)
        try:
            yield agent
        finally:
            del agent  # whoever else still holds it, holds an empty agent
            self._roster.rest(index)

    def memory(self) -> PopulationMemory:
        """Where the population's memory is now; agents at rest only."""
        rows, held = walker.walk(self._roster.holdings())
        middle = sorted(held)[len(held) // 2] if held else None
        return PopulationMemory(len(self), rows, middle, self._roster.kept_whole)

    def close(self) -> None:
        """Let go of all agents, and leave PyMDP as it was."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def optimize(
    agents: Iterable[Any],
    passes: str | Sequence[str] = "auto",
    *,
    keep: Sequence[str] | None = None,
    store: Path | None = None,
) -> OptimizedPopulation:
    """A population of PyMDP agents that the caller built, stored as the passes say.

    The iterable is consumed agent by agent, so a generator builds a population that would never fit
    at once: the peak is the template, one agent and the records. An agent that has been taken over
    is empty afterwards; arrays that the caller still holds are not changed.

    Args:
        agents: PyMDP agents (`pymdp.legacy.agent.Agent` or a subclass).
        passes: names, as `memprof passes` lists them, or "auto" for `AUTO`.
        keep: results of inference that agents keep at rest (`qs`, `action`, `q_pi`, `G`, `F`,
            `prev_actions`, `prev_obs`, `qs_hist`, `q_pi_hist`); None for all of them.
        store: a new folder for the pass `mmap`, which outlives the program: see `reopen`. Without
            it `mmap` uses a temporary folder.

    Raises:
        UsageError: an unknown pass, or something that is no such agent.
        StoreError: the folder cannot be used.
    """
    names = AUTO if passes == "auto" else (passes,) if isinstance(passes, str) else tuple(passes)
    known = passes_for("numpy")
    for name in names:
        if name not in known:
            raise UsageError(f"passes: {name!r} is no pass; {nearest(name, ('auto', *known))}")
    if store is not None and "mmap" not in names:
        raise UsageError("store: only the pass mmap keeps agents in a folder; add it to passes")
    kept = None if keep is None else tuple(keep)
    return OptimizedPopulation(agents, Plan.of(names, kept, store))


def reopen(store: Path, agent_class: type) -> OptimizedPopulation:
    """The population that `optimize(..., passes=[..., "mmap"], store=store)` left in a folder, by
    this program or by another that was killed: every agent as it was when it last came to rest.

    Raises:
        StoreError: the folder is damaged, is no such store, is in use by another process, or holds
            agents of another class.
    """
    return OptimizedPopulation((), Plan((Histories(), Pool(), Mmap.reopen(store, agent_class))))


def _check(agent: Any) -> None:
    from pymdp.legacy.agent import Agent

    if not isinstance(agent, Agent):
        raise UsageError(
            f"agents: expected PyMDP agents (pymdp.legacy.agent.Agent), found "
            f"{type(agent).__module__}.{type(agent).__qualname__}"
        )
