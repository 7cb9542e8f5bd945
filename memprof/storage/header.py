"""A store's folder: its place, filled in one step, and as it was when that fails; the file that
makes it a store, with format, identity of the template and where its blobs are; the two pages at
the start of LMDB's file, which say where all else is: LMDB believes them, and ends the process over
flags that it never sets itself; and the lock of the one process that writes.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

import lmdb

from memprof.errors import StoreError
from memprof.posix import check_can_lock, lock
from memprof.storage.untrusted import (
    CREATE_AGAIN,
    cannot_create,
    check_regular,
    is_count,
    parsed,
    read_at_most,
    reason,
    shown,
)

IDENTITY_BYTES = 16

_NAME = "store.json"
JAX_HEADER = "jax-agents.json"
"""The file that makes a folder a store of JAX agents, which step as arrays."""
FORMAT = "memprof.store/4"
"""What a store calls itself; it changes with what a store holds."""
_FAMILY, _VERSION = FORMAT.split("/")
_MOST_BYTES = 1 << 20  # some 15,000 blobs; reading as much takes a few megabytes and milliseconds
_EXTENT_BYTES = 25  # of an object or list on average: extents have 33 and more


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a blob is in the file of blobs, and the CRC-32 of its bytes."""

    start: int
    size: int
    checksum: int

    @property
    def end(self) -> int:
        return self.start + self.size

    @classmethod
    def of(cls, value: Any) -> Self:
        """The extent that a value of JSON describes; a ValueError if it describes none."""
        if type(value) is not dict or [*value] != ["start", "size", "checksum"]:
            raise ValueError("expected start, size and checksum of each blob")
        if not all(map(is_count, value.values())):
            raise ValueError("expected whole numbers for each blob")
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Header:
    """What a store holds besides its records.

    Attributes:
        identity: digest of the template that the records are differences from.
        blobs: by name.
    """

    identity: bytes
    blobs: Mapping[str, Extent]

    def write(self, folder: Path) -> None:
        """Make the folder a store."""
        data = self._encoded()
        if len(data) > _MOST_BYTES:
            raise StoreError(
                f"{shown(folder)}: expected at most about 15,000 large arrays in an agent, found "
                f"{len(self.blobs)} blobs: {_NAME} would have no room for them; leave mmap out"
            )
        (folder / _NAME).write_bytes(data)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The header of a store; a StoreError where there is none, or not a usable one."""
        _check_folder(folder)
        try:
            data = read_at_most(folder / _NAME, _MOST_BYTES)
            whole = parsed(data, each_bytes=_EXTENT_BYTES)
            family, version = _format(whole)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{shown(folder)}: is not a store of memprof ({_NAME}: {reason(error)}): give "
                "another folder"
            ) from error
        if family != _FAMILY:
            raise StoreError(
                f"{shown(folder)}: is not a store of memprof but of {family}: give another folder"
            )
        if version != _VERSION:
            raise StoreError(
                f"{shown(folder)}: has format {version}, and this version of memprof reads format "
                f"{_VERSION}: {CREATE_AGAIN}"
            )
        try:
            header = cls._of(whole.get("content"))
            # There is one way to write it, so this compares checksum, types and order too.
            if header._encoded() != data:
                raise ValueError("it would be written otherwise")
        except ValueError as error:
            raise StoreError(
                f"{shown(folder)}: {_NAME} has changed since it was written ({error}): "
                f"{CREATE_AGAIN}"
            ) from error
        return header

    @classmethod
    def _of(cls, content: Any) -> Self:
        """The header that a value of JSON describes; a ValueError if it describes none."""
        if type(content) is not dict or [*content] != ["identity", "blobs"]:
            raise ValueError("expected identity and blobs")
        identity, blobs = content.values()
        if type(identity) is not str or type(blobs) is not dict:
            raise ValueError("expected identity as text, blobs by name")
        header = cls(bytes.fromhex(identity), {n: Extent.of(value) for n, value in blobs.items()})
        if len(header.identity) != IDENTITY_BYTES:
            raise ValueError(f"expected an identity of {IDENTITY_BYTES} bytes")
        last = 0
        for extent in sorted(header.blobs.values(), key=lambda extent: (extent.start, extent.end)):
            if extent.start < last:
                raise ValueError("blobs overlap")
            last = extent.end
        return header

    def _encoded(self) -> bytes:
        content = {
            "identity": self.identity.hex(),
            "blobs": {name: asdict(extent) for name, extent in self.blobs.items()},
        }
        whole = {
            "format": FORMAT,
            "checksum": zlib.crc32(_compact(content)),
            "content": content,
        }
        return _compact(whole)


def _check_folder(folder: Path) -> None:
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except FileNotFoundError:
        raise StoreError(
            f"{shown(folder)}: there is no such folder: create the store first"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{shown(folder)}: cannot be opened ({reason(error)}): give the folder of a store"
        ) from error
    if not is_folder:
        raise StoreError(f"{shown(folder)}: is not a folder: give the folder of a store")


def _format(whole: Any) -> tuple[str, str]:
    """Family and version of a format; a ValueError if there is none."""
    name = whole.get("format") if type(whole) is dict else None
    if type(name) is not str or len(name) > 100 or not name.isprintable():
        raise ValueError("names no format")
    family, _, version = name.partition("/")
    return family, version


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_PAGE_HEAD_BYTES = 16
_TREE = "IHHNNNNN"  # page size, flags, depth, pages of three kinds, entries, root
_META = struct.Struct(f"@IIPN{_TREE}{_TREE}NN")
_PAGE_BYTES = [1 << exponent for exponent in range(9, 17)]
_FREE_FLAGS, _MAIN_FLAGS = 0x08, 0  # the keys of the tree of free pages are numbers
_DEEPEST = 32


def check_meta(path: Path) -> None:
    """Refuse a file whose first two pages memprof did not write.

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


