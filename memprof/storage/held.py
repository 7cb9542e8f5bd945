"""What one active agent holds alone: bytes, in tens of microseconds.

An instrument's walk takes too long for every use of an agent. This one leaves out what the template
holds by identity alone, and of long lists looks at some entries only.

Arrays inside nested object arrays, in which PyMDP keeps matrices and beliefs.

What a store knows of its agents' class, to recognise it wherever it lives by then.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Container, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any, Self

import numpy as np

from memprof.errors import StoreError
from memprof.posix import ARRAY_HEADER_BYTES, malloc_block_bytes, small_block_bytes
from memprof.storage.flatten import is_objects
from memprof.storage.header import CREATE_AGAIN
from memprof.storage.history import History
from memprof.storage.untrusted import parsed, shown

_FREE = frozenset((type(None), bool, type, ModuleType, FunctionType, BuiltinFunctionType))
_LONG, _LOOKED_AT = 256, 32
_SMALLEST_CACHED, _LARGEST_CACHED = -5, 256  # integers that the interpreter holds anyway


def held_bytes(things: Iterable[Any], shared: Container[int]) -> int:
    """Bytes of `things` and of all that they refer to, as allocators set them aside, each once.

    What is in `shared` by its id is left out, with all that it refers to; so is what objects of
    other classes refer to, which stay as they are while an agent rests. A list or dict of more than
    256 entries counts as what some 32 of them take, spread evenly, times its length.
    """
    stack: list[Any] = []
    for thing in things:
        stack += [thing] if type(thing) in _PARTS else _referents(thing)
    return _walk(stack, shared, set())


def reachable_ids(things: Iterable[Any]) -> set[int]:
    """The ids of `things` and of all that they refer to, good for as long as they live."""
    seen: set[int] = set()
    stack = list(things)
    while stack:
        thing = stack.pop()
        kind = type(thing)
        if kind not in _FREE and id(thing) not in seen:
            seen.add(id(thing))
            stack.extend(_PARTS.get(kind, _referents)(thing))
    return seen


def _walk(stack: list[Any], shared: Container[int], seen: set[int]) -> int:
    total = 0
    while stack:
        thing = stack.pop()
        kind = type(thing)
        if kind in _FREE or id(thing) in shared:
            continue
        if kind is float:
            total += 32
            continue
        if kind is int:
            if not _SMALLEST_CACHED <= thing <= _LARGEST_CACHED:
                total += small_block_bytes(sys.getsizeof(thing))
            continue
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if kind is np.ndarray:
            total += ARRAY_HEADER_BYTES + malloc_block_bytes(16 * thing.ndim)
            if thing.base is not None:
                stack.append(thing.base)
            else:
                total += malloc_block_bytes(thing.nbytes)
                if thing.dtype.hasobject:
                    stack.extend(thing.ravel(order="K").tolist())
            continue
        total += small_block_bytes(sys.getsizeof(thing))
        if kind in (list, dict) and len(thing) > _LONG:
            entries = thing if kind is list else [*thing.values()]
            some = entries[:: len(thing) // _LOOKED_AT]
            count = len(some)
            total += _walk(some, shared, seen) * len(thing) // count
        elif kind in _PARTS:
            stack.extend(_PARTS[kind](thing))
    return total


def _of_array(array: np.ndarray) -> Iterable[Any]:
    if array.base is not None:
        return (array.base,)
    elements: list[Any] = array.ravel(order="K").tolist() if array.dtype.hasobject else []
    return elements


def _referents(thing: Any) -> Iterable[Any]:
    return [each for each in gc.get_referents(thing) if not isinstance(each, type)]


_PARTS: dict[type, Callable[[Any], Iterable[Any]]] = {
    list: lambda value: value,
    tuple: lambda value: value,
    dict: lambda value: (*value, *value.values()),
    bytes: lambda value: (),
    str: lambda value: (),
    np.ndarray: _of_array,
    # Its layout is one that the agents of a population have in common.
    History: lambda value: (value._chunks, value._data, *value.objects()),
}


def with_arrays_changed(value: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Nested object arrays with every array inside changed; the same object if none is."""
    if is_objects(value):
        elements = value.ravel().tolist()
        changed = [with_arrays_changed(element, change) for element in elements]
        if all(new is old for new, old in zip(changed, elements, strict=True)):
            return value
        result = value.copy()
        flat = result.reshape(-1)
        for position, element in enumerate(changed):
            flat[position] = element
        return result
    return change(value) if type(value) is np.ndarray else value


_MOST_BYTES = 1 << 18
_NAMED = 5
_LIBRARIES = frozenset((*sys.stdlib_module_names, "pymdp"))
"""What their classes have, a class does not owe to its author."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of agents: its name, and what its author gave it.

    Attributes:
        place: module and qualified name, for people only: a script's class is in `__main__`, and
            in the script's module for those who import it.
        slots: as they are called inside, private ones with their class's name.
        attributes: names of methods, properties and other attributes of the class.
    """

    place: str
    name: str
    slots: tuple[str, ...]
    attributes: tuple[str, ...]

    @classmethod
    def of(cls, kind: type) -> Self:
        slots, attributes = set(), set()
        for base in kind.__mro__:
            if base.__module__.partition(".")[0] in _LIBRARIES:
                continue
            for name, value in vars(base).items():
                if type(value) is MemberDescriptorType:
                    slots.add(name)
                elif _is_authors(name, value):
                    attributes.add(name)
        place = f"{kind.__module__}:{kind.__qualname__}"
        return cls(place, kind.__name__, tuple(sorted(slots)), tuple(sorted(attributes)))

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, data: memoryview, folder: Path) -> Self:
        """The class that the bytes in a store describe."""
        try:
            if len(data) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
            value = parsed(bytes(data))
            if type(value) is not dict or [*value] != ["place", "name", "slots", "attributes"]:
                raise ValueError("expected place, name, slots and attributes")
            place, name, *lists = value.values()
            if any(type(each) is not list for each in lists):
                raise ValueError("expected lists of slots and attributes")
            if any(type(each) is not str for each in (place, name, *lists[0], *lists[1])):
                raise ValueError("expected names")
        except ValueError as error:
            raise StoreError(
                f"{shown(folder)}: the description of the agents' class is damaged ({error}): "
                f"{CREATE_AGAIN}"
            ) from error
        return cls(place, name, *map(tuple, lists))

    def check(self, kind: type, folder: Path) -> None:
        """Whether `kind` is this class, or has become of it: it has the name, and all that was
        there; more is fine."""
        found = type(self).of(kind)
        lacks = "" if found.name == self.name else f"the name {self.name}, "
        for what, mine, others in (
            ("slots", self.slots, found.slots),
            ("attributes", self.attributes, found.attributes),
        ):
            missing = sorted({*mine} - {*others})
            if missing:
                more = ", ..." if len(missing) > _NAMED else ""
                lacks += f"the {what} {', '.join(missing[:_NAMED])}{more}, "
        if lacks:
            raise StoreError(
                f"{shown(folder)}: holds agents of class {shown(self.place)}, found "
                f"{found.place}, which lacks {shown(lacks.removesuffix(', '))}; open it with "
                "the class that it was made with"
            )


def _is_authors(name: str, value: object) -> bool:
    """Whether an attribute of a class was written by its author, and not by Python around it."""
    if name.startswith("__") and name.endswith("__"):
        return isinstance(value, FunctionType | classmethod | staticmethod | property)
    return name != "_abc_impl"
