"""The last checkpoint of a store, which is what the store holds until the next one.

Records are replaced where they are, as ever. What they replace is kept in `undo`, a database of its
own in the same LMDB environment, under the same keys: a change and what it replaces are one
transaction, and a checkpoint is one, which drops all that was kept. Whoever opens the store for
writing puts back what a killed process had kept; whoever only reads looks there first.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import lmdb

from memprof.storage.header import check_tree

if TYPE_CHECKING:
    _Transaction = lmdb.Transaction[memoryview]

_NAME = b"undo"  # a key after that of every index: names hold no NUL
_THEN = b"then"
_NUMBER_BYTES, _CHECKSUM_BYTES = 8, 4


class Counts(NamedTuple):
    """How many records there are, with those that were removed, and how many those are."""

    records: int
    removed: int


class Begun(Exception):
    """The writing process has made the store's first checkpoint: open what it keeps, and ask
    again."""


class Undo:
    """What the records were at the last checkpoint, as far as they have changed since.

    Attributes:
        then: the counts at the last checkpoint that this process has made or opened for writing;
            None where there was none.
    """

    def __init__(self, env: lmdb.Environment, salt: int) -> None:
        self._env = env
        self._salt = salt
        self._kept: lmdb._Database | None = None
        self.then: Counts | None = None

    def open(self) -> None:
        """Open what is kept, if there was a checkpoint; outside of all transactions."""
        with self._env.begin(buffers=True) as transaction:
            found = transaction.get(_NAME)
            if found is None:
                return
            check_tree(bytes(found))
        self._kept = self._env.open_db(_NAME, create=False)

    def counts(self, transaction: _Transaction) -> Counts | None:
        """Those of the last checkpoint; None where there was none.

        Raises:
            Begun: as it says.
            lmdb.InvalidError: they are damaged.
        """
        if self._kept is None:
            if transaction.get(_NAME) is not None:
                raise Begun
            return None
        value = bytes(transaction.get(_THEN, db=self._kept) or b"")
        numbers = value[_CHECKSUM_BYTES:]
        if value != self._checked(numbers) or len(numbers) != 2 * _NUMBER_BYTES:
            raise lmdb.InvalidError("what it keeps of its last checkpoint is damaged")
        first, second = numbers[:_NUMBER_BYTES], numbers[_NUMBER_BYTES:]
        return Counts(int.from_bytes(first, "big"), int.from_bytes(second, "big"))

    def value(self, transaction: _Transaction, key: bytes) -> memoryview | None:
        """What was there at the last checkpoint, if it has changed since."""
        return None if self._kept is None else transaction.get(key, db=self._kept)

    def keep(self, transaction: _Transaction, index: int, key: bytes) -> None:
        """Keep a record that is about to change for the first time."""
        if self.then is None or index >= self.then.records:
            return
        if self.value(transaction, key) is None:
            transaction.put(key, bytes(transaction.get(key) or b""), db=self._kept)

    def drop(self, transaction: _Transaction, now: Counts) -> lmdb._Database:
        """Make the present the last checkpoint. Once that is committed, tell `dropped`."""
        kept = self._env.open_db(_NAME, txn=transaction)
        transaction.drop(kept, delete=False)
        numbers = b"".join(number.to_bytes(_NUMBER_BYTES, "big") for number in now)
        transaction.put(_THEN, self._checked(numbers), db=kept)
        return kept

    def dropped(self, kept: lmdb._Database, now: Counts) -> None:
        """A checkpoint was committed."""
        self._kept, self.then = kept, now

    def restore(self, transaction: _Transaction, then: Counts) -> None:
        """Put back what was there at the last checkpoint, and take away what has come since."""
        added = transaction.cursor()
        if added.set_range(then.records.to_bytes(_NUMBER_BYTES, "big")):
            while len(added.key()) == _NUMBER_BYTES and added.delete():
                pass
        for key, value in transaction.cursor(db=self._kept):
            if len(key) == _NUMBER_BYTES:
                if int.from_bytes(key, "big") >= then.records:
                    raise lmdb.InvalidError("it keeps a record that its last checkpoint has not")
                transaction.put(bytes(key), bytes(value))

    def is_empty(self, transaction: _Transaction) -> bool:
        """Whether no record has changed since the last checkpoint."""
        return self._kept is None or transaction.stat(self._kept)["entries"] == 1

    def _checked(self, numbers: bytes) -> bytes:
        return zlib.crc32(numbers, self._salt).to_bytes(_CHECKSUM_BYTES, "big") + numbers


def names(transaction: _Transaction) -> int:
    """How many keys of a store are no record's: that of what is kept, if there is any."""
    return int(transaction.get(_NAME) is not None)


def last_key(transaction: _Transaction) -> bytes | None:
    """The last key of a record; None where there is none."""
    cursor = transaction.cursor()
    if not cursor.last() or (cursor.key() == _NAME and not cursor.prev()):
        return None
    return bytes(cursor.key())
