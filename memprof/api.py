"""The public API: a population of the user's own agents, stored small and activated for use."""

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
from memprof.text import format_size
from memprof.upstream.numpy_agent import Agent
from memprof.values.measurements import LedgerRow, WorkingSetUse


@dataclass(frozen=True, slots=True)
class PopulationMemory:
    """The ledger of an optimised population.

    Attributes:
        rows: bytes per component, as in a report's ledger.
        typical_agent_bytes: median of the resident bytes that one agent holds alone; None where
            the platform cannot tell.
        kept_whole: attributes that stay the objects that they are, with their types: no exact
            encoding exists, or something outside of the agent holds them too.
        not_replaced: functions of PyMDP that `pool` does not replace, with the first thing in them
            whose source it does not know: another release's, or a user's. They run as they are.
        passes: the names of the passes.
        because: why these, where `optimize` chose them; else empty.
    """

    agents: int
    rows: tuple[LedgerRow, ...]
    typical_agent_bytes: float | None
    kept_whole: dict[str, str]
    not_replaced: dict[str, str]
    passes: tuple[str, ...]
    because: str

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
        lines += [
            f"  not replaced by pool: {name} (unknown: {what})"
            for name, what in self.not_replaced.items()
        ]
        why = f", because {self.because}" if self.because else ""
        lines += [f"passes: {', '.join(self.passes) or 'none'}{why}"]
        return "\n".join(lines)


