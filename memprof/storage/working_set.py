"""The working set: the agents that are active at one time, under a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any, Protocol

from memprof.errors import AgentActive, StoreError
from memprof.storage.activation import Activation
from memprof.values.measurements import WorkingSetUse

_TIMED, _WORTH_SECONDS = 8, 1e-3


@dataclass(frozen=True, slots=True)
class Budget:
    """Pass `working_set`: agents stay active after use, within so many bytes."""

    working_set: int = 64 << 20


class Store(Protocol):
    """Where agents rest. Its methods may be called by several threads, for different agents."""

    def read(self, index: int) -> Any:
        """The record of an agent.

        Raises:
            IndexError: there is none.
        """
        ...

    def activate(self, index: int, record: Any) -> Activation:
        """The agent of a record."""
        ...

    def passivate(self, index: int, activation: Activation) -> None:
        """Store the agent.

        Raises:
            StoreError: it cannot be; the message says what has become of it.
        """
        ...

    def held_bytes(self, activation: Activation) -> int:
        """Bytes of the active agent, without what it shares with others."""
        ...


@dataclass(frozen=True, slots=True)
class _Idle:
    """An active agent that nobody uses."""

    activation: Activation
    held_bytes: int


class WorkingSet:
    """Agents that stay active after use, until they take more than `budget_bytes`; then the least
    recently used are passivated. Safe for several threads that use different agents.

    An agent is at rest, idle (active, but not used), in use, or moving: a thread is activating
    it ahead or storing it, and whoever wants it waits for that thread. Records are read and written
    outside of the lock.

    Agents count from when they come out of use, for what they hold then; until then an agent that
    was just activated counts as much as the mean of them, and room for it is made before.
    """

    def __init__(self, store: Store, budget_bytes: int) -> None:
        self._store = store
        self._budget_bytes = budget_bytes
        self._idle: OrderedDict[int, _Idle] = OrderedDict()  # least recently used first
        self._used: dict[int, tuple[Activation | None, int]] = {}
        self._moving: set[int] = set()
        self._storing = 0
        self._changed = threading.Condition()
        self._bytes = self._most_bytes = self._last_bytes = 0
        self._hits = self._activations = self._ahead = self._hibernations = 0
        self._waits: deque[float] = deque(maxlen=_TIMED)
        self._asked = 0
        self._helper: threading.Thread | None = None  # activates agents ahead
        self._wanted: int | None = None  # the one that it was asked for last
        self._ended = False

    @property
    def used(self) -> list[int]:
        """Agents in use."""
        return sorted(self._used)

    def wake(self, index: int) -> Any:
        """The agent, ready for use until `rest`.

        Raises:
            IndexError: there is no such agent.
            AgentActive: it is in use already.
            StoreError: another one, which was to make room for it, could not be stored.
        """
        counted = self._typical_bytes()
        idle = self._taken(index)
        if idle is not None:
            return idle.activation.agent
        try:
            self._make_room(counted)
            wall, own = perf_counter(), thread_time()
            record = self._store.read(index)
            waited = (perf_counter() - wall) - (thread_time() - own)
            activation = self._store.activate(index, record)
        except BaseException:
            with self._changed:
                del self._used[index]
            raise
        with self._changed:
            self._used[index] = activation, counted
            self._count(counted)
            self._activations += 1
            self._waits.append(waited)
        return activation.agent

    def _taken(self, index: int) -> _Idle | None:
        """Mark an agent as used, and return it if it is active."""
        with self._changed:
            while index in self._moving:
                self._changed.wait()
            if index in self._used:
                raise AgentActive(index)
            idle = self._idle.pop(index, None)
            if idle is not None:
                self._used[index] = idle.activation, idle.held_bytes
                self._hits += 1
            else:
                self._used[index] = None, 0
            return idle

    def rest(self, index: int) -> None:
        """End the use of an agent, which becomes idle; others may be passivated to make room.

        Raises:
            StoreError: one of them could not be stored; this one is idle all the same.
        """
        activation, counted = self._used[index]
        assert activation is not None
        held = counted
        try:
            activation.spare()
            held = self._store.held_bytes(activation)
        finally:
            with self._changed:
                del self._used[index]
                self._idle[index] = _Idle(activation, held)
                self._last_bytes = held
                self._count(held - counted)
        self._make_room(0)

    def ahead(self, index: int) -> None:
        """Let a thread of its own activate an agent that is about to be used, where records have to
        be waited for: on a disk that is slow, or has more of them than fit into the page cache.

        Else nothing happens: all the rest of an activation is Python's work, and a second thread
        takes from the first the time that it saves, and more. So the quickest of the last reads has
        to have waited for a millisecond; every so often one is left to its user, to be timed.
        """
        with self._changed:
            waits = len(self._waits) == _TIMED and min(self._waits) >= _WORTH_SECONDS
            wanted = self._typical_bytes()
            if not waits or self._is_known(index) or wanted > self._budget_bytes:
                return
            self._asked += 1
            if self._asked % _TIMED == 0:
                return
        self._make_room(wanted)
        with self._changed:
            self._wanted = index
            self._changed.notify_all()
            if self._helper is None:
                self._helper = threading.Thread(
                    target=self._help, name="memprof-ahead", daemon=True
                )
                self._helper.start()

    def _help(self) -> None:
        while True:
            with self._changed:
                while self._wanted is None and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                index, self._wanted = self._wanted, None
                assert index is not None
                room = self._bytes + self._typical_bytes() <= self._budget_bytes
                if self._is_known(index) or not room:
                    continue
                self._moving.add(index)
            self._activate_ahead(index)

    def _activate_ahead(self, index: int) -> None:
        try:
            activation = self._store.activate(index, self._store.read(index))
            idle = _Idle(activation, self._store.held_bytes(activation))
        except Exception:
            idle = None  # whoever uses the agent meets the same, and can be told
        with self._changed:
            if idle is not None:
                self._idle[index] = idle
                self._count(idle.held_bytes)
                self._activations += 1
                self._ahead += 1
            self._moving.discard(index)
            self._changed.notify_all()

    def _is_known(self, index: int) -> bool:
        return index in self._idle or index in self._used or index in self._moving

    def in_turn(self, agents: Iterable[int]) -> Iterator[int]:
        """Each of `agents` once, in the order that finds most of them active: those that are, the
        last one used first; then the others as they come, each activated ahead.

        In order of their indices every agent would be passivated just before its turn.
        """
        turns = self._active_first(agents if isinstance(agents, range) else dict.fromkeys(agents))
        index = next(turns, None)
        while index is not None:
            after = next(turns, None)
            if after is not None:
                self.ahead(after)
            yield index
            index = after

    def _active_first(self, agents: Collection[int]) -> Iterator[int]:
        with self._changed:
            active = [index for index in reversed(self._idle) if index in agents]
        done = set()
        for index in active:
            if index in self._idle:  # others may have grown since, and this one was passivated
                done.add(index)
                yield index
        yield from (index for index in agents if index not in done)

    @contextmanager
    def leaving(self, index: int) -> Iterator[None]:
        """Let the block forget an agent, which nobody can use meanwhile.

        Raises:
            AgentActive: it is in use.
        """
        with self._changed:
            while index in self._moving:
                self._changed.wait()
            if index in self._used:
                raise AgentActive(index)
            self._moving.add(index)
        try:
            yield
            with self._changed:
                idle = self._idle.pop(index, None)
                self._bytes -= 0 if idle is None else idle.held_bytes
            if idle is not None:
                idle.activation.end()
        finally:
            with self._changed:
                self._moving.discard(index)
                self._changed.notify_all()

    def flush(self) -> None:
        """Passivate all idle agents.

        Raises:
            StoreError: some could not be stored; the message is of the first, the others are.
        """
        self._evict(lambda: True)
        with self._changed:
            while self._storing:
                self._changed.wait()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Let the block run while all agents are at rest, and nobody can use one.

        Raises:
            AgentActive: one is in use.
            StoreError: as for `flush`.
        """
        while True:
            self.flush()
            with self._changed:
                while self._moving:
                    self._changed.wait()
                if self._used:
                    raise AgentActive(min(self._used))
                if not self._idle:  # as it is, unless one was activated ahead meanwhile
                    yield
                    return

    def stop(self) -> None:
        """End the thread that activates ahead, until somebody asks again."""
        helper, self._helper = self._helper, None
        if helper is None:
            return
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if helper is not threading.current_thread():  # whose garbage collection ends us
            helper.join()
            self._ended, self._wanted = False, None

    def clear(self) -> None:
        """Let go of the agents without storing them."""
        self.stop()
        with self._changed:
            self._idle.clear()
            self._used.clear()
            self._bytes = 0

    def use(self) -> WorkingSetUse:
        """What the working set did until now."""
        with self._changed:
            return WorkingSetUse(
                budget_bytes=self._budget_bytes,
                active_agents=len(self._idle) + len(self._used),
                active_bytes=self._bytes,
                most_active_bytes=self._most_bytes,
                hits=self._hits,
                activations=self._activations,
                activated_ahead=self._ahead,
                hibernations=self._hibernations,
            )

    def holdings(self) -> Iterator[tuple[int, Any]]:
        """The idle agents and what they hold, by index."""
        with self._changed:
            idle = list(self._idle.items())
        for index, each in idle:
            yield index, [each, *each.activation.held()]

    def _typical_bytes(self) -> int:
        """Mean bytes of the active agents; of the last one measured if none is active."""
        with self._changed:
            active = len(self._idle) + len(self._used)
            return self._bytes // active if active else self._last_bytes

    def _count(self, more_bytes: int) -> None:
        self._bytes += more_bytes
        self._most_bytes = max(self._most_bytes, self._bytes)

    def _make_room(self, wanted_bytes: int) -> None:
        self._evict(lambda: self._bytes + wanted_bytes > self._budget_bytes)

    def _evict(self, too_many: Callable[[], bool]) -> None:
        """Hibernate the least recently used agents, for as long as there are too many."""
        failed: StoreError | None = None
        while True:
            with self._changed:
                index = next((each for each in self._idle if each not in self._moving), None)
                if index is None or not too_many():
                    break
                idle = self._idle.pop(index)
                self._moving.add(index)
                self._storing += 1
            try:
                self._store.passivate(index, idle.activation)
            except StoreError as error:
                failed = failed or error
            finally:
                with self._changed:
                    self._moving.discard(index)
                    self._storing -= 1
                    self._bytes -= idle.held_bytes
                    self._hibernations += 1
                    self._changed.notify_all()
        if failed is not None:
            raise failed
