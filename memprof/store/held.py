"""What one active agent holds alone: bytes, in tens of microseconds.

An instrument's walk takes too long for every use of an agent. This one leaves out what the template
holds by identity alone, and of long lists looks at some entries only.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Container, Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from memprof.store.history import History

_FREE = frozenset((type(None), bool, type, ModuleType, FunctionType, BuiltinFunctionType))
_HEADER = 96
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
                total += _chunk(sys.getsizeof(thing))
            continue
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if kind is np.ndarray:
            total += _HEADER + _malloc_chunk(16 * thing.ndim)
            if thing.base is not None:
                stack.append(thing.base)
            else:
                total += _malloc_chunk(thing.nbytes)
                if thing.dtype.hasobject:
                    stack.extend(thing.ravel(order="K").tolist())
            continue
        total += _chunk(sys.getsizeof(thing))
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


def _chunk(size: int) -> int:
    """What Python's allocator sets aside for an object, in steps of 16 bytes."""
    return (size + 15) // 16 * 16


def _malloc_chunk(size: int) -> int:
    """What malloc sets aside: a header, steps of 16 bytes, at least 32."""
    return max(32, (size + 23) // 16 * 16)
