"""Pass `mmap`: the template and the records in memory-mapped files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from memprof.errors import UsageError
from memprof.passes.template import LargeRecord, Template
from memprof.store.activation import Activation
from memprof.store.constants import adopt
from memprof.store.disk_records import DiskRecords
from memprof.store.exemplar import Exemplar
from memprof.store.flatten import Flattener
from memprof.store.kind import Kind
from memprof.store.layout import Layout, arranged, from_json, order_of, stored_shape
from memprof.store.records import Records
from memprof.store.unflatten import Reader

_KIND, _DESCRIPTION, _DATA = "class", "description", "data"


class Mmap(Template):
    """`template`, with everything in a folder: pages of files, which the kernel may drop at will
    and which processes that open the same folder share.

    Attributes without exact encoding stay in memory, and a folder that outlives the process refuses
    them; without a `folder` it is a temporary one. Each record is committed when its agent comes to
    rest, so a killed process loses at most what active agents did. Records bring their layout
    along. A folder holds agents of one class.
    """

    keeps_outside = False
    in_files = True

    def __init__(self) -> None:
        super().__init__()
        self._temporary: TemporaryDirectory[str] | None = None
        self._disk: DiskRecords | None = None
        self._whole: dict[int, dict[str, Any]] = {}

    @classmethod
    def reopen(cls, folder: Path, kind: type, *, readonly: bool = False) -> Mmap:
        """A pass whose population is the one in `folder`, of agents of class `kind`.

        Raises:
            StoreError: the folder is damaged, foreign, or holds agents of another class.
        """
        reopened = cls()
        reopened.folder = folder
        reopened._disk = disk = DiskRecords.open(folder, None, readonly=readonly)
        try:
            Kind.read(disk.blob(_KIND), folder).check(kind, folder)
            description = json.loads(bytes(disk.blob(_DESCRIPTION)))
            reopened._exemplars.append(_mapped(kind, description, disk))
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
    def lasts(self) -> bool:  # type: ignore[override]
        """Whether the folder outlives the population."""
        return self._temporary is None

    @property
    def file_bytes(self) -> int:  # type: ignore[override]
        """What the files take on disk."""
        return self._disk.file_bytes if self._disk else 0

    def exemplar(self, agent: Any) -> Exemplar:
        """Write the template's arrays to the folder, and use them from there."""
        if self._disk is not None:
            raise UsageError(
                f"agents: expected one class of agents under mmap, {_name(self._exemplars[0].kind)}"
                f", found {_name(type(agent))}; use template, or a population for each class"
            )
        if self.folder is None:
            self._temporary = TemporaryDirectory(prefix="memprof-")
            self.folder = Path(self._temporary.name) / "population"
        description, blobs = _described(Exemplar.of(agent))
        blobs[_KIND] = Kind.of(type(agent)).encoded()
        identity = hashlib.blake2b(digest_size=16)
        for name, blob in blobs.items():
            identity.update(name.encode())
            identity.update(blob)
        self._disk = DiskRecords.create(self.folder, identity.digest(), blobs)
        return _mapped(type(agent), description, self._disk)

    def hibernate(self, agent: Any, index: int, activation: Activation | None = None) -> bytes:
        record = super().hibernate(agent, index, activation)
        if not isinstance(record, LargeRecord):
            self._whole.pop(index, None)
            return bytes(record)
        if self._temporary is None:
            names = ", ".join(f"{name} ({self.kept_whole[name]})" for name in record.whole)
            raise UsageError(
                f"agents: {names}: no exact encoding exists, so a store that outlives the process "
                "cannot hold it; delete the attribute, or leave mmap out"
            )
        self._whole[index] = record.whole
        return record.data

    def activate(self, record: Any, index: int) -> Activation:
        whole = self._whole.get(index)
        return super().activate(LargeRecord(record, (), whole) if whole else record, index)

    def leave(self, index: int) -> None:
        self._whole.pop(index, None)

    def empty(self) -> None:
        """The template stays: it is in the store, and not in memory of the process's own."""
        self._scratch.clear()

    def holdings(self) -> Iterator[tuple[str, Any]]:
        yield from super().holdings()
        yield "template", self._whole

    def discard(self) -> None:
        """Leave the folder as it was before the first agent: the population was never whole."""
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


def _described(exemplar: Exemplar) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a template looks like, as JSON values, and the blobs that hold it."""
    flattener = Flattener(maps=True)
    layout = flattener.flatten(exemplar.state)
    arrays = [(a.dtype.str, a.shape, order_of(a)) for a in flattener.outside]
    description = {"layout": layout, "arrays": arrays}
    blobs: dict[str, Any] = {
        _DESCRIPTION: json.dumps(description).encode(),
        _DATA: flattener.data(),
    }
    for number, (array, (_, _, order)) in enumerate(zip(flattener.outside, arrays, strict=True)):
        stored = array if order == "C" else array.transpose(*order)
        blobs[f"array{number}"] = np.ascontiguousarray(stored).reshape(-1).view(np.uint8)
    return description, blobs


def _mapped(kind: type, description: dict[str, Any], disk: DiskRecords) -> Exemplar:
    """The template from a store, with its large arrays where the file is mapped."""
    arrays = []
    for number, (dtype, shape, order) in enumerate(from_json(description["arrays"])):
        flat = np.frombuffer(disk.blob(f"array{number}"), dtype)
        arrays.append(adopt(arranged(flat.reshape(stored_shape(shape, order)), order)))
    reader = Reader(bytes(disk.blob(_DATA)), tuple(arrays))
    state = reader.unflatten(from_json(description["layout"]))
    return Exemplar(kind, state)