def check_tree(found: bytes) -> None:
    """Refuse a database in the file that memprof did not make.

    Raises:
        lmdb.InvalidError: as it says.
    """
    tree = struct.Struct(f"@{_TREE}")
    if len(found) == tree.size:
        _, flags, depth, *_ = tree.unpack(found)
        if flags == _MAIN_FLAGS and depth <= _DEEPEST:
            return
    raise lmdb.InvalidError("a database in it is damaged")


_NAMED_CHARACTERS = 32  # characters of the store's name in its draft's, which has to fit too


class Place:
    """A folder that is new or empty, for a store.

    Raises:
        StoreError: no store can be created there; the message says why, and what it takes.
    """

    def __init__(self, folder: Path) -> None:
        check_can_lock()
        try:
            self.folder = folder.absolute()
            self._is_new = self._look()
            self._made: int | None = None
        except (OSError, ValueError) as error:
            raise cannot_create(folder, error) from error

    def check(self) -> None:
        """Refuse the place now, rather than when there is something to store."""
        try:
            with self.draft():
                pass
        except (OSError, ValueError) as error:
            raise cannot_create(self.folder, error) from error

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A hidden folder `.NAME.*` beside the place, gone when the block ends; unless the process
        is killed, or the draft was published."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        name = f".{self.folder.name[:_NAMED_CHARACTERS]}.{secrets.token_hex(4)}"
        draft = self.folder.parent / name
        try:
            draft.mkdir()
            self._made = draft.stat().st_ino
            if not self._is_new:
                shutil.copymode(self.folder, draft)
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def publish(self, draft: Path) -> None:
        """Let the draft become the folder, in one step."""
        self._look()
        draft.rename(self.folder)

    def clear(self) -> None:
        """Take away what was published, if it was: the place is new or empty again."""
        try:
            published = self.folder.lstat().st_ino == self._made
        except OSError:
            return
        if published and self._is_new:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif published:
            for path in self.folder.iterdir():
                path.unlink(missing_ok=True)

    def _look(self) -> bool:
        """Whether the folder is new; an OSError if it is neither new nor empty."""
        try:
            self.folder.lstat()
        except FileNotFoundError:
            return True
        if self.folder.is_symlink():
            raise OSError(errno.ENOTDIR, "it is a link")
        with os.scandir(self.folder) as entries:
            if next(entries, None) is not None:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        return False


_WRITER = "writer"


def lock_for_writing(folder: Path) -> IO[bytes]:
    """The lock of a store, as a file to close; the kernel frees it when the process dies.

    It is the process's own: a forked process does not inherit it, and a second one in the same
    process would succeed.
    """
    check_can_lock()
    path = folder / _WRITER
    with suppress(FileNotFoundError):
        check_regular(path)
    file = path.open("a+b")
    try:
        lock(file)
    except BlockingIOError:
        with file:
            raise StoreError(
                f"{shown(folder)}: process {_number(file)} has it open for writing: wait until it "
                "ends, or open it with readonly=True"
            ) from None
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    return file


def _number(file: IO[bytes]) -> str:
    file.seek(0)
    number = file.read(20)
    return number.decode() if number.isdigit() else "of unknown number"
