"""Pass `mmap`: the template and the records in memory-mapped files."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from memprof.errors import UsageError
from memprof.storage.activation import Activation, Scratch
from memprof.storage.agent_class import Kind
from memprof.storage.constants import adopt, constant
from memprof.storage.disk_records import DiskRecords
from memprof.storage.exemplar import Changes, Exemplar
from memprof.storage.flatten import Flattener, Handed, NotStorable, is_objects
from memprof.storage.in_place import InPlace
from memprof.storage.layout import Layout, arranged, described, dtype_of, order_of, stored_shape
from memprof.storage.records import Records
from memprof.storage.template import MOST_LAYOUT_BYTES, LargeRecord, Template, layout_of
from memprof.storage.unflatten import Allowance, Reader
from memprof.storage.untrusted import decoding, is_count, parsed
from memprof.text import counted, format_size
from memprof.values.measurements import Effect

_CONTAINERS = frozenset((list, tuple, dict, np.ndarray))
_KIND, _PASSES, _DESCRIPTION, _DATA = "class", "passes", "description", "data"
_MOST_PASSES_BYTES = 1 << 12
# What decoding a store may make of a few bytes: arrays of so many bytes, and so many times the
# bytes that are there; and elements of containers, as `cost` counts them, likewise.
_FREE_BYTES, _TIMES = 8 << 20, 8
_FREE_ELEMENTS, _ELEMENTS_PER_BYTE, _PAST_PER_BYTE = 100_000, 3, 16


class Mmap(Template):
    """`template`, with everything in a folder: pages of files, which the kernel may drop at will
    and which processes that open the same folder share.

    Attributes without exact encoding stay in memory, and a folder that outlives the process refuses
    them; without a `store` it is a temporary one. What an agent shares with something else stays
    in memory as well, so that it is shared for as long as the process lives; a folder that outlives
    it holds a copy, and refuses what two agents share. Each record is committed when its agent
    comes to rest, so a killed process loses at most what active agents did; after a checkpoint, all
    of them together at the next one. Records bring their layout along. A folder holds agents of one
    class.
    """

    in_files = True
    constants = staticmethod(adopt)
    """What makes constants of the template's arrays, which are where the folder is mapped."""

    def __init__(self, keep: tuple[str, ...] | None = None, store: Path | None = None) -> None:
        super().__init__(keep)
        self.folder = store
        self._temporary: TemporaryDirectory[str] | None = None
        self._disk: DiskRecords | None = None
        self._whole: dict[int, Changes] = {}
        self._next_whole: dict[int, Changes] = {}
        self._holders: dict[int, tuple[int, Any]] = {}

    @classmethod
    def reopen(
        cls, folder: Path, kind: type | None, *, readonly: bool = False, in_memory: bool = False
    ) -> Mmap:
        """A pass whose population is the one in `folder`, of agents of class `kind`; of PyMDP's own
        if that is None. `in_memory` has the template's arrays read, and not mapped, for agents that
        outlive the folder.

        Raises:
            StoreError: the folder is damaged, foreign, or holds agents of another class.
            UsageError: they are of a class that has to be given.
        """
        reopened = cls(store=folder)
        reopened._disk = disk = DiskRecords.open(folder, None, readonly=readonly)
        try:
            stored = Kind.read(disk.blob(_KIND), folder)
            kind = stored.pymdps_own(folder) if kind is None else kind
            stored.check(kind, folder)
            reopened.passes, reopened.history_steps = _passes(disk)
            reopened._exemplars.append(_mapped(kind, disk, constant if in_memory else adopt))
        except BaseException:
            disk.close()
            raise
        reopened._numbers[kind] = 0
        return reopened

    @property
    def records(self) -> Records:
        if self._disk is None:
            return super().records  # empty: there is no folder before the first agent
        return self._disk

    @property
    def lasts(self) -> bool:
        return self.folder is not None and self._temporary is None

    @property
    def has_checkpoint(self) -> bool:
        return self._disk is not None and self._disk.has_checkpoint

    @property
    def file_bytes(self) -> int:
        return self._disk.file_bytes if self._disk else 0

    def exemplar(self, agent: Any) -> Exemplar:
        """Write the template's arrays to the folder, and use them from there."""
        if self._disk is not None:
            raise UsageError(
                f"agents: expected one class of agents under mmap, {_name(self._exemplars[0].kind)}"
                f", found {_name(type(agent))}; {self.instead}, or use a population for each class"
            )
        if self.folder is None:
            self._temporary = TemporaryDirectory(prefix="memprof-")
            self.folder = Path(self._temporary.name) / "population"
        blobs = _described(Exemplar.of(agent, self.keep), self.instead)
        blobs[_KIND] = Kind.of(type(agent)).encoded()
        steps = [] if self.history_steps is None else [self.history_steps]
        blobs[_PASSES] = json.dumps([*self.passes, *steps]).encode()
        identity = hashlib.blake2b(digest_size=16)
        for name, blob in blobs.items():
            identity.update(name.encode())
            identity.update(blob)
        self._disk = self.create(self.folder, identity.digest(), blobs)
        self._disk.skip(len(self._records))  # before there was a folder
        return _mapped(type(agent), self._disk, self.constants)

    def create(self, folder: Path, identity: bytes, blobs: Mapping[str, Any]) -> DiskRecords:
        """Make the store."""
        return DiskRecords.create(folder, identity, blobs)

    def _flattener(self, activation: Activation | None) -> Flattener:
        return Flattener(
            handed=activation.handed if activation else Handed(),
            thorough=activation is None or activation.handed.anew,
            lasts=self.lasts,
            # What differs from the template's arrays is made of copies of them.
            free=self.allowance(b"").size - self._exemplars[0].array_bytes,
        )

    def allowance(self, record: bytes) -> Allowance:
        """Arrays of a record take no more than some times what the template does, and its elements
        no more than some times what the record does."""
        assert self._disk is not None
        return _allowance(self._disk.blob_bytes, len(record))

    def _record(self, number: int, changes: Changes, flattener: Flattener, index: int) -> bytes:
        if self.lasts:
            self._check_lasting(changes, index)
        odd = [name for name in (*changes.layout[2::2], *changes.whole) if type(name) is not str]
        if odd:
            raise UsageError(
                f"agents: expected attributes whose names are text, found {odd[0]!r}; delete it, "
                f"or {self.instead}"
            )
        self._next_whole[index] = changes
        record = self._encoded(number, changes.layout, flattener)
        _check_elements(flattener, record, self.instead)
        return record

    def passivate(self, agent: Any, index: int, activation: Activation | None = None) -> Any:
        if activation is None and self.lasts and weakref.getweakrefcount(agent):
            raise UsageError(
                f"agents: something has a weak reference to agent {index}, which would be dead "
                f"when the store is opened again; drop it, or {self.instead}"
            )
        return super().passivate(agent, index, activation)

    def _check_lasting(self, changes: Changes, index: int) -> None:
        """Whether a store can hold an agent on its own."""
        _, _, *entries = changes.layout
        names = {*changes.whole} - {*entries[::2]}
        problem = "no exact encoding exists, so a store that outlives the process cannot hold it"
        remedy = "delete the attribute"
        holders = {self._holders.get(id(each), (index, None))[0] for each in changes.held}
        if not names and (holders - {index} or (changes.held and index not in self.records)):
            names = {*changes.whole}
            others = ", ".join(f"agent {other}" for other in sorted(holders - {index}))
            problem = (
                f"agent {index} has it in common with {others or 'something outside of it'}, and "
                "would have its own copy when the store is opened again"
            )
            remedy = "give it its own (a copy)"
        if names:
            found = ", ".join(f"{name} ({changes.reasons[name]})" for name in sorted(names))
            raise UsageError(f"agents: {found}: {problem}; {remedy}, or {self.instead}")

    def release(self, agent: Any, index: int) -> None:
        super().release(agent, index)
        self._let_go(index)
        changes = self._next_whole.pop(index, None)
        if changes is not None and changes.whole:
            self._whole[index] = changes
            self._holders.update({id(each): (index, each) for each in changes.held})

    def drop(self, agent: Any, index: int) -> None:
        self._next_whole.pop(index, None)
        super().release(agent, index)

    def _let_go(self, index: int) -> None:
        known = self._whole.pop(index, None)
        for each in known.held if known else ():
            self._holders.pop(id(each), None)

    def _activation(
        self, stored: Any, index: int, left: Any, scratch: Scratch | None = None
    ) -> Activation:
        known = self._whole.get(index)
        large = LargeRecord(stored, (), known.whole) if known else stored
        with decoding(f"{self.folder}: record {index}"):
            return super()._activation(large, index, left, scratch)

    def shown(self, stored: Any, index: int) -> Activation:
        # What others hold too is in a store as well, for those who open it.
        known = self._whole.pop(index, None) if self.lasts else None
        try:
            return super().shown(stored, index)
        finally:
            if known is not None:
                self._whole[index] = known

    def copied(self) -> InPlace:
        """All records are read and written anew: nobody but this process has written the copy."""
        other = Template(self.keep)
        for index in range(len(self.records)):
            if index not in self.records:
                del other._records[other._records.append(b"")]
                continue
            activation = self.shown(self.records[index], index)
            record = other.passivate(activation.agent, index, activation)
            self._exemplars[0].empty(activation.agent)
            activation.end()
            other._records.append(other._copied(record))
        return other

    def unsettled(self) -> list[int]:
        return [*self._whole] if self.lasts else []

    def leave(self, index: int) -> None:
        super().leave(index)
        self._let_go(index)

    def empty(self) -> None:
        """The template stays: it is in the store, and not in memory of the process's own."""
        self._scratch.clear()

    def effect(self, agents: Sequence[Any]) -> Effect:
        index = next((index for index in range(len(self.records)) if index in self.records), None)
        if index is None:
            return Effect()
        there = counted(len(self.records) - self.records.removed, "agent")
        files = format_size(self.file_bytes)
        return Effect(f"{there} in files of {files}, {self.compared(index)}")

    def holdings(self) -> Iterator[tuple[str, Any]]:
        yield from super().holdings()
        yield "template", [known.whole for known in self._whole.values()]

    def discard(self) -> None:
        if self._disk is not None:
            self._disk.discard()

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def layout_number(self, key: tuple[int, Layout]) -> int:
        """A store is read by other processes, so its records bring their layouts along."""
        return self.INLINE


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _allowance(blobs: int, data: int) -> Allowance:
    """The allowance for decoding so many bytes of a template and of other data."""
    return Allowance(
        _FREE_BYTES + _TIMES * blobs,
        _FREE_ELEMENTS + _ELEMENTS_PER_BYTE * data,
        _PAST_PER_BYTE * data,
    )


