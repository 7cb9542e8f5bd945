"""The passes of one population, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from memprof.catalogue.backends import OF_PROGRAMS
from memprof.catalogue.passes import new_pass
from memprof.optimise.base import Pass
from memprof.optimise.pool import Pool
from memprof.optimise.template import Template
from memprof.optimise.working_set import StayActive
from memprof.storage.block import Packed
from memprof.storage.constants import all_segments, is_constant
from memprof.storage.flatten import Handed, NotStorable, is_objects
from memprof.storage.identity import close_shared_containers, links_of
from memprof.storage.layout import Layout
from memprof.storage.records import MemoryRecords
from memprof.storage.references import Activation, check_references
from memprof.storage.scratch import Loans, Scratch


class Plan:
    """Builds, stores and wakes agents as its passes say.

    With a `template` agents are stored as records, else as themselves.

    Attributes:
        rests: whether agents at rest differ from active ones at all.
    """

    def __init__(self, passes: Iterable[Pass]) -> None:
        self.passes = tuple(passes)
        if self.passes:
            check_references()
        self.template = next((each for each in self.passes if isinstance(each, Template)), None)
        self._packs = tuple(dict.fromkeys(name for each in self.passes for name in each.packs))
        self.rests = bool(self.template or self._packs) or any(
            type(each).rest is not Pass.rest or type(each).wake is not Pass.wake
            for each in self.passes
        )
        self._agents = MemoryRecords()
        self._scratch = Scratch()
        self._layouts: dict[Layout, Layout] = {}

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        options: Mapping[str, Any] = MappingProxyType({}),
        backend: str = OF_PROGRAMS,
    ) -> Plan:
        """New instances of the named passes, told those of the options that they know.

        Of the two that store records, `mmap` includes `template`. Agents whose attributes are
        NumPy arrays may be PyMDP's, or those of tests.
        """
        chosen = [name for name in names if name != "template" or "mmap" not in names]
        return cls(new_pass(name, backend, options) for name in chosen)

    @property
    def budget_bytes(self) -> int | None:
        """What active agents may take together; None where agents rest after every use."""
        budgets = (each.budget_bytes for each in self.passes if isinstance(each, StayActive))
        return next(budgets, None) if self.template is not None else None

    @property
    def records(self) -> Any:
        """Where the stored forms of agents are kept, by index."""
        return self._agents if self.template is None else self.template.records

    @property
    def file_bytes(self) -> int:
        """What agents and template take on disk."""
        return self.template.file_bytes if self.template is not None else 0

    @property
    def kept_whole(self) -> dict[str, str]:
        """Attributes that have no exact encoding, with their types."""
        return {} if self.template is None else dict(self.template.kept_whole)

    def held_by_others(self) -> list[int]:
        """Agents of which somebody still holds the object."""
        if self.template is None:
            return [index for index, _ in self._agents.items()]
        return self.template.held_by_others()

    def unsettled(self) -> list[int]:
        """Agents that others may have changed since they came to rest."""
        return [] if self.template is None else self.template.unsettled()

    @property
    def not_replaced(self) -> dict[str, str]:
        """PyMDP's functions that `pool` does not replace, with what it does not know of them."""
        pools = (each.not_replaced() for each in self.passes if isinstance(each, Pool))
        return next(pools, {})

    @property
    def in_files(self) -> bool:
        """Whether agents at rest are in files, not in memory."""
        return self.template is not None and self.template.in_files

    @property
    def lasts(self) -> bool:
        """Whether those files outlive the population."""
        return self.template is not None and self.template.in_files and self.template.lasts

    def install(self) -> None:
        """Prepare the process for every pass."""
        if self.template is not None and self.budget_bytes is not None:
            self.template.bound_scratch()
        for each in self.passes:
            each.install()

    def build(self, agent: Any, index: int) -> dict[str, Any]:
        """Apply every pass to a newly built agent; the attributes that it had before in place of
        those that passes have replaced."""
        attributes = getattr(agent, "__dict__", {})  # agents for calibration have none
        originals = close_shared_containers(agent) if attributes else {}
        before = dict(attributes)
        for each in self.passes:
            each.build(agent, index)
        replaced = {name: value for name, value in before.items() if value is not attributes[name]}
        return {**replaced, **originals}

    def store(self, agent: Any, index: int, activation: Activation | None = None) -> Any:
        """The stored form of an agent that is no longer used; the agent is what it was, until
        `release`.

        Raises:
            UsageError: it cannot be stored.
        """
        if not self.rests:
            return agent
        for each in self.passes:
            each.rest(agent, index)
        if self.template is not None:
            return self.template.encode(agent, index, activation)
        self._pack(agent, activation)
        return agent

    def release(self, agent: Any, index: int, activation: Activation | None = None) -> None:
        """Let go of an agent whose stored form is kept, and of what was lent to it."""
        if self.template is not None:
            self.template.release(agent, index)
        if activation is not None:
            activation.end()

    def drop(self, agent: Any, index: int, activation: Activation) -> None:
        """Let go of an agent that could not be stored, and of what was lent to it."""
        if self.template is not None:
            self.template.drop(agent, index)
        activation.end()

    def wake(self, stored: Any, index: int) -> Activation:
        """An agent from its stored form."""
        if self.template is not None:
            activation = self.template.activate(stored, index)
        else:
            activation = Activation(stored, Loans(self._scratch), Handed())
            if self._packs:
                self._unpack(activation)
        for each in reversed(self.passes):
            each.wake(activation.agent, index, activation.loans)
        return activation

    def held_bytes(self, activation: Activation) -> int:
        """What an active agent takes, beyond what it has in common with others."""
        assert self.template is not None
        return self.template.held_bytes(activation)

    def leave(self, index: int) -> None:
        """Forget an agent, and what was kept for all of them if it was the last one."""
        records = self.records
        del records[index]
        for each in self.passes:
            each.leave(index)
        if records.removed == len(records):
            self._scratch.clear()
            self._layouts.clear()
            for each in self.passes:
                each.empty()

    def world_array(self, array: Any, first: Any) -> Any:
        """The form in which an environment keeps an array of its model; `first` is the same array
        of the first environment."""
        kept, alone = array, array is first
        for each in self.passes:
            kept = each.world_array(kept, kept if alone else first)
            if not isinstance(kept, np.ndarray):
                break  # nothing is left for another pass to change
        return kept

    def close(self) -> None:
        """Let go of the agents, and leave the process as it was before `install`."""
        self._agents.close()
        for each in reversed(self.passes):
            each.close()

    def holdings(self) -> Iterator[tuple[str, Any]]:
        """What the plan holds beside the agents, as (component, object)."""
        if self.template is not None:
            yield from self.template.holdings()
        yield "scratch", list(self._scratch.buffers())
        others = [each for each in self.passes if each is not self.template]
        yield "passes", [others, self._layouts, all_segments()]

    def _pack(self, agent: Any, activation: Activation | None) -> None:
        if not self._packs:
            return
        handed = activation.handed if activation else Handed()
        attributes = vars(agent)
        found = links_of(agent, handed)
        for name in self._packs:
            value = attributes.get(name)
            if value is None or isinstance(value, Packed) or _is_shared(value):
                continue
            if name in found.linked or name in found.users:
                continue  # others would hold on to what is packed
            try:
                packed = Packed.of(value, handed, self._layouts)
            except NotStorable:
                continue
            if packed is not None:
                attributes[name] = packed

    def _unpack(self, activation: Activation) -> None:
        attributes = vars(activation.agent)
        for name in self._packs:
            value = attributes.get(name)
            if isinstance(value, Packed):
                attributes[name] = value.value(activation.loans, activation.handed)


def _is_shared(value: Any) -> bool:
    """Whether all arrays of a container are constants, which rest nowhere else anyway."""
    return is_objects(value) and all(map(is_constant, value.ravel().tolist()))
