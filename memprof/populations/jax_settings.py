"""The settings of a JAX agent, those of its fields that are no arrays, as values of JSON and back.

What comes back is of the same types, bit by bit. Functions and classes go by their names, and are
found only in modules that the program has imported itself: a file names no code to load.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any

import numpy as np

from memprof.errors import UsageError
from memprof.text import shown
from memprof.upstream.jax_agent import Policies

_PLAIN = (bool, int, str, type(None))


def encoded(field: str, value: Any) -> Any:
    """A setting as a value of JSON.

    Raises:
        UsageError: it cannot be kept in a file.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return {"float": value.hex()}
    if kind in (list, tuple):
        return {kind.__name__: [encoded(field, each) for each in value]}
    if kind is dict:
        return {"dict": [[encoded(field, k), encoded(field, v)] for k, v in value.items()]}
    if kind is Policies:
        return {"policies": [str(value._dtype), _listed(value._policy_tup)]}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        number = "array" if isinstance(value, np.ndarray) else "number"
        return {number: [value.dtype.str, list(value.shape), value.tobytes().hex()]}
    if kind is FunctionType and _named(value.__module__, value.__qualname__) is value:
        return {"function": [value.__module__, value.__qualname__]}
    raise UsageError(
        f"{field}: expected plain values, arrays of NumPy, or a function at the top of a module, "
        f"found {shown(value)}, which a file cannot keep; "
        "define it in a module of your own, or keep the agents in memory"
    )


def decoded(value: Any) -> Any:
    """The setting again.

    Raises:
        ValueError: it is none.
    """
    if type(value) in _PLAIN:
        return value
    if type(value) is not dict or len(value) != 1:
        raise ValueError("expected a setting")
    ((kind, found),) = value.items()
    if kind == "float":
        return float.fromhex(found)
    if type(found) is not list:
        raise ValueError(f"expected a list for {kind!r}")
    if kind in ("list", "tuple"):
        each = [decoded(part) for part in found]
        return each if kind == "list" else tuple(each)
    if kind == "dict":
        return {decoded(key): decoded(part) for key, part in found}
    if kind == "policies":
        return _policies(*found)
    if kind in ("array", "number"):
        dtype, shape, data = found
        array = np.frombuffer(bytes.fromhex(data), np.dtype(dtype)).reshape(shape).copy()
        return array if kind == "array" else array[()]
    if kind == "function":
        return _function(*found)
    raise ValueError(f"unknown kind {kind!r} of setting")


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else int(value)


def _policies(dtype: str, found: Any) -> Policies:
    """PyMDP's own, made of an array as its constructor makes it."""
    if np.dtype(dtype).kind not in "iu":
        raise ValueError("expected policies of whole numbers")
    array = np.array(found, dtype)
    if array.ndim != 3 or not array.size:
        raise ValueError("expected policies of shape (policies, steps, factors)")
    return Policies(array)


def _function(module: str, name: str) -> FunctionType:
    found = _named(module, name)
    if type(found) is not FunctionType:
        raise ValueError(f"no function {module}:{name} is here; import {module} first")
    return found


def _named(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
