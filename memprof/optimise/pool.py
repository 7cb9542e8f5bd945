"""Pass `pool`: PyMDP computes without its large temporaries, and remembers what is constant.

What kernels know: of constants, found once, checked once, forgotten with the array; and of kinds
of calls, checked once.

The structure of PyMDP's matrices, and why computing from it alone gives the same bits: it holds for
numbers in [0, 2), where 0 * x is +0.0, adding +0.0 changes no bit, and nothing overflows. What is
left of a sum are its nonzero terms, and their order and rounding decide.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from memprof.optimise import Setting
from memprof.storage.constants import forgetting, is_constant
from memprof.values.measurements import Effect

if TYPE_CHECKING:
    from memprof.optimise.kernels import Kernels

_users: list[Pool] = []
_changing = threading.RLock()  # again in one thread: a population may be finalised within


class Pool(Setting):
    """Puts other functions in the place of PyMDP's own while a population with this pass is in use.

    They give the same bits, and each is compared with PyMDP's before it is trusted
    (`memprof.optimise.kernels`). Functions that memprof does not know, of another release or a
    user's, stay (`memprof.upstream.functions`). Facts are remembered of arrays that never change
    only, so this pass does most after one that shares arrays. All populations of the process use
    the same functions.
    """

    def __init__(self) -> None:
        self._kernels: Kernels | None = None

    def install(self) -> None:
        from memprof.optimise.kernels import Kernels  # needs PyMDP, which others may import first

        with _changing:
            others = [user._kernels for user in _users if user._kernels is not None]
            _users.append(self)
            self._kernels = others[0] if others else Kernels()
            if not others:
                self._kernels.install()

    def close(self) -> None:
        with _changing:
            if self in _users:
                _users.remove(self)
            if self._kernels is not None and not _users:
                self._kernels.remove()
            self._kernels = None

    def effect(self) -> Effect:
        if self._kernels is None:
            return Effect()
        names = self._kernels.replaced()
        return Effect(f"in place of PyMDP's own: {', '.join(names) or 'no function'}")

    def not_replaced(self) -> dict[str, str]:
        return {} if self._kernels is None else self._kernels.not_replaced()


F = TypeVar("F")
R = TypeVar("R")


@dataclass(slots=True)
class Case(Generic[F]):
    """The facts that a kernel needs about its arguments, or None where it cannot be used.

    `proven` is set when the kernel's first result had the bits of PyMDP's.
    """

    facts: F | None
    proven: bool = False


def settle(cases: Iterable[Case[Any]], result: R, expected: R) -> R:
    """PyMDP's result, which decides whether the kernel is used for these cases from now on."""
    equal = _same_bits(result, expected)
    for case in cases:
        case.proven = equal
        if not equal:
            case.facts = None
    return expected


def _same_bits(result: Any, expected: Any) -> bool:
    if type(result) is not type(expected):
        return False
    mine, theirs = np.asarray(result), np.asarray(expected)
    if mine.dtype != theirs.dtype or mine.shape != theirs.shape or _steps(mine) != _steps(theirs):
        return False
    if mine.dtype == object:
        return all(map(_same_bits, mine.flat, theirs.flat))
    if mine.ndim > 1:  # row by row: copies of all of it take as much as the arrays
        return all(map(_same_bytes, mine, theirs))
    return _same_bytes(mine, theirs)


def _same_bytes(mine: np.ndarray, theirs: np.ndarray) -> bool:
    return mine.tobytes() == theirs.tobytes()


def _steps(array: np.ndarray) -> list[int]:
    """Strides, of dimensions that have more than one entry."""
    sizes = zip(array.strides, array.shape, strict=True)
    return [stride for stride, size in sizes if size > 1]


