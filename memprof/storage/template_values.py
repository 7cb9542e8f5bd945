"""Nested values: made immutable, compared with a template's, copied, and changed array by array."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from memprof.storage.constants import constant
from memprof.storage.flatten import NotStorable, is_objects
from memprof.storage.layout import ATOMS, LARGE_BYTES, Layout, copied, is_value, plain

_CONTAINERS = (list, tuple, dict, np.ndarray)
_PLAIN = (type(None), bool, int, float, complex, str)


def plain_content(values: list[Any]) -> bytes:
    """Bytes that are equal only for equal nested atoms of equal types."""
    return marshal.dumps(values, 2)  # version 2 has no marks for sharing


def is_plain(value: Any) -> bool:
    """Whether marshal's bytes identify the value completely."""
    if type(value) in (list, tuple):
        return all(type(each) in _PLAIN or is_plain(each) for each in value)
    if type(value) is dict:
        return all(is_plain(key) and is_plain(element) for key, element in value.items())
    return type(value) in _PLAIN


def same(value: Any, known: Any) -> bool:
    """Whether a value certainly equals the template's; large arrays count by identity only."""
    if value is known:
        return True
    kind = type(value)
    if kind is not type(known):
        return False
    if kind is np.ndarray:
        return _same_array(value, known)
    if kind is list or kind is tuple:
        return len(value) == len(known) and (
            all(map(is_, value, known)) or all(map(same, value, known))
        )
    if kind is dict:
        return same([*value], [*known]) and all(map(same, value.values(), known.values()))
    if kind is float or kind is complex:
        return plain_content([value]) == plain_content([known])
    return kind in ATOMS and bool(value == known)


def _same_array(value: np.ndarray, known: np.ndarray) -> bool:
    if value.shape != known.shape or value.dtype != known.dtype:
        return False
    if value.dtype.char == "O":
        if value.flags.writeable != known.flags.writeable:
            return False
        if value.ndim != 1:
            value, known = value.ravel(), known.ravel()
        return same(value.tolist(), known.tolist())
    return (
        value.nbytes < LARGE_BYTES
        and value.strides == known.strides
        and value.tobytes() == known.tobytes()
        and value.dtype.char == known.dtype.char
    )


def all_same(layout: Layout, value: Any, known: Any) -> bool:
    """Whether a container was found to hold what the template holds, element by element."""
    if layout[0] == "=":
        return True
    if layout[0] == "F":
        frozen = type(known) is np.ndarray and not known.flags.writeable
        return frozen and all_same(layout[1], value, known)
    if layout[0] == "o":
        same = type(known) is np.ndarray and known.shape == value.shape
        return same and all(inner == ("=",) for inner in layout[2:])
    if layout[0] in "lt":
        same = type(known) is type(value) and len(known) == len(value)
        return same and all(inner == ("=",) for inner in layout[1:])
    return False


def copier(value: Any, shares: bool) -> Callable[[Any], Any]:
    """A function that copies a value of the template as `_copied` does: at once, if everything in a
    container is shared."""
    if shares and type(value) is np.ndarray and value.dtype != object:
        return _itself
    writable = is_objects(value) and value.ndim == 1 and value.flags.writeable
    if shares and (writable or type(value) is list):
        elements = value.tolist() if is_objects(value) else value
        if all(type(each) is np.ndarray and each.dtype != object for each in elements):
            return np.ndarray.copy if writable else list
    return partial(_copied, shares=shares)


def _itself(value: Any) -> Any:
    return value


def _copied(value: Any, shares: bool) -> Any:
    """New containers around the same atoms and, if it `shares`, the same constants; large ones in
    any case."""
    if is_objects(value):
        copy = value.copy()
        for position, element in enumerate(value.ravel().tolist()):
            if not shares or type(element) is not np.ndarray or element.dtype == object:
                copy.reshape(-1)[position] = _copied(element, shares)
        copy.flags.writeable = value.flags.writeable
        return copy
    if type(value) is np.ndarray:
        return value if shares or value.nbytes >= LARGE_BYTES else copied(value)
    if type(value) is list:
        return [
            _copied(element, shares) if type(element) in _CONTAINERS else element
            for element in value
        ]
    if type(value) is tuple:
        return tuple(_copied(element, shares) for element in value)
    if type(value) is dict:
        return {key: _copied(element, shares) for key, element in value.items()}
    return value


class Constants:
    """Constants of one agent, in which arrays that are two objects stay two.

    Two factors whose priors are equal at first must not become one array: PyMDP copies priors with
    `copy.deepcopy`, which would keep them one, and then writes into one of them.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._used: set[int] = set()

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The constant for `array`; another view of it if another array of the agent has it."""
        known = self._known.get(id(array))
        if known is not None:
            return known[1]
        found = constant(array)
        if id(found) in self._used:
            found = found.view()
        self._used.add(id(found))
        self._known[id(array)] = array, found
        return found


class Frozen:
    """Copies of nested containers in which every array is a constant, and what is one stays one."""

    def __init__(self) -> None:
        self._constants = Constants()
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """The copy of a value.

        Raises:
            NotStorable: there is no exact one.
        """
        if is_value(value):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = value, self._copy(value)
        return self._known[id(value)][1]

    def _copy(self, value: Any) -> Any:
        if is_objects(value):
            copy = filled(value, map(self, value.ravel().tolist()))
            copy.flags.writeable = value.flags.writeable
            return copy
        if type(value) is np.ndarray and plain(value.dtype) and value.flags.aligned:
            return self._constants(value)
        if type(value) in (list, tuple):
            return type(value)([each if type(each) in ATOMS else self(each) for each in value])
        if type(value) is dict and all(map(is_value, value)):
            return {key: self(element) for key, element in value.items()}
        raise NotStorable(type(value).__qualname__)


def filled(like: np.ndarray, elements: Iterable[Any]) -> np.ndarray:
    """A writable object array like another one, with these elements in C order."""
    made = like.copy()
    flat = made.reshape(-1)
    for position, element in enumerate(elements):
        flat[position] = element
    return made


def with_arrays_changed(value: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Nested object arrays with every array inside changed; the same object if none is."""
    if is_objects(value):
        elements = value.ravel().tolist()
        changed = [with_arrays_changed(element, change) for element in elements]
        if all(new is old for new, old in zip(changed, elements, strict=True)):
            return value
        return filled(value, changed)
    return change(value) if type(value) is np.ndarray else value


def arrays_in(values: list[Any]) -> Iterator[np.ndarray]:
    """The arrays of numbers in lists, tuples, dicts and object arrays."""
    while values:
        value = values.pop()
        if type(value) is dict:
            values += value.values()
        elif type(value) in (list, tuple):
            values += value
        elif is_objects(value):
            values += value.ravel().tolist()
        elif type(value) is np.ndarray:
            yield value
