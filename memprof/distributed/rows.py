"""What goes to shards and comes back, as arrays with a row for each agent."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from memprof.errors import UsageError

_WHOLE = 2**31  # NaN is not below it


def as_array(seen: Any) -> Any:
    """Observations that are indices as one array; others as they are."""
    if isinstance(seen, np.ndarray) or not len(seen):
        return seen
    try:
        found = np.array(seen)
    except ValueError:  # of agents with different modalities
        return seen
    return found if found.dtype.kind in "iu" and found.ndim in (1, 2) else seen


def part_of(seen: Any, places: slice | np.ndarray) -> Any:
    """Those at these places, as a message takes them: a copy, which stays what was sent when the
    caller fills his own with what comes next."""
    if isinstance(seen, np.ndarray):
        return owned(seen[places])
    return owned(seen[places] if isinstance(places, slice) else [seen[place] for place in places])


class Narrow(NamedTuple):
    """An array of small whole numbers on its way, and the type that it has."""

    content: np.ndarray
    dtype: np.dtype[Any]


def narrow(value: Any) -> Any:
    """An array as it takes least to send; anything else as it is, and what has no such form."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or not value.size:
        return value
    whole = value.dtype.kind != "f" or (not np.signbit(value).any() and (value < _WHOLE).all())
    if not whole:
        return value
    least = np.result_type(*map(np.min_scalar_type, (int(value.min()), int(value.max()))))
    if least.itemsize >= value.itemsize:
        return value
    content = value.astype(least)
    return Narrow(content, value.dtype) if (content == value).all() else value


def wide(value: Any) -> Any:
    """What `narrow` was given, to the bit."""
    return value.content.astype(value.dtype) if isinstance(value, Narrow) else value


def gathered(agents: int, parts: Sequence[tuple[slice | np.ndarray, np.ndarray]]) -> np.ndarray:
    """Rows of so many agents from those of parts, which are at these places."""
    rows = [found for _, found in parts if len(found)]
    alike = {(found.dtype, found.shape[1:]) for found in rows}
    if len(alike) > 1 or any(dtype.hasobject for dtype, _ in alike):
        joined = np.empty(agents, object)
        for places, found in parts:
            joined[places] = [*found]
        return joined
    if not rows:
        return parts[0][1] if parts else np.empty(0)
    whole = np.empty((agents, *rows[0].shape[1:]), rows[0].dtype)
    for places, found in parts:
        whole[places] = found
    return whole


def owned(value: Any) -> Any:
    """The same with arrays of its own, which an agent may keep: those that Ray hands over pin the
    message that they came with."""
    if isinstance(value, np.ndarray):
        if not value.dtype.hasobject:
            return value.copy(order="K")
        found = np.empty_like(value)
        found.reshape(-1)[:] = [*map(owned, value.ravel())]
        return found
    if type(value) in (list, tuple):
        return type(value)(map(owned, value))
    if type(value) is dict:
        return {key: owned(each) for key, each in value.items()}
    return value


def sent(value: Any, what: str = "what the function returns") -> bytes:
    """A value as it is sent, while an agent is active that it may be a part of.

    Raises:
        UsageError: it cannot be.
    """
    from ray import cloudpickle

    try:
        found: bytes = cloudpickle.dumps(value)  # type: ignore[no-untyped-call]
        return found
    except (TypeError, pickle.PicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"{what}: cannot be sent between the program and a shard: {reason}; leave out what "
            "belongs to one process, such as open files, locks and generators"
        ) from None


loads = pickle.loads
