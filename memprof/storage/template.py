"""Pass `template`: agents at rest are records, exact differences from a template."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from memprof.errors import UsageError
from memprof.storage.activation import Activation, Loans, Scratch
from memprof.storage.compression import compressed, decompressed
from memprof.storage.constants import ChangedArray, constant
from memprof.storage.copies import apart, own_array
from memprof.storage.exemplar import Changes, Exemplar
from memprof.storage.flatten import Anew, Flattener, Handed
from memprof.storage.graph import held_bytes
from memprof.storage.in_place import InPlace
from memprof.storage.layout import Layout, from_json
from memprof.storage.unflatten import UNLIMITED, Allowance, Reader
from memprof.storage.untrusted import parsed
from memprof.text import counted, format_size
from memprof.values.measurements import Effect

_BOOKKEEPING_BYTES = 600
"""Of an active agent, around it: its activation, its place in the working set."""

MOST_LAYOUT_BYTES = 1 << 20
_TEXT_PER_ELEMENT = 4  # bytes of layouts that take as long as an element to read
_COMPRESSED = 0x8000
_MOST_LAYOUTS = 1024


@dataclass(frozen=True, slots=True)
class LargeRecord:
    """A record with what cannot be encoded: large incompressible arrays, and whole attributes."""

    data: bytes
    outside: tuple[np.ndarray, ...]
    whole: dict[str, Any]


class Template(InPlace):
    """Stores agents as records and makes agents of records.

    The first agent of a class is the template of that class. A record is two bytes that name its
    layout and the data of that layout, compressed where that is smaller; never executable. Large
    arrays of an active agent are read-only: PyMDP replaces arrays and writes to none.

    An agent object that somebody still holds, or has a weak reference to, is the agent again when
    it is activated; else a new object is.

    Attributes:
        instead: what else there is to do about agents that files cannot hold.
        keep: results of inference that survive rest; None for all of them.
    """

    INLINE = 0x7FFF
    instead = "leave mmap out"

    def __init__(self, keep: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.passivates = True
        self.keep = keep
        self._exemplars: list[Exemplar] = []
        self._numbers: dict[type, int] = {}
        self._known_layouts: list[tuple[int, Layout]] = []
        self._layout_numbers: dict[tuple[int, Layout], int] = {}
        self._lock = threading.RLock()  # garbage that is collected within may come to rest
        self._shells: dict[int, weakref.ref[Any]] = {}  # each goes with its agent
        self._referred_to: dict[int, Any] = {}

    def passivate(self, agent: Any, index: int, activation: Activation | None = None) -> Any:
        number = self._number(agent)
        flattener = self._flattener(activation)
        changes = self._exemplars[number].flatten(agent, self.keep, flattener)
        self.kept_whole.update(changes.reasons)
        return self._record(number, changes, flattener, index)

    def _flattener(self, activation: Activation | None) -> Flattener:
        return Flattener(
            handed=activation.handed if activation else Handed(),
            thorough=activation is None or activation.handed.anew,
            keeps_outside=True,
        )

    def _record(self, number: int, changes: Changes, flattener: Flattener, index: int) -> Any:
        data = self._encoded(number, changes.layout, flattener)
        if flattener.outside or changes.whole:
            return LargeRecord(data, tuple(flattener.outside), changes.whole)
        return data

    def release(self, agent: Any, index: int) -> None:
        exemplar = self._exemplars[self._number(agent)]
        if exemplar.is_kept(agent):
            self._referred_to[index] = agent
        self._shells[index] = weakref.ref(agent, partial(self._shells.pop, index))
        exemplar.empty(agent)

    def activate(self, stored: Any, index: int) -> Activation:
        shell = self._shells.get(index)
        activation = self._activation(stored, index, None if shell is None else shell())
        self._shells.pop(index, None)
        self._referred_to.pop(index, None)
        return activation

    def shown(self, stored: Any, index: int) -> Activation:
        activation = self._activation(stored, index, None)
        return Activation(activation.agent, activation.loans, Anew(activation.handed))

    def _activation(
        self, stored: Any, index: int, left: Any, scratch: Scratch | None = None
    ) -> Activation:
        """The agent of a record: `left`, if that is what is left of it."""
        large = stored if isinstance(stored, LargeRecord) else LargeRecord(stored, (), {})
        loans, allowance = Loans(scratch or self._scratch), self.allowance(large.data)
        number, layout, values = self._decoded(large.data, allowance)
        reader = Reader(values, large.outside, loans, Handed(), allowance)
        agent = self._exemplars[number].unflatten(layout, large.whole, reader, left)
        return Activation(agent, loans, reader.handed)

    def _without_agents(self) -> Self:
        other = super()._without_agents()
        other._exemplars, other._numbers = [*self._exemplars], dict(self._numbers)
        other._known_layouts = [*self._known_layouts]
        other._layout_numbers = dict(self._layout_numbers)
        other._lock, other._shells, other._referred_to = threading.RLock(), {}, {}
        return other

    def _copied(self, stored: Any) -> Any:
        if isinstance(stored, bytes):
            return stored
        outside = tuple(map(own_array, stored.outside))
        return LargeRecord(stored.data, outside, apart(stored.whole, self.kept_whole))

    def allowance(self, record: bytes) -> Allowance:
        """The allowance for decoding a record."""
        return UNLIMITED

    def held_by_others(self) -> list[int]:
        return [*self._shells]

    def held_bytes(self, activation: Activation) -> int:
        exemplar = self._exemplars[self._number(activation.agent)]
        outside = {id(array) for array in activation.handed.outside()}
        shared = exemplar.ids | outside if outside else exemplar.ids
        return _BOOKKEEPING_BYTES + held_bytes(activation.held(), shared)

    def leave(self, index: int) -> None:
        self._shells.pop(index, None)
        self._referred_to.pop(index, None)

    def empty(self) -> None:
        super().empty()
        self._exemplars.clear()
        self._numbers.clear()
        self._known_layouts.clear()
        self._layout_numbers.clear()

    def world_array(self, array: Any, first: Any) -> Any:
        return constant(array) if array is first else ChangedArray.of(array, first)

    def effect(self, agents: Sequence[Any]) -> Effect:
        indices = [index for index, each in self._records.items() if is_record(each)]
        size = sum(_size(self._records[index]) for index in indices)
        stay = counted(len(agents), "agent stays active", "agents stay active") if agents else ""
        rest = f"{counted(len(indices), 'agent')} as records of {format_size(size)}"
        rest += f", {self.compared(indices[0])}" if indices else ""
        return Effect("; ".join(each for each in (rest if indices else "", stay) if each))

    def compared(self, index: int) -> str:
        """What one agent takes in use, without what all share, and as a record."""
        record = self.records[index]
        activation = self._activation(record, index, None, Scratch())
        size = self.held_bytes(activation)
        self._exemplars[self._number(activation.agent)].empty(activation.agent)
        activation.end()
        template = format_size(sum(each.array_bytes for each in self._exemplars))
        return (
            f"differences from a template of {template}: agent {index} takes {format_size(size)} "
            f"in use, {format_size(_size(record))} at rest"
        )

    def holdings(self) -> Iterator[tuple[str, Any]]:
        yield "template", [exemplar.state for exemplar in self._exemplars]
        yield from super().holdings()
        yield "template", [self._known_layouts, self._layout_numbers]

    def _number(self, agent: Any) -> int:
        number = self._numbers.get(type(agent))
        if number is None:
            with self._lock:
                number = self._numbers.get(type(agent))
                if number is None:
                    number = len(self._exemplars)
                    self._exemplars.append(self.exemplar(agent))
                    self._numbers[type(agent)] = number
        return number

    def exemplar(self, agent: Any) -> Exemplar:
        """The template of a new class of agents, of which this is the first."""
        return Exemplar.of(agent, self.keep)

    def _encoded(self, exemplar: int, layout: Layout, flattener: Flattener) -> bytes:
        values = flattener.data()
        number = self.layout_number((exemplar, layout))
        if number == self.INLINE:
            text = json.dumps((exemplar, layout), separators=(",", ":")).encode()
            if self.in_files and len(text) > MOST_LAYOUT_BYTES:
                raise UsageError(
                    "agents: expected attributes whose layout takes at most 1 MiB under mmap, "
                    f"found {format_size(len(text))}; {self.instead}, or keep lists and dicts of "
                    "many kinds of values out of agents"
                )
            flattener.elements += len(text) // _TEXT_PER_ELEMENT
            values = len(text).to_bytes(4, "little") + text + values
        packed = compressed(values)
        if (
            len(packed) < len(values)
            and flattener.spend(len(values))
            and self.allowance(packed).allows(flattener.elements, flattener.past)
        ):
            number, values = number | _COMPRESSED, packed
        return number.to_bytes(2, "little") + values

    def _decoded(self, data: bytes, allowance: Allowance) -> tuple[int, Layout, bytes]:
        head = int.from_bytes(data[:2], "little")
        values = decompressed(allowance.frame(data[2:])) if head & _COMPRESSED else data[2:]
        number = head & ~_COMPRESSED
        if number != self.INLINE:
            return (*self._known_layouts[number], values)
        size = int.from_bytes(values[:4], "little")
        allowance.count(size // _TEXT_PER_ELEMENT)
        exemplar, layout = _parsed(values[4 : 4 + size])
        if self.in_files and (exemplar != 0 or type(exemplar) is not int):
            raise ValueError(f"of template {exemplar}")
        return exemplar, layout, values[4 + size :]

    def layout_number(self, key: tuple[int, Layout]) -> int:
        """The number that records name a layout by; `INLINE` for one that they bring along."""
        number = self._layout_numbers.get(key)
        if number is not None:
            return number
        with self._lock:
            number = self._layout_numbers.get(key)
            if number is not None:
                return number
            number = len(self._known_layouts)
            if number == _MOST_LAYOUTS:
                return self.INLINE
            self._known_layouts.append(key)
            self._layout_numbers[key] = number  # last: others look here without the lock
            return number


def is_record(stored: Any) -> bool:
    """Whether what is kept of an agent is a record, rather than the agent."""
    return isinstance(stored, bytes | LargeRecord)


def _size(record: Any) -> int:
    """Bytes of a record."""
    if isinstance(record, bytes):
        return len(record)
    large: LargeRecord = record
    return len(large.data) + sum(array.nbytes for array in large.outside)


def layout_of(text: bytes) -> Any:
    """The layout in a file, as JSON.

    Raises:
        ValueError: it is none, or would take much more memory than its text.
    """
    if len(text) > MOST_LAYOUT_BYTES:
        raise ValueError("a layout that is too long")
    return from_json(parsed(text, each_bytes=4))


def _parsed(text: bytes) -> tuple[int, Layout]:
    """The layout that a record brings along; agents of a population have few, so the last are kept,
    as many as take little memory."""
    known = _layouts.get(text)
    if known is None:
        if sum(map(len, _layouts.copy())) + len(text) > MOST_LAYOUT_BYTES:
            _layouts.clear()
        known = _layouts[text] = _read_layout(text)
    return known


_layouts: dict[bytes, tuple[int, Layout]] = {}


def _read_layout(text: bytes) -> tuple[int, Layout]:
    exemplar, layout = layout_of(text)
    missing, order, *entries = layout
    if not all(type(name) is str for name in (*missing, *order, *entries[::2])):
        raise ValueError("an attribute whose name is no word")
    return exemplar, layout