class Kinds:
    """Cases of calls for which a kernel computes PyMDP's bits whatever the numbers are: what a kind
    names decides alone on how they are computed."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Case[bool]] = {}

    def of(self, kind: Hashable) -> Case[bool]:
        """The case of a kind of call."""
        case = self._known.get(kind)
        return self._known.setdefault(kind, Case(True)) if case is None else case


class Cases(Generic[F]):
    """A kernel's cases by constant, and by a key within the constant (a view of it, say)."""

    def __init__(self, find: Callable[..., F | None]) -> None:
        self._find = find
        self._known: dict[int, tuple[weakref.ref[np.ndarray], dict[Hashable, Case[F]]]] = {}
        self._none: Case[F] = Case(None)

    def of(self, array: np.ndarray, key: Hashable, *arguments: Any) -> Case[F]:
        """The case of `array` and `key`, from `find(*arguments)` the first time.

        Arrays that are no constants have no facts that last, and therefore none at all.
        """
        known = self._known.get(id(array))
        if known is None:
            if not is_constant(array):
                return self._none
            known = self._known[id(array)] = (forgetting(array, self._known), {})
        case = known[1].get(key)
        if case is None:
            case = known[1][key] = Case(self._find(*arguments))
        return case

    def constant_under(self, view: np.ndarray) -> np.ndarray | None:
        """The constant that is `view`, or whose memory it shows; None if there is none.

        Memory that is not NumPy's has an owner that is no array, and there may be arrays of other
        classes on the way.
        """
        owner: Any = view.base if type(view.base) is np.ndarray else view
        if id(owner) in self._known:  # as a rule
            return owner  # type: ignore[no-any-return]
        owner = view
        while isinstance(owner, np.ndarray):
            if is_constant(owner):
                return owner
            owner = owner.base
        return None


_TWO: dict[np.dtype[Any], Any] = {
    np.dtype(np.float64): np.float64(2).view(np.uint64),
    np.dtype(np.float32): np.float32(2).view(np.uint32),
}
# The states that PyMDP's spm_MDP_G looks at, and what it adds inside the logarithm.
NEGLIGIBLE = np.exp(-16)
TINY = 1e-16  # what PyMDP adds inside all other logarithms
_LOG_OF_NOTHING = np.log(np.zeros(64) + TINY)[0]
_FEW_ENTRIES = 2048
_MOST_RANKS = 16


def in_range(array: np.ndarray) -> bool:
    """Whether all numbers are in [0, 2): no sign (so no -0.0), NaN or infinity. No temporary.

    Read as unsigned integers, exactly the bits of these numbers lie below those of 2.0.
    """
    two = _TWO.get(array.dtype)
    if two is None or array.size == 0:
        return False
    return bool(np.maximum.reduce(array.view(two.dtype), axis=None) < two)


@dataclass(frozen=True, slots=True)
class Entries:
    """The nonzero entries of a matrix of `height` rows; `values` is None when all are 1.0.

    Attributes:
        ranks: where no row has many: of every row the column of its first entry, its second, and so
            on (one beyond the last where there is none), and their values.
        identity: whether matrix @ vector is the vector.
    """

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray | None
    height: int
    ranks: tuple[tuple[np.ndarray, np.ndarray | None], ...] | None
    identity: bool

    @classmethod
    def of(cls, matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Entries:
        values = matrix[rows, columns].astype(np.float64)
        ranks = _ranks(rows, columns, values, matrix.shape)
        ones = bool((values == 1.0).all())
        diagonal = np.arange(len(matrix))
        identity = ones and all(np.array_equal(each, diagonal) for each in (rows, columns))
        return cls(rows, columns, None if ones else values, len(matrix), ranks, identity)

    def product(self, vector: np.ndarray) -> np.ndarray:
        """matrix @ vector: each product rounded, then added from 0.0 on, in the entries' order."""
        terms = vector[self.columns]
        if self.values is not None:
            terms *= self.values
        return np.bincount(self.rows, terms, self.height)

    def products(self, vectors: np.ndarray) -> np.ndarray:
        """The same of each row of `vectors`."""
        if self.identity and vectors.shape[1] == self.height:
            return vectors
        if self.ranks is None:
            return np.stack([self.product(vector) for vector in vectors])
        wider = np.zeros((len(vectors), vectors.shape[1] + 1))
        wider[:, :-1] = vectors
        (first, its), *others = self.ranks
        found: np.ndarray = wider.take(first, axis=1)
        if its is not None:
            found *= its
        for columns, values in others:  # adding 0.0 changes no bit
            terms = wider.take(columns, axis=1)
            found += terms if values is None else terms * values
        return found


def _ranks(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, ...]
) -> tuple[tuple[np.ndarray, np.ndarray | None], ...] | None:
    """The first entry of every row, the second of those that have two, and so on."""
    counts = np.bincount(rows, minlength=shape[0])
    if counts.max() > _MOST_RANKS:
        return None
    order = np.argsort(rows, kind="stable")
    starts = np.cumsum(counts) - counts
    found = []
    for place in range(counts.max()):
        has = counts > place
        entries = order[starts[has] + place]
        column, value = np.full(shape[0], shape[1]), np.ones(shape[0])
        column[has], value[has] = columns[entries], values[entries]
        found.append((column, None if (value == 1.0).all() else value))
    return tuple(found)


