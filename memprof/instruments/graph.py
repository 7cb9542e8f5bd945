"""The graph of living objects: what things refer to, what their attributes are called, what one
takes.

`sys.getsizeof` and pympler stop at NumPy's object arrays, in which PyMDP keeps A, B, C, D and all
beliefs. Here the way leads through them, and through views and broadcasts down to the array that
owns the memory; JAX arrays lead to their buffers, without importing JAX.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from memprof.posix import ARRAY_HEADER_BYTES

LruCache = type(functools.lru_cache(lambda: None))

_NOT_OWNED = (
    bool,
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    CodeType,
    FrameType,
    np.dtype,
    np.ufunc,
)
_PORTION = 500


@dataclass(frozen=True, slots=True)
class DeviceBuffer:
    """One piece of device memory, however many arrays look at it.

    Attributes:
        on_host: it is ordinary memory of this process, at `address`.
    """

    address: int
    nbytes: int
    on_host: bool


def buffers_of(thing: Any) -> Iterator[DeviceBuffer]:
    """The buffers of a JAX array, one per device; nothing for anything else."""
    if not is_device_array(thing) or isinstance(thing, sys.modules["jax"].core.Tracer):
        return
    if thing.is_deleted():
        return
    for shard in thing.addressable_shards:
        data = shard.data
        on_host = shard.device.platform == "cpu"
        yield DeviceBuffer(data.unsafe_buffer_pointer(), data.nbytes, on_host)


def is_device_array(thing: Any) -> bool:
    """Whether `thing` is a JAX array."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(thing, jax.Array)


def is_owned(thing: Any) -> bool:
    """Whether a thing is memory of whoever refers to it, rather than code or the interpreter's."""
    return not (
        thing is None
        or isinstance(thing, _NOT_OWNED)
        or (isinstance(thing, int) and -5 <= thing <= 256)  # cached by the interpreter
    )


def identity(thing: Any) -> int:
    """The same for the same object or buffer, and for no other that lives."""
    return -thing.address if isinstance(thing, DeviceBuffer) else id(thing)


def nominal_bytes(thing: Any) -> int:
    """Size of a thing alone; an array's data counts where the memory is its own."""
    if isinstance(thing, np.ndarray):
        data = thing.nbytes if thing.base is None else 0
        return ARRAY_HEADER_BYTES + dimensions_bytes(thing) + data
    return thing.nbytes if isinstance(thing, DeviceBuffer) else sys.getsizeof(thing)


def dimensions_bytes(array: np.ndarray) -> int:
    """What an array takes for its shape and strides."""
    return 16 * array.ndim


def referents(thing: Any) -> Iterable[Any]:
    """What a thing refers to: also the elements of object arrays, bases of views, JAX buffers."""
    if is_device_array(thing):
        return buffers_of(thing)
    if not isinstance(thing, np.ndarray):
        return gc.get_referents(thing)
    if thing.base is not None:
        return (thing.base,)
    elements: list[Any] = thing.ravel(order="K").tolist() if thing.dtype.hasobject else []
    return elements


def referents_of(things: list[Any]) -> list[Any]:
    """What the things refer to, as fast as may be; of JAX arrays, what the collector knows."""
    found = gc.get_referents(*things)
    for thing in things:
        if issubclass(type(thing), np.ndarray):
            found.extend(referents(thing))
    return found


def reachable(roots: Iterable[Any], seen: dict[int, Any] | None = None) -> list[Any]:
    """Every object that the roots lead to, each once, but for JAX buffers and for what is in `seen`
    by its id, which all that is found is added to."""
    seen = {} if seen is None else seen
    found = []
    stack = list(roots)
    while stack:
        thing = stack.pop()
        if id(thing) in seen or not is_owned(thing) or isinstance(thing, DeviceBuffer):
            continue
        seen[id(thing)] = thing
        found.append(thing)
        stack.extend(referents(thing))
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


def type_name(thing: Any) -> str:
    """The type's module and name; without the module for Python's own."""
    kind = type(thing)
    inner = kind.__module__ in ("builtins", "numpy")
    return kind.__qualname__ if inner else f"{kind.__module__}.{kind.__qualname__}"
