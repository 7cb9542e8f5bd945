"""Whether two things that a factory made are one and the same to agents."""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, range, frozenset, set)


def alike(left: Any, right: Any, _compared: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """Whether two things that a factory made are equal through and through: arrays bit by bit,
    functions by their code and what they close over, objects by their attributes."""
    pair = (id(left), id(right))
    if left is right or pair in _compared:
        return True
    if type(left) is not type(right):
        return False
    mine, others = _parts(left), _parts(right)
    if mine is None or others is None:
        return isinstance(left, _PLAIN) and bool(left == right)
    compared = _compared | {pair}
    return len(mine) == len(others) and all(
        name == other and alike(part, like, compared)
        for (name, part), (other, like) in zip(mine, others, strict=True)
    )


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    """What a thing consists of, by name; None for one that is compared as a whole."""
    if isinstance(value, _PLAIN):
        return None
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return [(array.dtype.str, array.shape), ("bits", array.tobytes())]
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, FunctionType):
        cells = [each.cell_contents for each in value.__closure__ or ()]
        return [(value.__code__, cells), ("defaults", [value.__defaults__, value.__kwdefaults__])]
    if isinstance(value, MethodType):
        return [("self", value.__self__), ("function", value.__func__)]
    if isinstance(value, partial):
        return [("function", value.func), ("arguments", [value.args, value.keywords])]
    if hasattr(value, "__wrapped__"):
        return [("wrapped", value.__wrapped__)]
    return list(vars(value).items()) if hasattr(value, "__dict__") else None
