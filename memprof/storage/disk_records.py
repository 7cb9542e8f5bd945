"""Records and the template's arrays in a folder on disk, memory-mapped.

    store.json     format, identity of the template, where its blobs are; published last
    template.bin   the blobs of the template, aligned; never written again
    data.mdb       the records, in LMDB: index (8 bytes, big-endian) -> CRC-32 and record; of one
                   that was removed, the CRC-32 of that alone; and how many those are; since the
                   first checkpoint also what the records were at the last one
    lock.mdb       LMDB's table of readers
    writer         locked by the process that has the store open for writing

A record that was written survives the death of the process at any moment: it is committed, and in
the page cache; once there are checkpoints, what counts is the last one. Nothing is flushed to the
disk by force, so a power cut can damage the store.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, TypeVar

import lmdb

from memprof.errors import StoreError
from memprof.storage.checkpoints import Begun, Counts, Undo, last_key, names
from memprof.storage.header import Header, Place, check_meta, lock_for_writing
from memprof.storage.records import Blobs, has_left, not_negative, write_blobs
from memprof.storage.untrusted import CREATE_AGAIN, cannot_create, check_regular, failure, shown

if TYPE_CHECKING:
    from typing_extensions import Buffer

    _Transaction = lmdb.Transaction[memoryview]

_BLOBS, _DATA, _READERS = "template.bin", "data.mdb", "lock.mdb"
_FIRST_MAP_BYTES = 64 << 20
_KEY_BYTES, _CHECKSUM_BYTES, _REMOVED_BYTES = 8, 4, 8
_REMOVED = b"\0"  # a key before that of every index

_T = TypeVar("_T")


class DiskRecords:
    """The records of one population, on disk; open in one process for writing, in many to read.

    Every `append` and every assignment is a transaction of its own, committed when it returns.
    Methods may be called from any thread. A forked process closes it and opens it for itself.
    """

    @classmethod
    def create(cls, folder: Path, identity: bytes, blobs: Mapping[str, Buffer]) -> Self:
        """Make a store without records in a new or empty folder, and open it for writing.

        `identity` is a digest of the template; `blobs` are its C-contiguous arrays and its
        description. The folder appears in one step, complete; a process that is killed before
        leaves a hidden folder `.NAME.*` beside it, and any exception leaves nothing.
        """
        place = Place(folder)
        with cls._draft(place, identity, blobs):
            pass
        try:
            created = cls.open(place.folder, identity)
        except BaseException:
            place.clear()
            raise
        created._place = place
        return created

    @classmethod
    @contextmanager
    def draft(cls, folder: Path, identity: bytes, blobs: Mapping[str, Buffer]) -> Iterator[Self]:
        """As `create`, but the folder appears when the block ends, with the records that were
        written in it."""
        with cls._draft(Place(folder), identity, blobs) as records:
            yield records

    @classmethod
    @contextmanager
    def _draft(cls, place: Place, identity: bytes, blobs: Mapping[str, Buffer]) -> Iterator[Self]:
        with ExitStack() as stack:
            with _creating(place):
                draft = stack.enter_context(place.draft())
                header = Header(identity, write_blobs(draft / _BLOBS, blobs))
                lmdb.open(str(draft), map_size=_FIRST_MAP_BYTES, sync=False).close()
                os.truncate(draft / _DATA, _FIRST_MAP_BYTES)
                records = cls(draft, header, readonly=False)
            try:
                yield records
            finally:
                records.close()
            with _creating(place):
                header.write(draft)
                place.publish(draft)

    def discard(self) -> None:
        """Close a store that this process has created, and leave its place as it was before."""
        self.close()
        if self._place is not None and os.getpid() == self._process:
            self._place.clear()

    @classmethod
    def open(cls, folder: Path, identity: bytes | None, *, readonly: bool = False) -> Self:
        """Open a store; with an `identity`, only one of the same template."""
        header = Header.read(folder)
        if identity is not None and identity != header.identity:
            raise StoreError(
                f"{shown(folder)}: belongs to another template (identity {header.identity.hex()}, "
                f"expected {identity.hex()}): give another folder, or {CREATE_AGAIN}"
            )
        try:
            return cls(folder.absolute(), header, readonly)
        except (OSError, ValueError, lmdb.Error) as error:
            raise failure(f"{shown(folder)}: the store cannot be opened", error) from error

    def __init__(self, folder: Path, header: Header, readonly: bool) -> None:
        """Use `create` or `open`."""
        self.readonly = readonly
        self._folder = folder
        self._place: Place | None = None
        check_regular(folder / _DATA)
        with suppress(FileNotFoundError):
            check_regular(folder / _READERS)
        self._blobs = Blobs(folder / _BLOBS, header.blobs)
        self._salt = zlib.crc32(header.identity)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._writer: IO[bytes] | None = None
        self._check_size(_FIRST_MAP_BYTES)  # LMDB takes an empty file for a new one
        check_meta(folder / _DATA)
        self._env = lmdb.open(
            str(folder),
            map_size=self._data_bytes(),
            max_dbs=1,
            readonly=readonly,
            create=False,
            sync=False,
            writemap=False,  # on a full disk, writing to the map would kill the process
            max_spare_txns=0,  # a spare one has a slot in lock.mdb, which a forked child would free
        )
        self._undo = Undo(self._env, self._salt)
        try:
            self._check_size((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])
            if not readonly:
                # After LMDB's own refusal to open an environment twice in a process, in which a
                # second lock would succeed, and its release free the first.
                self._writer = lock_for_writing(folder)
                self._env.reader_check()
            self._check_counts()
            if not readonly:
                self._undo.then = self._transact(self._restore, write=True)
        except BaseException:
            self.close()
            raise

    def append(self, record: bytes) -> int:
        """Add a record and return its index."""

        def add(transaction: _Transaction) -> int:
            index = self._count(transaction)
            last = not self.has_checkpoint  # of all keys
            transaction.put(_key(index), self._checksum(index, record) + record, append=last)
            return index

        return self._transact(add, write=True)

    def skip(self, count: int) -> None:
        """Let the next indices, so many, be those of removed records."""

        def add(transaction: _Transaction) -> None:
            first = self._count(transaction)
            for index in range(first, first + count):
                transaction.put(_key(index), self._tombstone(index))
            self._put_removed(transaction, self._removed(transaction) + count)

        if count:
            self._transact(add, write=True)

    def __len__(self) -> int:
        return self._transact(self._count)

    @property
    def removed(self) -> int:
        """The number of removed records."""
        return self._transact(self._removed)

    def __contains__(self, index: int) -> bool:
        def there(transaction: _Transaction) -> bool:
            value = self._value(transaction, index)
            return value is not None and value != self._tombstone(index)

        return index >= 0 and self._transact(there)

    def __getitem__(self, index: int) -> bytes:
        def get(transaction: _Transaction) -> bytes:
            value = self._value(transaction, index)
            if value is None:
                self._check_there(index, transaction)
                raise self._damaged(f"record {index} is missing")
            record = value[_CHECKSUM_BYTES:]
            if value[:_CHECKSUM_BYTES] != self._checksum(index, record):
                self._check_there(index, transaction)
                raise self._damaged(f"record {index} has changed since it was written")
            return bytes(record)

        return self._transact(get)

    def __setitem__(self, index: int, record: bytes) -> None:
        def replace(transaction: _Transaction) -> None:
            self._check_there(index, transaction)
            self._undo.keep(transaction, index, _key(index))
            transaction.put(_key(index), self._checksum(index, record) + record)

        self._transact(replace, write=True)

    def __delitem__(self, index: int) -> None:
        def remove(transaction: _Transaction) -> None:
            self._check_there(index, transaction)
            self._undo.keep(transaction, index, _key(index))
            transaction.delete(_key(index))  # only so do pages that are almost empty become one
            transaction.put(_key(index), self._tombstone(index))
            self._put_removed(transaction, self._removed(transaction) + 1)

        self._transact(remove, write=True)

    @property
    def has_checkpoint(self) -> bool:
        """Whether what is written counts from the next checkpoint on only."""
        return self._undo.then is not None

    def checkpoint(self) -> None:
        """Let the store hold what it does now, for whoever opens it, until the next checkpoint."""

        def drop(transaction: _Transaction) -> tuple[lmdb._Database, Counts]:
            now = self._now(transaction)
            return self._undo.drop(transaction, now), now

        self._undo.dropped(*self._transact(drop, write=True))

    def _restore(self, transaction: _Transaction) -> Counts | None:
        """Take back what a process that was killed has written since its last checkpoint."""
        then = self._undo.counts(transaction)
        if then is not None:
            now = self._now(transaction)
            if now != then or not self._undo.is_empty(transaction):
                self._undo.restore(transaction, then)
                self._put_removed(transaction, then.removed)
                self._undo.drop(transaction, then)
        return then

    def blob(self, name: str) -> memoryview:
        """A blob of the template: read-only, aligned to 64 bytes, in pages that processes share.

        Reads the blob once, to check it. The view stays valid after `close`.
        """
        return self._blobs[name]

    @property
    def blob_bytes(self) -> int:
        """Bytes of all blobs."""
        return self._blobs.size

    @property
    def folder(self) -> Path:
        """The store's folder."""
        return self._folder

    @property
    def file_bytes(self) -> int:
        """Bytes that the files of the store take up on disk."""
        return sum(path.stat().st_blocks * 512 for path in self._folder.iterdir())

    def close(self) -> None:
        """Close the store, and let another process write to it."""
        with self._lock:
            self._env.close()
            if self._writer is not None:
                self._writer.close()

    def _transact(self, task: Callable[[_Transaction], _T], *, write: bool = False) -> _T:
        if os.getpid() != self._process:
            raise StoreError(
                f"{shown(self._folder)}: was opened before this process was forked: close it here "
                "and open it again, with readonly=True while the other process writes"
            )
        try:
            with self._lock:
                return self._fitting_map(task, write)
        except (OSError, ValueError, lmdb.Error) as error:
            verb = "written" if write else "read"
            raise failure(f"{shown(self._folder)}: records cannot be {verb}", error) from error

    def _fitting_map(self, task: Callable[[_Transaction], _T], write: bool) -> _T:
        """Run a task in a transaction; run it again if the map had to grow with the data."""
        while True:
            try:
                with self._env.begin(write=write, buffers=True) as transaction:
                    return task(transaction)
            except lmdb.MapFullError:
                # LMDB writes only the pages in use, so its file may well end before the last page
                # that it counts. Made as long as the map, at no room on the disk, a file that ends
                # before that page is a truncated one, which it would be deadly to read.
                os.truncate(self._folder / _DATA, 2 * self._env.info()["map_size"])
                self._env.set_mapsize(self._data_bytes())
            except lmdb.MapResizedError:
                self._env.set_mapsize(0)  # to what the writing process has made it
            except Begun:
                self._undo.open()

    def _data_bytes(self) -> int:
        return (self._folder / _DATA).stat().st_size

    def _check_size(self, needed: int) -> None:
        found = self._data_bytes()
        if found < needed:
            raise self._damaged(f"{_DATA} has {found} bytes instead of at least {needed}")

    def _check_counts(self) -> None:
        """Whether the last index, the number of records and that of removed ones agree."""

        def counts(transaction: _Transaction) -> tuple[int, Counts, Counts | None]:
            others = int(transaction.get(_REMOVED) is not None) + names(transaction)
            then = self._undo.counts(transaction)
            return transaction.stat()["entries"] - others, self._now(transaction), then

        found, (count, removed), then = self._transact(counts)
        if count != found:
            raise self._damaged(f"there are {found} records where the last is number {count - 1}")
        if removed > count:
            raise self._damaged(f"{removed} of {count} records are said to be removed")
        if then is not None and not then.removed <= then.records <= count:
            raise self._damaged(f"its last checkpoint has {then.records} of {count} records")

    def _count(self, transaction: _Transaction) -> int:
        then = self._then(transaction)
        return self._now_count(transaction) if then is None else then.records

    def _removed(self, transaction: _Transaction) -> int:
        then = self._then(transaction)
        return self._now_removed(transaction) if then is None else then.removed

    def _then(self, transaction: _Transaction) -> Counts | None:
        """The last checkpoint, for those who only read and see nothing that is in none yet."""
        return self._undo.counts(transaction) if self.readonly else None

    def _now(self, transaction: _Transaction) -> Counts:
        return Counts(self._now_count(transaction), self._now_removed(transaction))

    def _now_count(self, transaction: _Transaction) -> int:
        """One more than the last index. (Each `stat` churns the interpreter's table of strings.)"""
        key = last_key(transaction)
        if key is None:
            return 0
        if len(key) != _KEY_BYTES:
            raise self._damaged("the last key belongs to no record")
        return int.from_bytes(key, "big") + 1

    def _value(self, transaction: _Transaction, index: int) -> memoryview | None:
        """What counts of a record, with its checksum."""
        key, then = _key(index), self._then(transaction)
        if then is None:
            return transaction.get(key)
        if index >= then.records:
            return None
        return self._undo.value(transaction, key) or transaction.get(key)

    def _check_there(self, index: int, transaction: _Transaction) -> None:
        if index >= self._count(transaction):
            raise IndexError(f"{shown(self._folder)}: there is no record {index}")
        value = self._value(transaction, index)
        if value is not None and value == self._tombstone(index):
            raise IndexError(has_left(index))

    def _now_removed(self, transaction: _Transaction) -> int:
        value = transaction.get(_REMOVED)
        if value is None:
            return 0
        count = bytes(value[_CHECKSUM_BYTES:])
        expected = zlib.crc32(count, self._salt).to_bytes(_CHECKSUM_BYTES, "big")
        if value[:_CHECKSUM_BYTES] != expected or len(count) != _REMOVED_BYTES:
            raise self._damaged("the number of removed records has changed since it was written")
        return int.from_bytes(count, "big")

    def _put_removed(self, transaction: _Transaction, count: int) -> None:
        if not count:
            transaction.delete(_REMOVED)
            return
        removed = count.to_bytes(_REMOVED_BYTES, "big")
        transaction.put(_REMOVED, zlib.crc32(removed, self._salt).to_bytes(4, "big") + removed)

    def _tombstone(self, index: int) -> bytes:
        """The mark in place of a removed record: a checksum alone, which no record is."""
        return self._checksum(index, b"removed")

    def _checksum(self, index: int, record: Buffer) -> bytes:
        """The checksum of a record in its place; it fails for another index or another template."""
        place = zlib.crc32(_key(index), self._salt)
        return zlib.crc32(record, place).to_bytes(_CHECKSUM_BYTES, "big")

    def _damaged(self, found: str) -> StoreError:
        return StoreError(f"{shown(self._folder)}: {found}: the store is damaged, {CREATE_AGAIN}")


@contextmanager
def _creating(place: Place) -> Iterator[None]:
    """A block that creates a store, or leaves the place as it was."""
    try:
        yield
    except BaseException as error:
        place.clear()
        if isinstance(error, OSError | ValueError | lmdb.Error):
            raise cannot_create(place.folder, error) from error
        raise


def _key(index: int) -> bytes:
    return not_negative(index).to_bytes(_KEY_BYTES, "big")
