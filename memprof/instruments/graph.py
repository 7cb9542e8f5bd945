"""The graph of living objects: what things refer to, and what their attributes are called.

`sys.getsizeof` and pympler stop at NumPy's object arrays, in which PyMDP keeps A, B, C, D and all
beliefs. Here the way leads through them, and through views and broadcasts down to the array that
owns the memory; JAX arrays lead to their buffers, without importing JAX.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, MemberDescriptorType
from typing import Any

import numpy as np

from memprof.instruments.memory import (
    Buffer,
    CData,
    borrowed,
    buffers_of,
    is_device_array,
    is_device_type,
    is_tensor_type,
    storage_of,
)

LruCache = type(functools.lru_cache(lambda: None))
_PORTION = 500


def identity(thing: Any) -> int:
    """The same for the same object or buffer, and for no other that lives."""
    return -thing.address if type(thing) is Buffer else id(thing)


def referents(thing: Any) -> Iterable[Any]:
    """What a thing refers to: also the elements of object arrays, bases of views, and memory that
    has no other account, such as JAX's buffers."""
    return referents_by(type(thing))(thing)


def referents_by(kind: type) -> Callable[[Any], Iterable[Any]]:
    """What finds the referents of things of one type."""
    if kind is Buffer:
        return lambda buffer: ()
    if issubclass(kind, np.ndarray):
        return _of_array
    if is_device_type(kind):
        return buffers_of
    for special, found in _MORE.items():
        if issubclass(kind, special):
            return lambda thing: [*gc.get_referents(thing), *found(thing)]
    return _of_tensor if is_tensor_type(kind) else gc.get_referents


def _of_array(array: Any) -> Iterable[Any]:
    found = [] if type(array) is np.ndarray else gc.get_referents(array)
    if array.base is not None:
        found += array.base, *borrowed(array)
    elif array.dtype.hasobject:
        found += _elements(array)
    elif not array.flags.owndata:
        found += borrowed(array)
    return found


def _elements(array: Any) -> Iterator[Any]:
    """The objects in an array, in fields as well."""
    if array.dtype.names is None:
        yield from array.ravel(order="K").tolist()
        return
    for name in array.dtype.names:
        if array.dtype[name].hasobject:
            yield from _elements(array[name])


def _of_tensor(tensor: Any) -> Iterable[Any]:
    gradient = [tensor.grad] if tensor.is_leaf else []
    return [*gc.get_referents(tensor), *storage_of(tensor), *gradient]


_MORE: dict[type, Callable[[Any], Iterable[Any]]] = {
    memoryview: borrowed,
    np.void: lambda scalar: (scalar.base,),
    np.flatiter: lambda iterator: (iterator.base,),
    np.nditer: lambda iterator: iterator.operands,
    CData: lambda data: (data._b_base_, data._objects),
}
"""Of some types, what the collector does not know."""


def referents_of(things: list[Any]) -> list[Any]:
    """What the things refer to, as fast as may be; of JAX arrays, what the collector knows."""
    found = gc.get_referents(*things)
    for thing in things:
        if issubclass(type(thing), np.ndarray):
            found.extend(each for each in referents(thing) if type(each) is not Buffer)
    return found


def everything() -> list[Any]:
    """All objects that can be reached: those the collector knows, and what they refer to.

    No comprehension may refer to `found` here: the cell that makes would be among the objects, and
    lead to all of them.
    """
    found = {id(thing): thing for thing in gc.get_objects()}
    fresh = list(found.values())
    while fresh:
        more: dict[int, Any] = {}
        for portion in portions(fresh):
            things = referents_of(portion)
            more.update(zip(map(id, things), things, strict=True))
        for key in more.keys() & found.keys():
            del more[key]
        found.update(more)
        fresh = list(more.values())
    return list(found.values())


def portions(things: list[Any]) -> Iterator[list[Any]]:
    """The things in portions of which all referents fit into memory."""
    for start in range(0, len(things), _PORTION):
        yield things[start : start + _PORTION]


def attributes(thing: Any) -> dict[str, Any]:
    """An instance's attributes by name, those in slots included."""
    if issubclass(type(thing), type | LruCache) or is_device_array(thing):
        return {}
    found: dict[str, Any] = {}
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            member: Any = kind.__dict__.get(name)
            if type(member) is MemberDescriptorType:
                with contextlib.suppress(AttributeError):  # it is empty
                    found[name] = member.__get__(thing)
    return {**found, **namespace(thing)}


def namespace(thing: Any) -> dict[str, Any]:
    """The dictionary itself that an instance or a class has its attributes in; an empty one where
    there is none."""
    if issubclass(type(thing), type):
        return next((each for each in gc.get_referents(thing) if type(each) is dict), {})
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}


def has_finalizer(kind: type) -> bool:
    """Whether a class has `__del__`, or has one from another."""
    return any(isinstance(vars(each).get("__del__"), FunctionType) for each in kind.__mro__)


def type_name(thing: Any) -> str:
    """The type's module and name; without the module for Python's own."""
    kind = type(thing)
    inner = kind.__module__ in ("builtins", "numpy")
    return kind.__qualname__ if inner else f"{kind.__module__}.{kind.__qualname__}"
