"""The agents of a population under a plan of passes: stored at rest, made ready for use."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from memprof.errors import AgentActive, MemprofError, StoreError
from memprof.optimise.plan import Plan
from memprof.populations import EACH, EVERYBODY, WORKING_SET
from memprof.storage.activation import Activation
from memprof.storage.batch import CohortRecords
from memprof.storage.cohorts import Cohort
from memprof.storage.copies import Own
from memprof.storage.working_set import WorkingSet
from memprof.upstream.attributes import parts_of
from memprof.values.measurements import WorkingSetUse


class Roster:
    """Agents by index, which is never given twice. Safe for several threads that use different
    agents."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._active: dict[int, Activation] = {}
        self._unsaved: dict[int, Any] = {}
        self._saving = threading.Lock()  # a record that waited must not replace a newer one
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._acting: list[set[int]] = []  # whose turn has not come yet, of each who lets them act
        self._installed = False
        budget = plan.budget_bytes
        self._working_set = None if budget is None else WorkingSet(self, budget)
        if self.count:  # a store that was opened again
            self._install()

    def __len__(self) -> int:
        """How many agents there are."""
        records = self._plan.records
        return len(records) - int(records.removed)

    def __contains__(self, index: int) -> bool:
        return index in self._plan.records

    @property
    def count(self) -> int:
        """How many there have been: the index of the next."""
        return len(self._plan.records)

    def indices(self) -> Sequence[int]:
        """The agents that there are."""
        everybody = range(self.count)
        return everybody if len(self) == self.count else [i for i in everybody if i in self]

    def check_index(self, index: int) -> None:
        """Refuse an index that no agent has had.

        Raises:
            IndexError: it is one.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"agent {index}: there are {self.count}, numbered from 0")

    def add(self, agent: Any) -> int:
        """Take over a newly built agent: apply the passes, and store it. Its index."""
        with self._adding:
            if not self._installed:
                self._install()
            index = self.count
            originals = self._plan.build(agent, index)
            try:
                stored = self._plan.passivate(agent, index)
                self._plan.records.append(stored)  # which the first agent decides
            except BaseException:
                vars(agent).update(originals)
                raise
            self._plan.release(agent, index)
            return index

    def _install(self) -> None:
        """Prepare the process, once there are agents that need it."""
        self._installed = True
        self._plan.install()

    def leave(self, index: int) -> None:
        """Let an agent go for good.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: it is in use.
        """
        with self._adding:
            if self._working_set is not None:
                with self._working_set.leaving(index), self._saving:
                    self._plan.leave(index)
                    self._unsaved.pop(index, None)
                return
            with self._lock:
                self._check_idle(index)
                self._plan.leave(index)

    def at(self, index: int) -> Any:
        """The agent, where agents do not rest; nobody is told that it is in use.

        Raises:
            IndexError: there is no such agent, or no longer.
        """
        return self._plan.records[index]

    def wake(self, index: int) -> Any:
        """The agent, ready for use until `rest`.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: it is in use already.
        """
        if self._working_set is not None:
            return self._working_set.wake(index)
        with self._lock:
            stored = self._plan.records[index]
            self._check_idle(index)
            self._active[index] = _WAKING
        try:
            activation = self._active[index] = self._plan.activate(stored, index)
        except BaseException:
            del self._active[index]
            raise
        return activation.agent

    def rest(self, index: int) -> None:
        """End the use of an agent that was woken. Without a working set it is stored again; if that
        fails, or the records are read only, it stays as it was stored before."""
        if self._working_set is not None:
            self._working_set.rest(index)
            return
        activation = self._active[index]
        try:
            if not self._plan.records.readonly:
                stored = self._plan.passivate(activation.agent, index, activation)
                self._plan.records[index] = stored
            self._plan.release(activation.agent, index, activation)
        except BaseException:
            self._plan.drop(activation.agent, index, activation)
            raise
        finally:
            del self._active[index]

    @contextmanager
    def acting(self, indices: Iterable[int]) -> Iterator[set[int]]:
        """Let agents act together in the block: until it ends nobody can use or remove one. The set
        is of those that wait for that; one that is taken out of it can be used before.

        Raises:
            AgentActive: one is in use.
        """
        waiting = {*indices}
        with self._lock:
            if self._active or self._acting:
                for index in waiting:
                    self._check_idle(index)
            self._acting.append(waiting)
        try:
            yield waiting
        finally:
            with self._lock:
                self._acting = [each for each in self._acting if each is not waiting]

    def _check_idle(self, index: int) -> None:
        if index in self._active or any(index in waiting for waiting in self._acting):
            raise AgentActive(index)

    @property
    def active(self) -> list[int]:
        """Agents in use."""
        if self._working_set is not None:
            return self._working_set.used
        return sorted({*self._active}.union(*self._acting))

    def in_turn(self, agents: Iterable[int]) -> Iterable[int]:
        """The agents in the order in which waking them costs least, each once."""
        return agents if self._working_set is None else self._working_set.in_turn(agents)

    def working_set(self) -> WorkingSetUse | None:
        """What the working set did until now; None if there is none."""
        return None if self._working_set is None else self._working_set.use()

    # ------------------------------------------------ what the working set does to agents

    def read(self, index: int) -> Any:
        """The record of an agent.

        Raises:
            IndexError: there is no such agent, or no longer.
        """
        stored = self._unsaved.get(index)
        return self._plan.records[index] if stored is None else stored

    def activate(self, index: int, record: Any) -> Activation:
        """The agent of a record."""
        return self._plan.activate(record, index)

    def passivate(self, index: int, activation: Activation) -> None:
        """Store the agent; a record for which the disk has no room waits in memory.

        Raises:
            StoreError: there is no room, or no exact encoding.
        """
        what = f"agent {index} could not be stored"
        try:
            stored = self._plan.passivate(activation.agent, index, activation)
        except MemprofError as error:
            self._plan.drop(activation.agent, index, activation)
            raise StoreError(f"{what} and keeps its last stored state: {error}") from error
        try:
            with self._saving:
                self._plan.records[index] = stored
                self._unsaved.pop(index, None)
        except StoreError as error:
            self._unsaved[index] = stored
            raise StoreError(f"{what} and stays in memory until flush(): {error}") from error
        finally:
            self._plan.release(activation.agent, index, activation)

    def held_bytes(self, activation: Activation) -> int:
        """What the active agent takes, beyond what it has in common with others."""
        return self._plan.storage.held_bytes(activation)

    def flush(self) -> None:
        """Store all agents that nobody uses, and what could not be stored before.

        Raises:
            StoreError: there is no room; what could not be stored stays in memory.
        """
        if self._working_set is not None:
            self._working_set.flush()
        for index in self._plan.storage.unsettled():
            if index not in self._active:
                self.wake(index)
                self.rest(index)
        for index in list(self._unsaved):
            with self._saving:
                if index in self._unsaved:
                    self._plan.records[index] = self._unsaved[index]
                    del self._unsaved[index]

    @contextmanager
    def still(self) -> Iterator[None]:
        """Let the block run while all agents are at rest, and nobody can use, add or remove one.

        Raises:
            AgentActive: one is in use.
            StoreError: as for `flush`.
        """
        with self._adding:
            self.flush()
            if self._working_set is not None:
                with self._working_set.still():
                    yield
                return
            with self._lock:
                if busy := self.active:
                    raise AgentActive(busy[0])
                yield

    def shown(self, index: int) -> AbstractContextManager[Activation]:
        """The agent as it would be in use, to be read in the block; nothing changes by it. Inside
        `still` only."""
        return self._plan.shown(self.read(index), index)

    def checkpoint(self) -> None:
        """Let the store hold all agents as they are now, for whoever opens it.

        Raises:
            AgentActive: one is in use.
            StoreError: some could not be stored; the store is as of its last checkpoint.
        """
        with self.still():
            self._plan.records.checkpoint()

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """Everything held, as (agent, component, object); `EVERYBODY` for what is nobody's."""
        records = self._plan.records
        for index in () if self._plan.storage.in_files else self.indices():
            stored = records[index]
            if isinstance(stored, Cohort):
                continue
            if not hasattr(stored, "__dict__"):
                yield index, "records", stored
                continue
            for component, held in parts_of(stored):
                yield index, component, held
        for index, stored in self._unsaved.items():
            yield index, "records", stored
        for component, held in self._plan.holdings():
            yield EVERYBODY, component, held
        for cohort in records.cohorts() if isinstance(records, CohortRecords) else ():
            yield EACH, "records", cohort
        if self._working_set is not None:
            for index, held in self._working_set.holdings():
                yield index, WORKING_SET, held

    def give_back(self) -> None:
        """Make the agents that somebody still holds what they were, with arrays of their own."""
        for index in self._plan.storage.held_by_others():
            with suppress(MemprofError):
                agent = self.wake(index)
                Own(self._active[index].handed if index in self._active else {})(vars(agent))

    def close(self) -> None:
        """Let go of all agents, stored where that outlives us (but not beyond a checkpoint), and
        leave the process as it was.

        Raises:
            StoreError: some could not be stored; they are as they were stored before.
        """
        try:
            if self._working_set is not None:
                self._working_set.stop()
            if self._plan.storage.lasts and not self._plan.storage.has_checkpoint:
                self.flush()
        finally:
            if self._working_set is not None:
                self._working_set.clear()
            self._active.clear()
            self._unsaved.clear()
            if self._installed:
                self._plan.close()


_WAKING: Any = None
"""Stands for an activation that is not there yet."""
