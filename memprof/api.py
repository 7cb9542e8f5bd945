"""The public API: a population of the user's own agents, stored compactly and activated for use."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from memprof.catalogue.backends import OF_PROGRAMS
from memprof.catalogue.passes import AUTO, new_pass
from memprof.errors import UsageError
from memprof.instruments import walker
from memprof.optimise.default import DEFAULT, ByAgent, default_plan, keep_what_rest_frees
from memprof.optimise.plan import NUMPY_OPTIONS, Plan, check_passes, read_options
from memprof.populations.numpy_agents import READ_ONLY
from memprof.populations.roster import Roster
from memprof.storage.agent_class import is_stored
from memprof.storage.header import Place
from memprof.storage.mmap import Mmap
from memprof.text import counted, format_size
from memprof.upstream.installed import agent_of
from memprof.upstream.numpy_agent import Agent
from memprof.values.measurements import LedgerRow, WorkingSetUse


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
        return "\n".join(lines)


class OptimizedPopulation:
    """Agents at rest. `activate` turns one of them into a real PyMDP agent while it is used.

    Agents keep their full state: beliefs, learned parameters, history, attributes of a subclass,
    and which of these are one object. An object that something outside the agent holds too remains
    the same object. In an active agent the arrays of its model, and large arrays, are read-only,
    because agents share them; PyMDP itself replaces arrays and never writes into them.

    Safe for threads that use different agents: each agent is stored and restored exactly. Random
    numbers are another matter: PyMDP samples, and breaks ties, with the single generator behind
    `np.random`, so threads draw from it in an undefined order, and seeding it in one thread seeds
    it for all. Inside `with memprof.thread_random():` every thread has its own generator, and an
    agent's behaviour depends only on what its thread seeded, and when.

    `add` and `remove` let agents come and go; an index is never reused. Under the pass
    `working_set` agents stay active after use, within a budget, and `in_turn` gives the order in
    which that helps most.

    A population opened with `reopen(..., readonly=True)` gives agents as they were last stored, at
    every use; changes to them are discarded.

    Close it, or use it in a `with` statement, to restore PyMDP's own functions (while the
    population is open, `pool` replaces some of those that it knows with faster ones).

    Attributes:
        passes: the names of its passes, in order.
    """

    def __init__(self, agents: Iterable[Any], plan: Plan, passes: tuple[str, ...]) -> None:
        """Use `optimize` or `reopen`."""
        self.passes = passes
        self._plan = plan
        self._roster = Roster(plan)
        self._close = weakref.finalize(self, self._roster.close)  # once, at the latest at exit
        try:
            for agent in agents:
                self._take(agent)
        except BaseException:
            self._roster.give_back()
            self._close()
            raise

    def __len__(self) -> int:
        """How many agents there are, without those that were removed.

        Raises:
            UsageError: the population is closed.
        """
        self._check_open()
        return len(self._roster)

    @property
    def because(self) -> str:
        """How `optimize` keeps the agents, and why; empty if its caller named the passes."""
        storage = self._plan.storage
        return storage.reason() if isinstance(storage, ByAgent) else ""

    def add(self, agent: Any) -> int:
        """Take over one more agent, which is empty afterwards. Returns its index.

        Raises:
            UsageError: it is not a PyMDP agent, or has state that cannot be kept (it is unchanged
                then); the population is closed or read-only.
            StoreError: the store has no room for it.
        """
        self._check_writable()
        return self._take(agent)

    def _take(self, agent: Any) -> int:
        check_agent(agent)
        if self._plan.storage.passivates:
            keep_what_rest_frees(agent)
        return self._roster.add(agent)

    def remove(self, index: int) -> None:
        """Remove an agent for good, with everything that was kept of it. Its index is not reused.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: it is in use.
            UsageError: the population is closed or read-only.
        """
        self._check_writable()
        self._check_index(index)
        self._roster.leave(index)

    def in_turn(self, indices: Iterable[int] | None = None) -> Iterator[int]:
        """Each of `indices`, or of all agents, once: under the pass `working_set` the active ones
        first, and the next one is prefetched where that saves time."""
        self._check_open()
        return iter(self._roster.in_turn(self._roster.indices() if indices is None else indices))

    @contextmanager
    def activate(self, index: int) -> Iterator[Any]:
        """The agent with this index; it is stored again when the block ends, even by an exception.
        In a read-only population it is not: changes that the block makes are discarded.

        Under the pass `working_set` it stays active instead, and is stored when others need its
        place; if that fails, the block that needed the place raises the StoreError.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: it is active already, here or in another thread.
            UsageError: the population is closed.
        """
        self._check_open()
        self._check_index(index)
        agent = self._roster.wake(index)
        try:
            yield agent
        except ValueError as error:
            refused = "read-only" in str(error) or "WRITEABLE" in str(error)
            if refused and READ_ONLY not in str(error):
                error.args = (f"{error}: {READ_ONLY}",)  # at the line of the write, still
            raise
        finally:
            del agent  # whoever else still holds it, holds a stored agent
            self._roster.rest(index)

    def memory(self) -> PopulationMemory:
        """The memory of agents at rest, and of what the passes hold for all of them.

        The process holds more: PyMDP, free memory of its allocators, agents in use.
        """
        self._check_open()
        rows, held, _ = walker.walk(self._roster.holdings(), len(self._roster))
        middle = sorted(held)[len(held) // 2] if held else None
        whole, left = dict(self._plan.storage.kept_whole), self._plan.not_replaced
        disk = self._plan.storage.file_bytes
        return PopulationMemory(
            len(self), rows, middle, whole, left, self.passes, self.because, disk
        )

    def working_set(self) -> WorkingSetUse | None:
        """What the pass `working_set` has done so far; None without it."""
        self._check_open()
        return self._roster.working_set()

    def flush(self) -> None:
        """Passivate all agents that are not in use, so that a store holds their current state.

        Raises:
            StoreError: some could not be stored. Those without room stay in memory, and the next
                flush tries again.
            UsageError: the population is closed or read-only.
        """
        self._check_writable()
        self._roster.flush()

    def close(self) -> None:
        """Release all agents, and restore PyMDP's own functions; a `store` stays on disk, with the
        current state of all agents.

        Raises:
            UsageError: an agent is active.
            StoreError: as for `flush`; the population is still open.
        """
        if self._close.alive and self._roster.active:
            raise UsageError(
                f"agents {', '.join(map(str, self._roster.active))} are active; leave their "
                "`with` blocks before you close the population"
            )
        if self._close.alive and self._plan.storage.lasts:
            self._roster.flush()
        self._close()

    def _check_index(self, index: int) -> None:
        if not 0 <= index < self._roster.count:
            raise IndexError(f"agent {index}: there are {self._roster.count}, numbered from 0")

    def _check_open(self) -> None:
        if not self._close.alive:
            raise UsageError("the population is closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._plan.records.readonly:
            raise UsageError(
                "the population is open with readonly=True; to change the store, reopen it "
                "without, once no other process has it open for writing"
            )

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
    agents: Iterable[Any], passes: str | Sequence[str] = "auto", **options: Any
) -> OptimizedPopulation:
    """A population of the caller's own PyMDP agents, stored under the given passes.

    The iterable is consumed agent by agent, so a generator can build a population that would never
    fit in memory at once: the peak is the template, one agent and the records. An agent is empty
    after it has been taken over; arrays that the caller still holds do not change.

    Args:
        agents: agents of PyMDP's NumPy backend (`pymdp.legacy.agent.Agent`, until 0.0.7.1
            `pymdp.agent.Agent`, or a subclass).
        passes: names, as `memprof passes` lists them, or "auto" for "history", "pool" and
            "template", under which agents that learn large dense matrices stay active, because
            records would make them much slower (`OptimizedPopulation.because`).
        options: options of the passes, as `memprof passes` lists them. Those of memprof's own
            passes: `keep`, inference results that agents keep at rest (`qs`, `action`, `q_pi`, `G`,
            `F`, `prev_actions`, `prev_obs`, `qs_hist`, `q_pi_hist`), all if omitted; `store`, a new
            or empty folder for the pass `mmap`, which outlives the program (see `reopen`) and is
            left unchanged on failure, a temporary one if omitted; `history_steps`, past steps that
            agents keep under the pass `history`, all if omitted; `working_set`, memory that active
            agents may take in total under that pass, in bytes or as text, "64 MiB" if omitted.

    Raises:
        UsageError: an unknown pass, an invalid option, or something that is not such an agent.
        StoreError: the folder cannot be used.
    """
    names = (passes,) if isinstance(passes, str) else tuple(passes)
    chooses = names == (AUTO,)
    names = DEFAULT if chooses else names
    check_passes(names)
    given = read_options(options, names)
    if "store" in given:
        Place(given["store"]).check()  # before the first agent is built
    plan = default_plan(**given) if chooses else Plan.of(names, given)
    try:
        return OptimizedPopulation(agents, plan, names)
    except BaseException:
        plan.storage.discard()  # half a population is none
        raise


_PARAMETERS = [
    *[*signature(optimize).parameters.values()][:2],
    *(Parameter(each.name, Parameter.KEYWORD_ONLY, default=None) for each in NUMPY_OPTIONS),
]
optimize.__signature__ = Signature(_PARAMETERS)  # type: ignore[attr-defined]


def reopen(
    store: Path | str,
    agent_class: type,
    *,
    history_steps: int | None = None,
    working_set: int | str | None = None,
    readonly: bool = False,
) -> OptimizedPopulation:
    """The population that `optimize(..., passes=[..., "mmap"], store=store)` left in a folder, in
    this program or in one that was killed: every agent in its last stored state, under its index.
    Removed agents are not in it. Of the passes that it was made with, `history` and `pool` work on;
    the others have done their work when the agents were built.

    Only one process at a time can open a store for writing; any number may read it meanwhile, with
    `readonly=True`. They get each agent in its last stored state when they activate it, and their
    changes to it are discarded.

    Args:
        store: the folder.
        agent_class: the class of the agents, with the same name and all slots, methods and other
            attributes that it had then; it may be in another module, and have more attributes.
        history_steps: as for `optimize`; None keeps the limit that the store has.
        working_set: as for `optimize`, with the pass of that name; None is without it.
        readonly: change nothing, and let other processes write. Excludes the two options above,
            which only matter when agents are stored.

    Raises:
        StoreError: the folder is damaged, is not such a store, is in use by another process, or
            holds agents of another class.
        UsageError: an invalid option, or not a class of PyMDP agents.
    """
    check_agent_class(agent_class)
    names = ("history", "pool", "mmap", *(() if working_set is None else ("working_set",)))
    given = read_options({"history_steps": history_steps, "working_set": working_set}, names)
    for name in given if readonly else ():
        raise UsageError(
            f"{name}: takes effect only when agents are stored, and with readonly=True none are; "
            "remove one of the two"
        )
    stored = Mmap.reopen(Path(store), agent_class, readonly=readonly)
    asked = {"mmap", *(() if history_steps is None else ("history",)), "working_set"}
    names = tuple(name for name in names if name in asked or name in stored.passes)
    pool, history = (
        [new_pass(each, OF_PROGRAMS, given)] if each in names else []
        for each in ("pool", "history")
    )
    return OptimizedPopulation((), Plan(pool, history, stored, given.get("working_set")), names)


def check_agent(agent: Any) -> None:
    """Check that it is an agent of PyMDP's NumPy backend that is not stored anywhere."""
    if is_stored(agent):
        raise UsageError(
            "agents: this agent already belongs to this population or another one; is it listed "
            "twice?"
        )
    if not isinstance(agent, Agent):
        raise UsageError(
            f"agents: expected PyMDP agents ({agent_of('numpy')}), found "
            f"{type(agent).__module__}.{type(agent).__qualname__}"
        )


def check_agent_class(kind: Any) -> None:
    """Check that it is a class of such agents."""
    if not isinstance(kind, type) or not issubclass(kind, Agent):
        raise UsageError(
            f"agent_class: expected the class of the agents ({agent_of('numpy')} or a subclass), "
            f"found {kind!r}"
        )
