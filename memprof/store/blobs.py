"""Named blobs in one plain file: written once, then read through one shared memory map.

LMDB aligns its values to 2 bytes and moves its map when it grows, so arrays that are to be used in
place live in a file of their own.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from memprof.errors import StoreError
from memprof.store.header import CREATE_AGAIN, Extent
from memprof.store.untrusted import check_regular, shown

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ALIGNMENT_BYTES = 64  # a cache line, and the widest vector register


def write_blobs(path: Path, blobs: Mapping[str, Buffer]) -> dict[str, Extent]:
    """Write the file; every blob starts at a multiple of 64 bytes."""
    extents = {}
    with path.open("xb") as file:
        for name, data in blobs.items():
            file.write(bytes(-file.tell() % _ALIGNMENT_BYTES))
            start = file.tell()
            file.write(data)
            extents[name] = Extent(start, file.tell() - start, zlib.crc32(data))
    return extents


class Blobs:
    """A file of blobs, open for reading: its pages are the page cache's, shared by all processes.

    The views that it hands out keep the map alive, for as long as anybody holds them.

    Attributes:
        size: bytes of all of them.
    """

    __slots__ = ("_extents", "_path", "_view", "size")

    def __init__(self, path: Path, extents: Mapping[str, Extent]) -> None:
        self._path = path
        self._extents = extents
        check_regular(path)
        with path.open("rb") as file:
            expected = max((extent.end for extent in extents.values()), default=0)
            found = file.seek(0, 2)
            if found != expected:
                raise StoreError(
                    f"{shown(path)}: has {found} bytes instead of {expected}, so it is damaged: "
                    f"{CREATE_AGAIN}"
                )
            # An empty file cannot be mapped.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if found else b""
        self._view = memoryview(mapped).toreadonly()
        self.size = len(self._view)

    def __getitem__(self, name: str) -> memoryview:
        """The bytes of a blob, read-only, in place; checked against their checksum."""
        if name not in self._extents:
            known = ", ".join(sorted(self._extents)) or "none"
            raise StoreError(f"{shown(self._path)}: has no blob {name!r}; it has: {known}")
        extent = self._extents[name]
        view = self._view[extent.start : extent.end]
        if zlib.crc32(view) != extent.checksum:
            raise StoreError(
                f"{shown(self._path)}: the bytes of blob {name!r} have changed since they were "
                f"written: {CREATE_AGAIN}"
            )
        return view