class OptimizedPopulation:
    """Agents at rest. `activate` makes one of them a real PyMDP agent for as long as it is used.

    Agents keep everything they are: beliefs, what they learned, their past, attributes that a
    subclass added, and which of them are one object. What something outside of an agent holds too
    stays the object that it is. Arrays of models, and large ones, of an active agent are read-only,
    because agents share them; PyMDP itself replaces arrays and never writes into one.

    Safe for threads that use different agents: each agent is stored and comes back exactly. What
    agents draw is another matter: PyMDP samples, and breaks ties, with the one generator behind
    `np.random`, so threads draw from it in an order that chance decides, and seeding it in one
    seeds it for all. Inside `with memprof.thread_random():` every thread has a generator of its
    own, and what an agent does depends only on what its thread seeded, and when.

    Agents come (`add`) and go (`remove`); an index is never given again. Under the pass
    `working_set` agents stay active after use, within a budget, and `in_turn` gives the order in
    which that helps most.

    A population that was opened with `reopen(..., readonly=True)` gives agents as they are stored,
    at every use; what is done to them is not kept.

    Close it, or use it in a `with` statement, to leave PyMDP as it was (`pool` speeds up some of
    its functions while the population is in use, where they are those that it knows).

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
        """How many agents there are, without those that were removed."""
        return len(self._roster)

    @property
    def because(self) -> str:
        """How `optimize` keeps the agents that there are, and why; empty where its caller named the
        passes."""
        storage = self._plan.storage
        return storage.reason() if isinstance(storage, ByAgent) else ""

    def add(self, agent: Any) -> int:
        """Take over one more agent, which is empty afterwards. Its index.

        Raises:
            UsageError: it is no PyMDP agent, or has what cannot be kept (it is as it was then); the
                population is closed, or open to read only.
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
        """Let an agent go for good, with all that was kept of it. Its index stays its own.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: it is in use.
            UsageError: the population is closed, or open to read only.
        """
        self._check_writable()
        self._check_index(index)
        self._roster.leave(index)

    def in_turn(self, indices: Iterable[int] | None = None) -> Iterator[int]:
        """Each of `indices`, or of all agents that there are, once: under the pass `working_set`
        those that are active first, and the next one is activated ahead where that saves time."""
        self._check_open()
        return iter(self._roster.in_turn(self._roster.indices() if indices is None else indices))

    @contextmanager
    def activate(self, index: int) -> Iterator[Any]:
        """The agent number `index`; stored again when the block ends, even by an exception. In a
        population that is open to read only it is not: what the block does to it is gone.

        Under the pass `working_set` it stays active instead, and is stored when others need its
        place; should that fail, the block that made it necessary raises the StoreError.

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
        """Where the memory of agents at rest is now, and of what the passes hold for them all.

        The process holds more: PyMDP, what allocators keep for reuse, agents in use.
        """
        self._check_open()
        rows, held, _ = walker.walk(self._roster.holdings(), len(self._roster))
        middle = sorted(held)[len(held) // 2] if held else None
        whole, left = dict(self._plan.storage.kept_whole), self._plan.not_replaced
        return PopulationMemory(len(self), rows, middle, whole, left, self.passes, self.because)

    def working_set(self) -> WorkingSetUse | None:
        """What the pass `working_set` did until now; None without it."""
        self._check_open()
        return self._roster.working_set()

    def flush(self) -> None:
        """Put all agents to rest that nobody uses, so that a store holds them as they are.

        Raises:
            StoreError: some could not be stored. What there was no room for stays in memory, to be
                tried again.
            UsageError: the population is closed, or open to read only.
        """
        self._check_writable()
        self._roster.flush()

    def close(self) -> None:
        """Let go of all agents, and leave PyMDP as it was; a `store` stays on disk, and holds them
        as they are.

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
    """A population of PyMDP agents that the caller built, stored as the passes say.

    The iterable is consumed agent by agent, so a generator builds a population that would never fit
    at once: the peak is the template, one agent and the records. An agent that has been taken over
    is empty afterwards; arrays that the caller still holds are not changed.

    Args:
        agents: PyMDP agents (`pymdp.legacy.agent.Agent` or a subclass).
        passes: names, as `memprof passes` lists them, or "auto" for "history", "pool" and
            "template", under which agents that learn large dense matrices stay active, because
            records would make them much slower (`OptimizedPopulation.because`).
        options: what the passes are told, as `memprof passes` lists it. Of memprof's own passes:
            `keep`, results of inference that agents keep at rest (`qs`, `action`, `q_pi`, `G`, `F`,
            `prev_actions`, `prev_obs`, `qs_hist`, `q_pi_hist`), all of them if not given; `store`,
            a new or empty folder for the pass `mmap`, which outlives the program (see `reopen`), as
            it was before if this fails, a temporary one if not given; `history_steps`, steps of
            their past that agents keep under the pass `history`, all if not given; `working_set`,
            what agents that stay active under the pass of that name may take together, in bytes or
            as "64 MiB", which it is if not given.

    Raises:
        UsageError: an unknown pass, an option that does not fit, or something that is no such
            agent.
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
    """The population that `optimize(..., passes=[..., "mmap"], store=store)` left in a folder, by
    this program or by another that was killed: every agent as it was when it last came to rest,
    under its index. Agents that were removed are not there.

    One process at a time has a store open for writing; any number may read it meanwhile, with
    `readonly=True`. They find each agent as it was stored last when they activate it, can do with
    it what they like inside the block, and nothing of that is kept.

    Args:
        store: the folder.
        agent_class: the class that the agents were of, under its old name and with all slots,
            methods and other attributes that it had then; in which module it is does not matter,
            and it may have got more.
        history_steps: as for `optimize`; None leaves histories as long as they were allowed to be.
        working_set: as for `optimize`, with the pass of that name; None is without it.
        readonly: change nothing, and allow others to; without the two options above, which have
            no effect on agents that are not stored again.

    Raises:
        StoreError: the folder is damaged, is no such store, is in use by another process, or holds
            agents of another class.
        UsageError: an option that does not fit, or no class of PyMDP agents.
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
    history, pool = (new_pass(name, OF_PROGRAMS, given) for name in ("history", "pool"))
    return OptimizedPopulation((), Plan([pool], [history], stored, given.get("working_set")), names)


def check_agent(agent: Any) -> None:
    """Whether it is an agent of PyMDP's NumPy backend that nobody has stored."""
    if is_stored(agent):
        raise UsageError(
            "agents: this agent already belongs to this population or another one; is it listed "
            "twice?"
        )
    if not isinstance(agent, Agent):
        raise UsageError(
            f"agents: expected PyMDP agents (pymdp.legacy.agent.Agent), found "
            f"{type(agent).__module__}.{type(agent).__qualname__}"
        )


def check_agent_class(kind: Any) -> None:
    """Whether it is a class of such agents."""
    if not isinstance(kind, type) or not issubclass(kind, Agent):
        raise UsageError(
            "agent_class: expected the class of the agents (pymdp.legacy.agent.Agent or a "
            f"subclass), found {kind!r}"
        )
