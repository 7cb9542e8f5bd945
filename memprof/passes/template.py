"""Pass `template`: agents at rest are records, exact differences from a template."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from memprof.passes.base import Pass
from memprof.store.activation import Activation
from memprof.store.compression import compressed, decompressed
from memprof.store.constants import constant
from memprof.store.difference import ChangedArray
from memprof.store.exemplar import Changes, Exemplar
from memprof.store.flatten import Flattener, Handed
from memprof.store.held import held_bytes
from memprof.store.layout import Layout, from_json
from memprof.store.records import MemoryRecords, Records
from memprof.store.scratch import Loans, Scratch
from memprof.store.unflatten import Reader

_BOOKKEEPING_BYTES = 600
"""Of an active agent, around it: its activation, its place in the working set."""

_COMPRESSED = 0x8000
_MOST_LAYOUTS = 1024


@dataclass(frozen=True, slots=True)
class LargeRecord:
    """A record with what cannot be encoded: large incompressible arrays, and whole attributes."""

    data: bytes
    outside: tuple[np.ndarray, ...]
    whole: dict[str, Any]


class Template(Pass):
    """Stores agents as records and makes agents of records.

    The first agent of a class is the template of that class. A record is two bytes that name its
    layout and the data of that layout, compressed where that is smaller; never executable. Large
    arrays of an active agent are read-only: PyMDP replaces arrays and writes to none.

    Attributes:
        keep: results of inference that survive rest; None for all of them.
        file_bytes, folder: what files take on disk and where they are; for records in files.
        in_files, lasts: records are in files, not in memory; and outlive the population.
        keeps_outside: large arrays that nothing makes smaller stay arrays, outside of the record.
        kept_whole: attributes for which there is no exact encoding, with their type.
    """

    keeps_outside = True
    in_files = False
    lasts = False
    file_bytes = 0
    folder: Path | None = None
    INLINE = 0x7FFF

    def __init__(self) -> None:
        self.keep: tuple[str, ...] | None = None
        self.kept_whole: dict[str, str] = {}
        self._exemplars: list[Exemplar] = []
        self._numbers: dict[type, int] = {}
        self._layouts: list[tuple[int, Layout]] = []
        self._layout_numbers: dict[tuple[int, Layout], int] = {}
        self._records: Records = MemoryRecords()
        self._scratch = Scratch()
        self._lock = threading.Lock()

    @property
    def records(self) -> Records:
        """Where the records of the population are; asked for after the first agent was stored."""
        return self._records

    def hibernate(self, agent: Any, index: int, activation: Activation | None = None) -> Any:
        """The record of an agent, which is empty afterwards; ends its activation."""
        number = self._number(agent)
        exemplar = self._exemplars[number]
        flattener = Flattener(
            handed=activation.handed if activation else Handed(),
            thorough=activation is None,
            keeps_outside=self.keeps_outside,
        )
        changes = exemplar.flatten(agent, self._left_out(agent), flattener)
        for name, value in changes.whole.items():
            self.kept_whole[name] = type(value).__qualname__
        data = self._encoded(number, changes.layout, flattener.data())
        exemplar.clear(agent)
        if activation is not None:
            activation.end()
        if flattener.outside or changes.whole:
            return LargeRecord(data, tuple(flattener.outside), changes.whole)
        return data

    def activate(self, record: Any, index: int) -> Activation:
        """The agent of a record, as it was when it was stored."""
        large = record if isinstance(record, LargeRecord) else LargeRecord(record, (), {})
        number, layout, values = self._decoded(large.data)
        loans = Loans(self._scratch)
        reader = Reader(values, large.outside, loans)
        agent = self._exemplars[number].unflatten(Changes(layout, large.whole), reader)
        return Activation(agent, loans, reader.handed)

    def drop(self, activation: Activation) -> None:
        """End an activation, with all that was done to its agent, which is empty afterwards."""
        self._exemplars[self._numbers[type(activation.agent)]].clear(activation.agent)
        activation.end()

    def held_bytes(self, activation: Activation) -> int:
        """What an active agent takes, beyond what the template and its own record hold."""
        exemplar = self._exemplars[self._numbers[type(activation.agent)]]
        outside = {id(array) for array in activation.handed.outside()}
        shared = exemplar.ids | outside if outside else exemplar.ids
        return _BOOKKEEPING_BYTES + held_bytes(activation.held(), shared)

    def bound_scratch(self) -> None:
        """Keep no more than one buffer of a kind that is not lent: agents keep theirs."""
        self._scratch.most = 1

    def empty(self) -> None:
        self._exemplars.clear()
        self._numbers.clear()
        self._layouts.clear()
        self._layout_numbers.clear()
        self._scratch.clear()

    def world_array(self, array: Any, first: Any) -> Any:
        return constant(array) if array is first else ChangedArray.of(array, first)

    def holdings(self) -> Iterator[tuple[str, Any]]:
        """What the pass itself holds, by component."""
        yield "template", [exemplar.state for exemplar in self._exemplars]
        yield "scratch", list(self._scratch.buffers())
        yield "template", [self._layouts, self._layout_numbers]

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
        return Exemplar.of(agent)

    def _left_out(self, agent: Any) -> frozenset[str]:
        return frozenset() if self.keep is None else left_out(agent, self.keep)

    def _encoded(self, exemplar: int, layout: Layout, values: bytes) -> bytes:
        number = self.layout_number((exemplar, layout))
        if number == self.INLINE:
            text = json.dumps((exemplar, layout), separators=(",", ":")).encode()
            values = len(text).to_bytes(4, "little") + text + values
        packed = compressed(values)
        if len(packed) < len(values):
            number, values = number | _COMPRESSED, packed
        return number.to_bytes(2, "little") + values

    def _decoded(self, data: bytes) -> tuple[int, Layout, bytes]:
        head = int.from_bytes(data[:2], "little")
        values = decompressed(data[2:]) if head & _COMPRESSED else data[2:]
        number = head & ~_COMPRESSED
        if number != self.INLINE:
            return (*self._layouts[number], values)
        end = 4 + int.from_bytes(values[:4], "little")
        return (*_parsed(values[4:end]), values[end:])

    def layout_number(self, key: tuple[int, Layout]) -> int:
        """The number that records name a layout by; `INLINE` for one that they bring along."""
        number = self._layout_numbers.get(key)
        if number is not None:
            return number
        with self._lock:
            number = self._layout_numbers.get(key)
            if number is not None:
                return number
            number = len(self._layouts)
            if number == _MOST_LAYOUTS:
                return self.INLINE
            self._layouts.append(key)
            self._layout_numbers[key] = number  # last: others look here without the lock
            return number


@lru_cache(maxsize=1024)
def _parsed(text: bytes) -> tuple[int, Layout]:
    exemplar, layout = from_json(json.loads(text))
    return exemplar, layout


RESULTS = ("q_pi", "G", "F", "prev_actions", "prev_obs", "qs_hist", "q_pi_hist")
"""Attributes in which PyMDP leaves the results of a step, beside `qs` and `action`."""

_NEEDED_BY_MMP = ("q_pi", "prev_actions", "prev_obs", "q_pi_hist")
"""Those that marginal message passing reads in the next step."""


def left_out(agent: Any, keep: tuple[str, ...]) -> frozenset[str]:
    """Results that need not survive rest: not named by `keep`, and not read by the next step."""
    needed = _NEEDED_BY_MMP if getattr(agent, "inference_algo", "") == "MMP" else ()
    return frozenset(name for name in RESULTS if name not in keep and name not in needed)
