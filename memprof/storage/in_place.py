"""The way of storing agents in which they stay objects, from which the others derive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

from memprof.storage.activation import Activation, Loans, Scratch
from memprof.storage.compression import compressed, decompressed
from memprof.storage.constants import is_constant
from memprof.storage.copies import copy_of
from memprof.storage.flatten import Flattener, Handed, NotStorable, is_objects
from memprof.storage.identity import links_of
from memprof.storage.layout import Layout
from memprof.storage.records import MemoryRecords, Records
from memprof.storage.template_values import arrays_in
from memprof.storage.unflatten import Reader
from memprof.values.measurements import Effect


class InPlace:
    """Keeps agents that nobody uses, by index; they stay the objects that they are, and `packs` of
    their attributes rest encoded, where that is smaller.

    Other ways of storing derive from it. An agent is passivated into what `records` then keep of
    it; `release` lets go of it once that is kept, `drop` of one that could not be. It is activated
    for use.

    Attributes:
        passivates: agents at rest differ from active ones.
        kept_whole: attributes that stay the objects that they are, with their type: there is no
            exact encoding, or somebody else holds them too.
        in_files: agents at rest are in files, not in memory.
        passes: the names of the whole plan, which a store remembers.
        history_steps: past steps that the histories of agents keep, which it remembers as well, for
            those that have none yet; None for all.
    """

    in_files = False
    passes: tuple[str, ...] = ()
    history_steps: int | None = None

    def __init__(self, packs: tuple[str, ...] = ()) -> None:
        self.passivates = bool(packs)
        self.kept_whole: dict[str, str] = {}
        self._packs = packs
        self._records = MemoryRecords()
        self._layouts: dict[Layout, Layout] = {}
        self._scratch = Scratch()

    @property
    def records(self) -> Records:
        """The stored forms of agents; asked for after the first agent was stored."""
        return self._records

    @property
    def lasts(self) -> bool:
        """Whether agents are in files that outlive the population."""
        return False

    @property
    def has_checkpoint(self) -> bool:
        """Whether the files hold the agents as of a checkpoint, whatever came after it."""
        return False

    @property
    def file_bytes(self) -> int:
        """What agents and template take on disk."""
        return 0

    def build(self, agent: Any, index: int) -> None:
        """Told of a newly built agent, once all passes have optimised it."""

    def passivate(self, agent: Any, index: int, activation: Activation | None = None) -> Any:
        """The stored form of an agent, which is what it was until `release`.

        Raises:
            UsageError: it cannot be stored.
        """
        if not self._packs:
            return agent
        handed = activation.handed if activation else Handed()
        attributes, found = vars(agent), links_of(agent, handed)
        for name in self._packs:
            value = attributes.get(name)
            if value is None or isinstance(value, Packed) or _is_shared(value):
                continue
            if name in found.linked or name in found.users:
                continue  # others would hold on to what is packed
            with suppress(NotStorable):
                attributes[name] = Packed.of(value, handed, self._layouts) or value
        return agent

    def activate(self, stored: Any, index: int) -> Activation:
        """The agent of a stored form, as it was when it was stored."""
        activation = Activation(stored, Loans(self._scratch), Handed())
        attributes = vars(stored) if self._packs else {}
        for name in self._packs:
            value = attributes.get(name)
            if isinstance(value, Packed):
                attributes[name] = value.value(activation)
        return activation

    def shown(self, stored: Any, index: int) -> Activation:
        """As `activate`, only to be read: where agents rest as records, whoever holds the agent
        does not have this one."""
        return self.activate(stored, index)

    def copied(self) -> InPlace:
        """The same agents once more, in memory and independent of these.

        Raises:
            UsageError: an agent holds what has no exact copy, or would be shared with the copy.
        """
        other = self._without_agents()
        other._records = self._records.copied(other._copied)
        return other

    def _without_agents(self) -> Self:
        other = copy(self)
        other.kept_whole = dict(self.kept_whole)
        other._records, other._layouts = MemoryRecords(), dict(self._layouts)
        other._scratch = Scratch(self._scratch.most)
        return other

    def _copied(self, stored: Any) -> Any:
        """The copy of what is kept of an agent."""
        return copy_of(stored, (Packed,))

    def release(self, agent: Any, index: int) -> None:
        """Let go of an agent whose stored form is kept."""

    def drop(self, agent: Any, index: int) -> None:
        """Let go of an agent that could not be stored: it will be as it was stored before."""
        self.release(agent, index)

    def effect(self, agents: Sequence[Any]) -> Effect:
        """What the pass has done until now; `agents` are those that rest as objects."""
        return Effect()

    def held_by_others(self) -> list[int]:
        """Agents of which somebody still holds what is left of them."""
        return [index for index, _ in self._records.items()]

    def held_bytes(self, activation: Activation) -> int:
        """What an active agent takes, beyond what is held for all or while it is at rest: nothing,
        but where agents rest as records."""
        return 0

    def unsettled(self) -> list[int]:
        """Agents that others may have changed since they came to rest, and whose records have to
        follow."""
        return []

    def bound_scratch(self) -> None:
        """Keep no more than one buffer of a kind that is not lent: agents keep theirs."""
        self._scratch.most = 1

    def leave(self, index: int) -> None:
        """Forget what is kept of an agent beside its record."""

    def empty(self) -> None:
        """Let go of what was kept for all agents: there is none. Others may come."""
        self._scratch.clear()
        self._layouts.clear()

    def world_array(self, array: Any, first: Any) -> Any:
        """As a pass's."""
        return array

    def holdings(self) -> Iterator[tuple[str, Any]]:
        """What is held beside the agents, as (component, object)."""
        yield "scratch", list(self._scratch.buffers())
        yield "passes", self._layouts

    def discard(self) -> None:
        """Leave no file behind: the population was never whole."""

    def close(self) -> None:
        """Let go of the agents; what outlives us stays."""
        self._records.close()


@dataclass(frozen=True, slots=True)
class Packed:
    """An encoded value; agents of one population share its layout."""

    layout: Layout
    frame: bytes

    @classmethod
    def of(cls, value: Any, handed: Handed, layouts: dict[Layout, Layout]) -> Packed | None:
        """The value packed; None when that saves less than half of its arrays.

        Raises:
            NotStorable: a type without exact encoding.
        """
        flattener = Flattener(handed)
        layout = flattener.flatten(value)
        frame = compressed(flattener.data())
        if 2 * len(frame) > sum(array.nbytes for array in arrays_in([value])):
            return None
        return cls(layouts.setdefault(layout, layout), frame)

    def value(self, activation: Activation) -> Any:
        """What was packed; large sparse arrays are lent."""
        data = decompressed(self.frame)
        return Reader(data, (), activation.loans, activation.handed).unflatten(self.layout)


def _is_shared(value: Any) -> bool:
    """Whether all arrays of a container are constants, which rest nowhere else anyway."""
    return is_objects(value) and all(map(is_constant, value.ravel().tolist()))
