"""A population of the user's own agents, stored compactly and activated for use."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from memprof.api.acting import Acting
from memprof.api.checks import check_agent
from memprof.api.memory import PopulationMemory
from memprof.api.plan import AppliedPlan, applied
from memprof.errors import UsageError, in_use
from memprof.instruments import walker
from memprof.optimise.default import ByAgent, keep_what_rest_frees
from memprof.optimise.plan import Plan
from memprof.populations.numpy_agents import READ_ONLY
from memprof.populations.roster import Roster
from memprof.storage.saving import Draft, saving
from memprof.text import counted
from memprof.upstream.numpy_agent import Agent
from memprof.values.measurements import WorkingSetUse
from memprof.values.population import Share


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

    def __init__(
        self,
        agents: Iterable[Any],
        plan: Plan,
        passes: tuple[str, ...],
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Use `optimize` or `reopen`."""
        self.passes = passes
        self._plan, self._options = plan, dict(options)
        self._roster = Roster(plan)
        self._acting = Acting(plan.storage, self._roster)
        self._close = weakref.finalize(self, self._roster.close)  # once, at the latest at exit
        try:
            one = isinstance(agents, Agent) or not isinstance(agents, Iterable)
            for agent in [agents] if one else agents:
                self._take(agent)
        except BaseException:
            self.give_back()
            raise

    def __len__(self) -> int:
        """How many agents there are, without those that were removed.

        Raises:
            UsageError: the population is closed.
        """
        self._check_open()
        return len(self._roster)

    def __repr__(self) -> str:
        if not self._close.alive:
            return "<memprof population, closed>"
        passes = ", ".join(self.passes) or "no passes"
        return f"<memprof population of {counted(len(self), 'agent')} under {passes}>"

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "agents of a population are stored; use them one at a time: for index in "
            "population.in_turn(): with population.activate(index) as agent: ..."
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a population cannot be pickled or deep-copied; population.save(folder) keeps it in "
            "files, which memprof.reopen(folder, Agent) opens, and population.copy() makes another "
            "one in memory"
        )

    @property
    def given(self) -> int:
        """How many indices were ever given, which is the next one.

        Raises:
            UsageError: the population is closed.
        """
        self._check_open()
        return self._roster.count

    @property
    def because(self) -> str:
        """How `optimize` keeps the agents, and why; empty if its caller named the passes."""
        storage = self._plan.storage
        return storage.reason() if isinstance(storage, ByAgent) else ""

    @property
    def plan(self) -> AppliedPlan:
        """The passes with their options, why they were chosen, and what each has done until now.

        Raises:
            UsageError: the population is closed.
        """
        self._check_open()
        use = self._roster.working_set()
        return applied(self._plan, self.passes, self._options, self.because, use)

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
        self._roster.check_index(index)
        self._roster.leave(index)

    @property
    def share(self) -> Share:
        """Which agents of a whole population these are, as messages name them; all by default."""
        return self._acting.share

    @share.setter
    def share(self, share: Share) -> None:
        self._acting.share = share

    def indices(self) -> np.ndarray:
        """The indices of all agents that are there, in order."""
        self._check_open()
        return np.array(self._roster.indices(), np.int64)

    def give_back(self) -> None:
        """Close the population, and make agents that the caller still holds what they are by now,
        with arrays of their own."""
        self._roster.give_back()
        self._close()

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
        self._roster.check_index(index)
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

    def act(
        self,
        observations: Sequence[Any] | np.ndarray | Mapping[int, Any],
        indices: Sequence[int] | None = None,
        *,
        learning: Collection[str] = (),
        seeds: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """One turn of every agent: it perceives what it observes, learns, plans and acts. Agents
        take their turns in the order of `indices`; what they draw by chance comes from `np.random`
        in that order, whatever the passes, unless there are `seeds`.

        Agents whose models are equal take them together, as arrays, which is many times faster:
        under the pass `batch`, and by default where all sums have PyMDP's bits. All others, and
        those that learn, PyMDP steps one after the other; `plan` says how many, and why.

        Args:
            observations: of each agent what PyMDP's `infer_states` takes, an index or a
                distribution per modality; or an index alone, of the only modality. In the order of
                `indices`, or by the index of the agent.
            indices: the agents whose turn it is; all if omitted, or those in the mapping.
            learning: of "A", "B" and "D", what agents learn: B from their second action on, D at
                their first one.
            seeds: for each agent whose turn it is, in their order, what `np.random` is seeded with
                before: what it draws depends neither on the order nor on who else acts. `np.random`
                is afterwards what it was before.

        Returns:
            Their actions, a row for each, [agents, control factors]; an object array of rows where
            agents have different numbers of factors.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: an agent is in use.
            UsageError: as many observations, or seeds, as agents are expected; the population is
                closed.

        Whatever PyMDP raises comes with a note that names the agent. It is stored as it was then;
        those before it have acted.
        """
        self._check_open()
        return self._acting.act(observations, indices, learning, seeds, self.activate)

    def map(
        self,
        step: Callable[[Any, Any], Any],
        observations: Sequence[Any] | np.ndarray | Mapping[int, Any],
        indices: Sequence[int] | None = None,
    ) -> list[Any]:
        """The user's own step of every agent, one after the other: `step(agent, observation)` with
        the agent active, which is stored again afterwards.

        Args:
            observations: one for each agent, of whatever kind, in the order of `indices`, or by the
                index of the agent.
            indices: the agents whose turn it is; all if omitted, or those in the mapping.

        Returns:
            What the steps return, in that order.

        Raises:
            IndexError, AgentActive, UsageError: as for `act`.

        Whatever `step` raises comes with a note that names the agent. It is stored as it was then;
        those before it have taken their steps.
        """
        self._check_open()
        return self._acting.map(step, observations, indices, self.activate)

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
            len(self), rows, middle, whole, left, self.passes, self.because, disk, self.plan
        )

    def working_set(self) -> WorkingSetUse | None:
        """What the pass `working_set` has done so far; None without it."""
        self._check_open()
        return self._roster.working_set()

    def save(self, folder: Path | str) -> None:
        """Write all agents to a folder, as they are now and under their indices, for `reopen`; this
        population is not changed by it, and has nothing to do with the folder afterwards. Of the
        passes, the folder knows `history` and `pool`.

        The folder is there, complete, when this returns. If it fails, the place is as it was; a
        program that is killed leaves a hidden folder `.NAME.*` beside it, which `reopen` refuses.

        Args:
            folder: new or empty.

        Raises:
            UsageError: a folder cannot keep some agent: one with attributes that have no exact
                encoding, or that it shares with something else; an agent of a second class. Or an
                agent is active, there is none, or the population is closed.
            StoreError: the folder cannot be used, or there is no room.
        """
        self._check_open()
        self._check_idle("save the population")
        if not len(self):
            raise UsageError(
                "save: there is no agent in the population, so there is nothing to save"
            )
        with saving(Path(folder)) as draft:
            self.write(draft)

    def write(self, draft: Draft) -> None:
        """Write all agents to the draft of a store; see `save`."""
        with self._roster.still():
            draft.passes, draft.history_steps = self.passes, self._plan.history_steps
            for index in self._roster.indices():
                with self._roster.shown(index) as activation:
                    draft.write(activation, index)
            draft.end(self._roster.count)

    def copy(self) -> OptimizedPopulation:
        """A second population in memory, with the same agents in the same states, under the same
        indices and passes (`template` in place of `mmap`). Both go on by themselves.

        Records are shared until they are replaced, so at first a copy of a population in memory
        takes next to nothing. One of a population in files has to fit into memory; where it does
        not, use `save` and `reopen`.

        Raises:
            UsageError: an agent holds what has no exact copy, or what something else holds too,
                which both populations would share. Or an agent is active; the population is closed.
            StoreError: an agent could not be stored, under `working_set`.
        """
        self._check_open()
        self._check_idle("copy the population")
        names = tuple(dict.fromkeys("template" if n == "mmap" else n for n in self.passes))
        options = {name: value for name, value in self._options.items() if name != "store"}
        with self._roster.still():
            storage = self._plan.storage.copied()
        plan = Plan.of(names, options)
        plan = Plan(plan.settings, plan.transforms, storage, plan.budget_bytes)
        plan.history_steps = self._plan.history_steps
        for each in plan.settings:
            each.built()
        return OptimizedPopulation((), plan, names, options)

    def flush(self) -> None:
        """Passivate all agents that are not in use, so that a store holds their current state:
        at once, or, if the store has a checkpoint, from the next one on.

        Raises:
            StoreError: some could not be stored. Those without room stay in memory, and the next
                flush tries again.
            UsageError: the population is closed or read-only.
        """
        self._check_writable()
        self._roster.flush()

    def checkpoint(self) -> None:
        """Store all agents at once, under `mmap` with a `store`. Whatever kills the program, and
        whenever, `reopen` then gives all of them as of one checkpoint, the last that was complete,
        with the agents that there were: a whole round, where it is called between rounds.

        From the first checkpoint on, also after `reopen`, what is stored in between counts from the
        next one on. `close` makes one, too; a program that ends without, or a `with` statement that
        ends by an exception, leaves the last one. (Without any, each agent is stored for good
        whenever it comes to rest.) Under `working_set` all agents are passivated.

        The store takes up to twice the space, as it keeps what changes between two checkpoints.

        Raises:
            UsageError: an agent is active, or there is no store; the population is closed or
                read-only.
            StoreError: there is no room; the last checkpoint is still there.
        """
        self._check_writable()
        if not self._plan.storage.lasts:
            raise UsageError(
                "checkpoint: the agents end with the program, as there is no store; use "
                'optimize(agents, ["history", "mmap"], store=folder), or save(folder)'
            )
        if not self._roster.count:
            raise UsageError("checkpoint: add an agent first; without one there is no store yet")
        self._check_idle("make a checkpoint")
        self._roster.checkpoint()

    def close(self) -> None:
        """Release all agents, and restore PyMDP's own functions; a `store` stays on disk, with the
        current state of all agents.

        Raises:
            UsageError: an agent is active.
            StoreError: as for `flush`; the population is still open.
        """
        self._end(checkpoint=True)

    def _end(self, *, checkpoint: bool) -> None:
        storage = self._plan.storage
        if self._close.alive:
            self._check_idle("close the population")
            if checkpoint and storage.has_checkpoint:
                self._roster.checkpoint()
            elif storage.lasts:
                self._roster.flush()
        self._close()

    def _check_idle(self, what: str) -> None:
        if active := self._roster.active:
            raise in_use(active, what)

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
        self._end(checkpoint=kind is None)
