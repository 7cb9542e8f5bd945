"""Which functions of PyMDP are those that the kernels were written for: known by their source.

A kernel stands for a function of PyMDP and for all of PyMDP that this function calls. Each of them
has to be in the table below: another release's that differs, or a user's in its place, is not.

What kernels know: of constants, found once, checked once, forgotten with the array; and of kinds
of calls, checked once.

The structure of PyMDP's matrices, and why computing from it alone gives the same bits.

All of it holds for numbers in [0, 2): there, 0 * x is +0.0, adding +0.0 changes no bit, and nothing
overflows. What is left of a sum are its nonzero terms, and their order and rounding decide.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import tokenize
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from memprof.storage.constants import is_constant

# Digests as `read` makes them, of PyMDP 1.0.0 to 1.0.4, which agree in all of these. A function of
# another release comes in when the kernels that rest on it have been read again, and tested.
KNOWN: Mapping[str, frozenset[str]] = {
    f"pymdp.legacy.{name}": frozenset(digests)
    for name, digests in {
        "maths.dot_likelihood": ["f3548fa593f182c4e25cce38b6083919"],
        "maths.softmax": ["e181b60094281cfa729bfc4076611371"],
        "maths.softmax_obj_arr": ["a1728e8e6e8ff43a1cd7913bb0197cdf"],
        "maths.spm_MDP_G": ["ecece088878341ecd7b0749d7b84e00f"],
        "maths.spm_cross": ["7eac089daaee32eeb85c45778d01a415"],
        "maths.spm_dot": ["8c3eb4bc13c3e4aff01e77a60851f998"],
        "maths.spm_log_single": ["018b08b12f88df2b9a38dcf6d2e4e0c8"],
        "control.calc_expected_utility": ["cc1275050c44aed72ab7677c25792b77"],
        "learning.update_obs_likelihood_dirichlet_factorized": ["1accacb2cba2faef45a9cef161a19c57"],
        "learning.update_state_likelihood_dirichlet_interactions": [
            "e4847cd69b06257dcdd6343ab1af5292"
        ],
        "utils.is_obj_array": ["276f68066879ec24fbc706b8a95ec559"],
        "utils.obj_array": ["9c54534eca8a6a7c29c61283d6d578ae"],
        "utils.onehot": ["5524db91a475df33ed5935060af26100"],
        "utils.process_observation": ["c485e1a3f8c2824331ab8b8c97a7f916"],
        "utils.to_obj_array": ["a2a0cc396874256dab5e0e30d2269ab6"],
    }.items()
}


class Place(NamedTuple):
    """Where a function finds something by name at run time: in its own module, or in another."""

    home: dict[str, Any]
    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.home.get('__name__')}.{self.name}"


class Basis:
    """What a kernel rests on: a function of PyMDP, and what it calls there, directly or not.

    It holds functions only, which are not the population's: the ledger does not count PyMDP.

    Attributes:
        unknown: what of it has another source than is known, or none that can be read; None if all
            of it is known.
        stands: tells whether everything is still where it was.
        changed: tells the first name that stands for something else now; None if there is none.
    """

    __slots__ = ("changed", "stands", "unknown")

    def __init__(self, function: Any) -> None:
        self.unknown, places = rests_on(function)
        self.stands = _check(places)
        self.changed: Callable[[], str | None] = lambda: next(
            (str(place) for place in places if place.home.get(place.name) is not place.value), None
        )


def rests_on(function: Any) -> tuple[str | None, list[Place]]:
    """What of a function and of all that it calls is not known, the first thing; and where it finds
    what is PyMDP's."""
    unknown: str | None = None
    places: dict[tuple[int, str], Place] = {}
    waiting, seen = [function], set()
    while waiting:
        each = waiting.pop()
        name = name_of(each)
        if name in seen:
            continue
        seen.add(name)
        digest, named = read(each)
        if digest not in KNOWN.get(name, ()):
            unknown = unknown or name
            continue
        places |= {(id(p.home), p.name): p for p in named if not _is_foreign(p.value)}
        waiting += [place.value for place in named if isinstance(place.value, FunctionType)]
    return unknown, list(places.values())


def _check(places: list[Place]) -> Callable[[], bool]:
    """One expression: it is asked at every call of a kernel, and a loop would take as long as some
    kernels do."""
    names: dict[str, Any] = {}
    terms = ["True"]
    for number, place in enumerate(places):
        names |= {f"home{number}": place.home, f"value{number}": place.value}
        terms.append(f"home{number}[{place.name!r}] is value{number}")
    check: Callable[[], bool] = eval(f"lambda: {' and '.join(terms)}", names)
    return check


