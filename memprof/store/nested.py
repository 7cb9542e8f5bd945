"""Arrays inside nested object arrays, in which PyMDP keeps matrices and beliefs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from memprof.store.flatten import is_objects


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
