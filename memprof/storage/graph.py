"""The objects that an agent's attributes are made of, who else holds them, and what they take."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from memprof.posix import ARRAY_HEADER_BYTES, malloc_block_bytes, small_block_bytes
from memprof.storage.constants import is_constant
from memprof.storage.history import History
from memprof.storage.layout import ATOMS, is_compact, is_nan, is_value, order_of, plain

_DEEPEST = 60  # levels of containers: waking takes three calls for each, where the user's stack is

_LONG = 1000


@dataclass(slots=True)
class Node:
    """An object that can be told from its copy: how often it was met, and in which attribute."""

    value: Any
    references: int
    attribute: str


class Graph:
    """The objects of an agent, as far as they have an encoding.

    Attributes:
        nodes: by identity.
        linked: attributes that hold an object more than once, or one with another attribute.
        opaque: attributes with something that has no encoding, and its type.
        bases: arrays that others are views of, by identity.
        nans: NaNs that are keys of a dict, which finds them by identity.
    """

    def __init__(self, handed: Container[int], own: Any = None) -> None:
        """`handed` are arrays that memprof holds as well, `own` is the dict of the attributes."""
        self.nodes: dict[int, Node] = {}
        self.linked: set[str] = set()
        self.opaque: dict[str, str] = {}
        self.bases: set[int] = set()
        self.nans: set[int] = set()
        self._handed, self._own = handed, own
        self._groups: dict[str, str] = {}
        probe = Node([], 0, "")
        self._our_references = sys.getrefcount(probe.value)

    def visit(self, attribute: str, value: Any, references: int = 1) -> None:
        """Walk through an attribute, which has so many references."""
        self._groups.setdefault(attribute, attribute)
        if self._is_large_and_shared(value, references):
            self.opaque[attribute] = f"{type(value).__qualname__}, held elsewhere too"
            return
        level = self._parts(attribute, value) if self._meet(attribute, value, references) else []
        for _ in range(_DEEPEST):
            if not level:
                return
            level = [
                part
                for each in level
                if self._meet(attribute, each)
                for part in self._parts(attribute, each)
            ]
        if level:
            self.opaque[attribute] = f"{type(value).__qualname__}, nested too deeply"

    def _is_large_and_shared(self, value: Any, references: int) -> bool:
        """Whether a list or dict is too long to be walked through at every rest, only to find that
        somebody else holds it; if that is an attribute of the agent's, both stay as they are."""
        return (
            type(value) in (list, dict)
            and len(value) > _LONG
            and sys.getrefcount(value) - self._our_references - 1 > references
        )

    def _meet(self, attribute: str, value: Any, references: int = 1) -> bool:
        """Count references to an object; return whether they are the first."""
        node = self.nodes.get(id(value))
        if node is None:
            self.nodes[id(value)] = Node(value, references, attribute)
            return True
        node.references += references
        self.linked |= {attribute, node.attribute}
        self._groups[self.group(attribute)] = self.group(node.attribute)
        return False

    def _parts(self, attribute: str, value: Any) -> list[Any]:
        """The objects in a container that can be told from their copies."""
        kind = type(value)
        parts: Iterable[Any] | None = None
        if kind is list or kind is tuple:
            parts = value
        elif kind is dict:
            nans = [id(key) for key in value if is_nan(key)]
            self.nans.update(nans)
            if not nans and value is not self._own and all(map(is_value, value)):
                parts = value.values()
        elif kind is History:
            parts = value.objects()
        elif kind is np.ndarray:
            parts = self._of_array(attribute, value)
        if parts is None:
            self.opaque.setdefault(attribute, kind.__qualname__)
            return []
        return [part for part in parts if type(part) not in ATOMS and not is_value(part)]

    def _of_array(self, attribute: str, array: np.ndarray) -> list[Any] | None:
        """What an array refers to; None where that cannot be encoded."""
        base: Any = array.base
        if array.dtype == object:
            if base is not None or not is_compact(array) or order_of(array) != "C":
                return None
            elements: list[Any] = array.ravel().tolist()
            return elements
        if not plain(array.dtype) or not array.flags.aligned:
            return None
        if self.is_ours(array):
            return []
        if not array.flags.writeable:
            self.linked.add(attribute)  # the template's would be a copy that is not
        if base is None or type(base) is bytes:
            return []
        if type(base) is not np.ndarray or not plain(base.dtype):
            return None  # memory that is not NumPy's
        owner: Any = base.base
        if owner is not None and type(owner) is not bytes:
            return None
        self.bases.add(id(base))
        self._meet(attribute, base)
        return []

    def group(self, attribute: str) -> str:
        """The attribute that stands for all that have objects in common with this one."""
        while self._groups[attribute] != attribute:
            attribute = self._groups[attribute]
        return attribute

    def attributes(self) -> Iterable[str]:
        """The attributes that were visited."""
        return self._groups

    def held_elsewhere(self) -> list[Node]:
        """Objects with more references than were found, or with weak ones; and those of memprof's
        own, of which that says nothing."""
        ours = self._our_references
        return [
            node
            for node in self.nodes.values()
            if sys.getrefcount(node.value) - ours > node.references
            or (type(node.value) is np.ndarray and weakref.getweakrefcount(node.value))
        ]

    def is_ours(self, value: Any) -> bool:
        """Whether the object is an array that memprof holds too."""
        return type(value) is np.ndarray and (id(value) in self._handed or is_constant(value))


_FREE = frozenset((type(None), bool, type, ModuleType, FunctionType, BuiltinFunctionType))
_MANY, _LOOKED_AT = 256, 32
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
        if kind in (list, dict) and len(thing) > _MANY:
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