def name_of(function: Any) -> str:
    """Where a function says that it was defined."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None)}.{name}"


def read(function: Any) -> tuple[str | None, list[Place]]:
    """The digest of all that decides on what a function computes, but for what other functions do
    that it calls: its source, its defaults, and what the names in it stand for; and those names.

    The source is the syntax tree, without docstring and comments, so that neither a formatter nor
    a release of Python changes the digest. It is None where there is no source, or where that is
    not what runs: a compiled function, a file that was written to since.
    """
    plain = type(function) is FunctionType and not function.__closure__
    source = _source(function.__code__) if plain else None
    if source is None:
        return None, []
    tree, names = source
    places = list(_places(function.__globals__, names))
    stand_for = sorted(f"{place}: {_identity(place.value)}" for place in places)
    all_of_it = tree, function.__defaults__, function.__kwdefaults__, stand_for
    return hashlib.blake2b(repr(all_of_it).encode(), digest_size=16).hexdigest(), places


@lru_cache(maxsize=64)
def _source(code: CodeType) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """The digest of a function's syntax tree, with the names in it, and the attributes that it
    takes of names; if it can be read and is what runs."""
    first = code.co_firstlineno - 1
    try:
        with tokenize.open(code.co_filename) as file:
            lines = file.readlines()
        # Python compiles calls of what a module imports in a way of its own; and lines count.
        above = [line if line.startswith(("import ", "from ")) else "\n" for line in lines[:first]]
        module = ast.parse("".join(above + inspect.getblock(lines[first:])))
        compiled = compile(module, code.co_filename, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return None
    codes = [each for each in compiled.co_consts if isinstance(each, CodeType)]
    if [_bare(each) for each in codes] != [_bare(code)]:
        return None
    tree = module.body[-1]
    names = {(each.id, "") for each in ast.walk(tree) if isinstance(each, ast.Name)}
    names |= {
        (each.value.id, each.attr)
        for each in ast.walk(tree)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name)
    }
    digest = hashlib.blake2b(repr(_canonical(tree)).encode(), digest_size=16)
    return digest.hexdigest(), tuple(sorted(names))


def _bare(code: CodeType) -> CodeType:
    """Code without what says where it came from."""
    constants = tuple(_bare(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename="", co_linetable=b"", co_consts=constants)


def _places(home: dict[str, Any], names: tuple[tuple[str, str], ...]) -> Iterator[Place]:
    """What a function names of its module, and of other modules of PyMDP."""
    for name, attribute in names:
        value = home.get(name)
        if not attribute:
            if name in home:
                yield Place(home, name, value)
        elif isinstance(value, ModuleType) and not _is_foreign(value):
            yield Place(vars(value), attribute, vars(value).get(attribute))


def _is_foreign(value: Any) -> bool:
    """Whether it is a module or a class of another package's, which `pool` has to trust."""
    name = getattr(value, "__module__", None) if isinstance(value, type) else None
    name = value.__name__ if isinstance(value, ModuleType) else name
    return name is not None and name.partition(".")[0] != "pymdp"


def _identity(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    return name_of(value) if callable(value) else repr(value)


def _canonical(node: Any) -> Any:
    """A syntax tree as plain values, the same in every release of Python."""
    if isinstance(node, list):
        return [_canonical(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    fields = [(name, _canonical(value)) for name, value in ast.iter_fields(node)]
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
        fields = [(name, value[1:] if name == "body" else value) for name, value in fields]
    return type(node).__name__, [each for each in fields if each[1] not in (None, [])]


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
            known = self._known[id(array)] = (self._forgetting(array), {})
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

    def _forgetting(self, array: np.ndarray) -> weakref.ref[np.ndarray]:
        """A weak reference that drops the entry before the array's id can be used again."""
        known, number = self._known, id(array)
        return weakref.ref(array, lambda _: known.pop(number, None))


_TWO: dict[np.dtype[Any], Any] = {
    np.dtype(np.float64): np.float64(2).view(np.uint64),
    np.dtype(np.float32): np.float32(2).view(np.uint32),
}
# The states that PyMDP's spm_MDP_G looks at, and what it adds inside the logarithm.
NEGLIGIBLE = np.exp(-16)
_FEW_ENTRIES = 2048


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
    """The nonzero entries of a matrix of `height` rows; `values` is None when all are 1.0."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray | None
    height: int

    @classmethod
    def of(cls, matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Entries:
        values = matrix[rows, columns].astype(np.float64)
        return cls(rows, columns, None if (values == 1.0).all() else values, len(matrix))

    def product(self, vector: np.ndarray) -> np.ndarray:
        """matrix @ vector: each product rounded, then added from 0.0 on, in the entries' order."""
        terms = vector[self.columns]
        if self.values is not None:
            terms *= self.values
        return np.bincount(self.rows, terms, self.height)


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
    """What spm_MDP_G computes of A's columns, one per state: a state's outcomes, and sum p ln p."""

    outcomes: Entries
    certainty: np.ndarray

    @classmethod
    def of(cls, likelihood: np.ndarray) -> Surprise | None:
        """Of a likelihood whose entries are worth remembering: few, or few for its size."""
        if likelihood.ndim < 2 or not likelihood.flags.c_contiguous or not in_range(likelihood):
            return None
        if not 0 < np.count_nonzero(likelihood) <= max(_FEW_ENTRIES, likelihood.size // 8):
            return None
        matrix = likelihood.reshape(len(likelihood), -1)
        states, outcomes = np.nonzero(matrix.T)  # state by state, as PyMDP adds them
        certainty = np.array([_certainty(column) for column in matrix.T])
        return cls(Entries.of(matrix, outcomes, states), certainty)

    def under(self, states: np.ndarray) -> tuple[np.ndarray, np.float64]:
        """Expected outcomes and certainty: PyMDP's sums over states, with zeros left out or in."""
        certainty = np.add.accumulate(states * self.certainty)[-1] + 0.0
        return self.outcomes.product(states), certainty


def _certainty(column: np.ndarray) -> np.float64:
    outcomes = column.astype(np.float64)
    result: np.float64 = outcomes.dot(np.log(outcomes + NEGLIGIBLE))
    return result
