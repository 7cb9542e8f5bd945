"""The agents of a population under a plan of passes: stored at rest, made ready for use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from memprof.errors import AgentActive
from memprof.passes.plan import Plan
from memprof.populations.base import EVERYBODY
from memprof.store.activation import Activation

# Attributes of the agent, by the ledger's component; all others are "other agent objects".
_COMPONENTS = {
    "A": ("A",),
    "B": ("B",),
    "C": ("C",),
    "D": ("D",),
    "E": ("E",),
    "policies": ("policies",),
    "learning (pA, pB, pD)": ("pA", "pB", "pD"),
    "beliefs (qs)": ("qs", "latest_belief"),
    "inference (q_pi, G, F)": ("q_pi", "G", "F"),
    "histories": ("prev_actions", "prev_obs", "qs_hist", "q_pi_hist"),
}


class Roster:
    """Agents by index. Safe for several threads that use different agents."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._active: dict[int, Activation] = {}
        self._lock = threading.Lock()
        self._installed = False
        if len(self):  # a store that was opened again
            self._install()

    def __len__(self) -> int:
        return len(self._plan.records)

    @property
    def file_bytes(self) -> int:
        """What agents and template take in files on disk."""
        return self._plan.file_bytes

    @property
    def kept_whole(self) -> dict[str, str]:
        """Attributes that have no exact encoding, with their types."""
        return self._plan.kept_whole

    @property
    def rests(self) -> bool:
        """Whether agents have to be woken before use, and put to rest afterwards."""
        return self._plan.rests

    def add(self, agent: Any) -> None:
        """Take over a newly built agent: apply the passes, and store it."""
        if not self._installed:
            self._install()
        index = len(self._plan.records)
        self._plan.build(agent, index)
        stored = self._plan.store(agent, index)
        self._plan.records.append(stored)

    def _install(self) -> None:
        """Prepare the process, once there are agents that need it."""
        self._installed = True
        self._plan.install()

    def wake(self, index: int) -> Any:
        """The agent, ready for use until `rest`.

        Raises:
            IndexError: there is no such agent.
            AgentActive: it is in use already.
        """
        with self._lock:
            stored = self._plan.records[index]
            if index in self._active:
                raise AgentActive(index)
            self._active[index] = _WAKING
        try:
            activation = self._active[index] = self._plan.wake(stored, index)
        except BaseException:
            del self._active[index]
            raise
        return activation.agent

    def rest(self, index: int) -> None:
        """Store an agent again that was woken; if that fails, it stays as it was stored before."""
        activation = self._active[index]
        try:
            self._plan.records[index] = self._plan.store(activation.agent, index, activation)
        finally:
            del self._active[index]

    @property
    def active(self) -> list[int]:
        """Agents in use."""
        return sorted(self._active)

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """Everything held, as (agent, component, object); `EVERYBODY` for what is nobody's."""
        for index in range(0 if self._plan.in_files else len(self)):
            stored = self._plan.records[index]
            attributes = getattr(stored, "__dict__", None)
            if attributes is None:
                yield index, "records", stored
                continue
            for component, names in _COMPONENTS.items():
                for name in names:
                    if name in attributes:
                        yield index, component, attributes[name]
            yield index, "other agent objects", stored
        for component, held in self._plan.holdings():
            yield EVERYBODY, component, held

    def close(self) -> None:
        """Let go of all agents, and leave the process as it was."""
        self._active.clear()
        if self._installed:
            self._plan.close()


_WAKING: Any = None
"""Stands for an activation that is not there yet."""