def _check_elements(flattener: Flattener, data: bytes, instead: str) -> None:
    elements, past = flattener.elements, flattener.past
    if not _allowance(0, len(data)).allows(elements, past):
        raise UsageError(
            f"agents: expected at most {_FREE_ELEMENTS:,} elements that take almost no space "
            f"(None, empty lists) in an agent under mmap, found up to {elements + past:,}; "
            f"{instead}"
        )


def _described(exemplar: Exemplar, instead: str) -> dict[str, Any]:
    """The blobs that hold a template and its layout."""
    flattener = Flattener(maps=True, free=_FREE_BYTES)
    try:
        layout = flattener.flatten(exemplar.state)
    except NotStorable as error:
        raise UsageError(
            f"agents: {error}: the template under mmap cannot hold it; {instead}"
        ) from None
    _check_elements(flattener, flattener.data(), instead)
    arrays = [(described(a.dtype), a.shape, order_of(a)) for a in flattener.outside]
    description = json.dumps((layout, arrays), separators=(",", ":")).encode()
    if len(description) > MOST_LAYOUT_BYTES:
        raise UsageError(
            "agents: expected a template whose layout takes at most 1 MiB under mmap, found "
            f"{format_size(len(description))}; {instead}"
        )
    blobs: dict[str, Any] = {_DESCRIPTION: description, _DATA: flattener.data()}
    for number, (array, (_, _, order)) in enumerate(zip(flattener.outside, arrays, strict=True)):
        stored = array if order == "C" else array.transpose(*order)
        blobs[f"array{number}"] = np.ascontiguousarray(stored).reshape(-1).view(np.uint8)
    return blobs


