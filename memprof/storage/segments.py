"""The bits of arrays: compared word by word, and with half of the reading where one of the two is
mostly zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from memprof.storage.layout import order_of

Words = np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]

_WORDS: dict[int, type[np.unsignedinteger[Any]]] = {
    1: np.uint8,
    2: np.uint16,
    4: np.uint32,
    8: np.uint64,
}
# Compared piece by piece, so that the comparison stays in the processor's cache.
_PIECE = 65536
# A segment costs 4 bytes and a word: with at most one per so many words, under a twentieth of the
# array. With more of them NumPy's overhead per segment would exceed what is saved, too.
_WORDS_PER_SEGMENT = 32
# One segment of so many is looked at first, to save reading what is quite another array.
_SAMPLED = 64
# Runs of zeros in which something else was found are searched one by one, up to so many.
_MOST_SEARCHED = 256


def words_of(array: np.ndarray) -> Words | None:
    """The bits of an array in memory order, as unsigned integers as wide as its elements allow; a
    view. None for an array with gaps, or with axes that run backwards."""
    if not array.nbytes:
        return np.empty(0, np.uint8)
    order = order_of(array)
    flat = array if order == "C" else array.transpose(*order)
    if not flat.flags.c_contiguous:
        return None
    size = next(size for size in (8, 4, 2, 1) if array.dtype.itemsize % size == 0)
    return flat.reshape(-1).view(_WORDS[size])


def equal(left: Words, right: Words) -> bool:
    """Whether two arrays of words, equally long, are the same; stops soon after a difference."""
    return all(
        bool((left[start : start + _PIECE] == right[start : start + _PIECE]).all())
        for start in range(0, len(left), _PIECE)
    )


def changes(left: Words, right: Words | None, most: float) -> np.ndarray | None:
    """Where words are not those on the right (None: not zero), ascending, int64; None if there are
    more than `most` such places."""
    found: list[np.ndarray] = []
    total = 0
    for start in range(0, len(left), _PIECE):
        end = start + _PIECE
        places = np.flatnonzero(left[start:end] != (0 if right is None else right[start:end]))
        if len(places):
            total += len(places)
            if total > most:
                return None
            found.append(places + start)
    return np.concatenate(found) if found else np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Segments:
    """An array's words, divided into its nonzero words and the runs of zeros between them.

    The largest word of a segment tells whether it is what it was: of one word it is that word, and
    of a run of zeros it is zero only if all are. So one `np.maximum.reduceat` over another array,
    which reads each of its words once and goes as fast as memory does, compares every bit of both.

    Attributes:
        starts: the first word of each segment, ascending, from 0.
        values: the word in it, or zero.
        size: words in all.
    """

    starts: np.ndarray
    values: Words
    size: int

    @classmethod
    def of(cls, words: Words) -> Segments | None:
        """The segments of some words; None if too many words are nonzero."""
        nonzero = changes(words, None, len(words) / _WORDS_PER_SEGMENT / 2 - 1)
        if nonzero is None:
            return None
        starts = np.unique(np.concatenate(([0], nonzero, nonzero + 1)))
        starts = starts[starts < len(words)]
        kept = starts.astype(np.uint32) if len(words) <= 2**32 else starts
        return cls(kept, words[starts], len(words))

    def equal(self, words: Words) -> bool:
        """Whether these words, equally many, are the array's."""
        if self._sampled_changes(words):
            return False
        return bool((np.maximum.reduceat(words, self.starts) == self.values).all())

    def changes(self, words: Words) -> np.ndarray | None:
        """Where these words, as many, are others: ascending, int64. None where the runs of zeros
        with something else in them are too many to search one by one, or are likely to be."""
        if self._sampled_changes(words) > _MOST_SEARCHED // _SAMPLED:
            return None
        changed = np.flatnonzero(np.maximum.reduceat(words, self.starts) != self.values)
        starts = self.starts[changed].astype(np.int64)
        ends = np.append(self.starts, self.size)[changed + 1]
        runs = np.flatnonzero(ends - starts > 1)
        if len(runs) > _MOST_SEARCHED:
            return None
        found = [np.delete(starts, runs)]
        for run in runs:
            start, end = starts[run], ends[run]
            found.append(np.flatnonzero(words[start:end] != 0) + start)
        return np.sort(np.concatenate(found))

    def _sampled_changes(self, words: Words) -> int:
        found = words[self.starts[::_SAMPLED]] != self.values[::_SAMPLED]
        return int(np.count_nonzero(found))
