"""What somebody holds: where the way from an agent's attributes leads on, and where it ends.

It leads through closures, methods, generators, frames and classes that were made while the program
ran. It ends at the program itself: at modules, and at functions and classes that are found in one
under their names.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    EllipsisType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    ModuleType,
    NoneType,
    NotImplementedType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

from memprof.instruments.graph import LruCache, referents_by
from memprof.instruments.memory import ACCOUNTED, Buffer, is_device_type, is_tensor_type
from memprof.instruments.source_lines import is_memprofs_work, is_pythons

_PROGRAMS = (
    NoneType,
    EllipsisType,
    NotImplementedType,
    bool,
    ModuleType,
    CodeType,
    WrapperDescriptorType,
    MethodDescriptorType,
    ClassMethodDescriptorType,
    np.dtype,
    np.ufunc,
)
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8  # Py_TPFLAGS_HEAPTYPE, Py_TPFLAGS_IMMUTABLETYPE
_ACCOUNTS = (np.ndarray, np.generic, *ACCOUNTED)
_BESIDE = (Buffer, np.void, *ACCOUNTED)
_LOOKED_INTO = ("numpy", "jaxlib", "torch")
_EXTENSIONS = tuple(EXTENSION_SUFFIXES)
_REGISTRY = "PyTreeRegistry"
"""JAX's table of all types that it knows, which every description of a tree leads to."""
_NAMESPACE = ("__name__", "__loader__", "__spec__")
"""What every module's dict has."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How things of a type are dealt with.

    Attributes:
        owned: whether a thing is memory of whoever refers to it, rather than code or the
            interpreter's; where it depends on the thing, what tells.
        held: what a thing holds; some of it may be nobody's.
        opaque: the type's name, if it is written in C by others and gives no account of what it
            takes beside the object; else empty.
        is_array: of NumPy.
        is_plain: a thing is all that it takes: it has no memory beside itself.
    """

    owned: Callable[[Any], bool] | bool
    held: Callable[[Any], Iterable[Any]]
    opaque: str
    is_array: bool
    is_plain: bool

    def owns(self, thing: Any) -> bool:
        """Whether this thing is owned."""
        return self.owned if self.owned is True or self.owned is False else self.owned(thing)


_kinds: dict[type, Kind] = {}
_classes: dict[int, type] = {}
"""Classes of the program, by their ids."""


def reachable(roots: Iterable[Any], seen: dict[int, Any] | None = None) -> list[Any]:
    """Every object that the roots hold, each once, but for buffers and for what is in `seen` by
    its id, which all that is found is added to."""
    seen = {} if seen is None else seen
    found = []
    stack = list(roots)
    while stack:
        thing = stack.pop()
        if id(thing) in seen or type(thing) is Buffer:
            continue
        kind = kind_of(type(thing))
        if kind.owns(thing):
            seen[id(thing)] = thing
            found.append(thing)
            stack.extend(kind.held(thing))
    return found


def kind_of(kind: type) -> Kind:
    """How things of a type are dealt with."""
    found = _kinds.get(kind)
    if found is None:
        is_array, is_plain = issubclass(kind, np.ndarray), not issubclass(kind, _BESIDE)
        found = Kind(_owned(kind), _held(kind), _opaque(kind), is_array, is_plain)
        if _is_programs_class(kind):  # others go with their agents
            _kinds[kind] = found
    return found


def _owned(kind: type) -> Callable[[Any], bool] | bool:
    if issubclass(kind, _PROGRAMS) or _is_jaxlibs(kind, _REGISTRY):
        return False
    if issubclass(kind, int):
        return lambda number: not -5 <= number <= 256  # these are the interpreter's
    if issubclass(kind, dict):
        return lambda each: not all(dict.__contains__(each, name) for name in _NAMESPACE)
    if issubclass(kind, type):
        return lambda each: not _is_programs_class(each)
    if issubclass(kind, FunctionType) or _is_jitted(kind):
        return lambda function: not _is_found(function)
    if issubclass(kind, BuiltinFunctionType):
        return lambda function: type(function.__self__) not in (ModuleType, NoneType)
    if issubclass(kind, FrameType):
        return lambda frame: not is_memprofs_work(frame.f_code.co_filename)
    return True


def _held(kind: type) -> Callable[[Any], Iterable[Any]]:
    if issubclass(kind, FunctionType):
        return _behind_function
    if _is_jitted(kind):
        return lambda function: (function.__wrapped__,)
    return referents_by(kind)


def _opaque(kind: type) -> str:
    known = issubclass(kind, _ACCOUNTS) or is_device_type(kind) or is_tensor_type(kind)
    size: Any = kind.__sizeof__
    if known or size is not object.__sizeof__:
        return ""
    of_c = next((each for each in kind.__mro__ if _is_extensions(each)), None)
    return "" if of_c is None else f"{of_c.__module__}.{of_c.__qualname__}"


def _is_extensions(kind: type) -> bool:
    """Whether a class is from an installed extension module other than NumPy's and JAX's."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    library = kind.__module__.partition(".")[0]
    return file.endswith(_EXTENSIONS) and not (is_pythons(file) or library in _LOOKED_INTO)


def _behind_function(function: Any) -> list[Any]:
    """Closure, defaults, attributes; its names are its code's."""
    return [each for each in gc.get_referents(function) if type(each) is not str]


def _is_jitted(kind: type) -> bool:
    """Whether things of a type are JAX's compiled functions, behind which are JAX's own tables."""
    return _is_jaxlibs(kind, "PjitFunction")


def _is_jaxlibs(kind: type, name: str) -> bool:
    return kind.__name__ == name and kind.__module__.startswith("jaxlib.")


def _is_programs_class(kind: type) -> bool:
    if not kind.__flags__ & _HEAP_TYPE or kind.__flags__ & _IMMUTABLE_TYPE:
        return True
    if id(kind) not in _classes:
        if not _is_found(kind):
            return False
        _classes[id(kind)] = kind
    return True


def _is_found(thing: Any) -> bool:
    """Whether a function or class is what its module has, under its name or another."""
    module: Any = sys.modules.get(thing.__module__)
    place = module
    for name in thing.__qualname__.split("."):
        has_names = issubclass(type(place), ModuleType | type)
        place = vars(place).get(name) if has_names else None
    if place is thing or _wrapped(place) is thing:
        return True
    return issubclass(type(module), ModuleType) and any(
        each is thing for each in vars(module).values()
    )


def _wrapped(thing: Any) -> Any:
    """The function of a method's descriptor, or of a cache."""
    kind = type(thing)
    if issubclass(kind, staticmethod | classmethod):
        return thing.__func__
    if issubclass(kind, property):
        return thing.fget
    if issubclass(kind, functools.cached_property):
        return thing.func
    return vars(thing).get("__wrapped__") if issubclass(kind, FunctionType | LruCache) else None