def dots(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each vector with the other's, or with the only other one, by BLAS's dot as of two."""
    found: np.ndarray = np.matmul(vectors[..., np.newaxis, :], others[..., np.newaxis])
    return found[..., 0, 0]


def gathered(matrix: np.ndarray) -> Entries | None:
    """The entries, if matrix @ vector has the same bits however it is added up.

    That is so if each row has one entry (its product is rounded once, fused or not), or two that
    are 1.0 (their products are exact, and a + b is b + a).
    """
    if not in_range(matrix) or not 0 < np.count_nonzero(matrix) <= 2 * len(matrix):
        return None
    rows, columns = np.nonzero(matrix)
    entries = Entries.of(matrix, rows, columns)
    in_row = np.bincount(rows)[rows]
    ones = entries.values is None or (entries.values == 1.0)
    if not np.all((in_row == 1) | ((in_row == 2) & ones)):
        return None
    return entries


@dataclass(frozen=True, slots=True)
class Surprise:
    """What spm_MDP_G computes of A's columns, one per state: a state's outcomes, and sum p ln p.

    Attributes:
        starts: of each state, its first entry among all outcomes; and the end of all.
        single: whether each has one.
    """

    outcomes: Entries
    certainty: np.ndarray
    starts: np.ndarray
    single: bool

    @classmethod
    def of(cls, likelihood: np.ndarray) -> Surprise | None:
        """Of a likelihood whose entries are worth remembering: few, or few for its size."""
        if likelihood.ndim < 2 or not likelihood.flags.c_contiguous or not in_range(likelihood):
            return None
        if 1 in likelihood.shape[1:]:  # until 0.0.7.1 PyMDP's index has none for such a factor
            return None
        if not 0 < np.count_nonzero(likelihood) <= max(_FEW_ENTRIES, likelihood.size // 8):
            return None
        matrix = likelihood.reshape(len(likelihood), -1)
        states, outcomes = np.nonzero(matrix.T)  # state by state, as PyMDP adds them
        certainty = np.array([_certainty(column) for column in matrix.T])
        starts = np.searchsorted(states, np.arange(matrix.shape[1] + 1))
        single = bool((np.diff(starts) == 1).all())
        return cls(Entries.of(matrix, outcomes, states), certainty, starts, single)

    def under(self, states: np.ndarray) -> tuple[np.ndarray, np.float64]:
        """Expected outcomes and certainty: PyMDP's sums over states, with zeros left out or in."""
        certainty = np.add.accumulate(states * self.certainty)[-1] + 0.0
        return self.outcomes.product(states), certainty

    def gains(self, states: np.ndarray) -> np.ndarray | None:
        """spm_MDP_G under each row of `states`, from those that it looks at; None if it looks at
        none in a row."""
        rows, likely = np.divmod(np.flatnonzero(states > NEGLIGIBLE), states.shape[1])
        if not np.bincount(rows, minlength=len(states)).all():
            return None
        chances = states[rows, likely]
        certainty = np.bincount(rows, chances * self.certainty[likely], len(states))
        terms, entries = chances, likely
        if not self.single:
            counts = self.starts[likely + 1] - self.starts[likely]
            every = np.repeat(np.arange(len(likely)), counts)
            entries = self.starts[likely][every] + np.arange(len(every))
            entries -= np.repeat(np.cumsum(counts) - counts, counts)
            terms, rows = chances[every], rows[every]
        if self.outcomes.values is not None:
            terms = terms * self.outcomes.values[entries]
        size = self.outcomes.height
        places = rows * size + self.outcomes.rows[entries]
        outcomes = np.bincount(places, terms, len(states) * size)
        logs = np.full(len(outcomes), _LOG_OF_NOTHING)
        logs[places] = np.log(outcomes[places] + TINY)
        shape = len(states), size
        found: np.ndarray = certainty - dots(outcomes.reshape(shape), logs.reshape(shape))
        return found


def _certainty(column: np.ndarray) -> np.float64:
    outcomes = column.astype(np.float64)
    result: np.float64 = outcomes.dot(np.log(outcomes + NEGLIGIBLE))
    return result