def _check_tree(value: Any, most: int) -> None:
    """Whether there are at most so many objects in a value, each counted as often as it is there:
    a list of one list many times over, and that in another one, would take for ever."""
    left = [[value]]
    while left:
        each: Any = left.pop()
        if type(each) is dict:
            each = [*each.values()]
        elif type(each) is np.ndarray:
            each = each.ravel().tolist() if is_objects(each) else ()
        most -= 4 + len(each)
        if most < 0:
            raise ValueError("more elements than its data allows")
        left += [inner for inner in each if type(inner) in _CONTAINERS]


def _passes(disk: DiskRecords) -> tuple[tuple[str, ...], int | None]:
    """The names of the passes that a store was made with, and its `history_steps`.

    Raises:
        StoreError: they make no sense.
    """
    with decoding(f"{disk.folder}: the names of its passes"):
        names = parsed(bytes(disk.blob(_PASSES)[: _MOST_PASSES_BYTES + 1]))
        if type(names) is not list:
            raise ValueError("expected a list of names")
        steps = names.pop() if names and is_count(names[-1]) and names[-1] else None
        if not all(type(name) is str for name in names):
            raise ValueError("expected a list of names")
        return tuple(names), steps


def _mapped(
    kind: type, disk: DiskRecords, kept: Callable[[np.ndarray], np.ndarray] = adopt
) -> Exemplar:
    """The template from a store, with its large arrays where the file is mapped, as `kept`.

    Raises:
        StoreError: it makes no sense.
    """
    with decoding(f"{disk.folder}: its template"):
        layout, described_arrays = layout_of(
            bytes(disk.blob(_DESCRIPTION)[: MOST_LAYOUT_BYTES + 1])
        )
        arrays = []
        for number, (dtype, shape, order) in enumerate(described_arrays):
            flat = np.frombuffer(disk.blob(f"array{number}"), dtype_of(dtype))
            arrays.append(kept(arranged(flat.reshape(stored_shape(shape, order)), order)))
        data = bytes(disk.blob(_DATA))
        reader = Reader(data, tuple(arrays), allowance=_allowance(disk.blob_bytes, len(data)))
        state = reader.unflatten(layout)
        there = len(data) + len(disk.blob(_DESCRIPTION))
        _check_tree(state, _FREE_ELEMENTS + _ELEMENTS_PER_BYTE * there)
        if type(state) is not dict or not all(type(name) is str for name in state):
            raise ValueError("no attributes by name")
        return Exemplar.from_store(kind, state)
