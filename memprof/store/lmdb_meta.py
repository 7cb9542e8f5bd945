"""The two pages at the start of LMDB's file, which say where all else is: LMDB believes them, and
ends the process over flags that it never sets itself."""

from __future__ import annotations

import struct
from pathlib import Path

import lmdb

_PAGE_HEAD_BYTES = 16
_TREE = "IHHNNNNN"  # page size, flags, depth, pages of three kinds, entries, root
_META = struct.Struct(f"@IIPN{_TREE}{_TREE}NN")
_PAGE_BYTES = [1 << exponent for exponent in range(9, 17)]
_FREE_FLAGS, _MAIN_FLAGS = 0x08, 0  # the keys of the tree of free pages are numbers
_DEEPEST = 32


def check_meta(path: Path) -> None:
    """Refuse a file whose first two pages no writer of ours has written.

    Raises:
        lmdb.InvalidError: as it says.
    """
    page_bytes = 0
    with path.open("rb") as file:
        for _ in range(2):
            file.seek(page_bytes + _PAGE_HEAD_BYTES)
            found = file.read(_META.size)
            if len(found) < _META.size:
                raise lmdb.InvalidError("it ends in its first pages")
            _, _, address, _, page_bytes, free_flags, free_depth, *rest = _META.unpack(found)
            main_flags, main_depth = rest[6:8]
            if (
                address != 0
                or page_bytes not in _PAGE_BYTES
                or (free_flags, main_flags) != (_FREE_FLAGS, _MAIN_FLAGS)
                or max(free_depth, main_depth) > _DEEPEST
            ):
                raise lmdb.InvalidError("its first pages are damaged")
