"""What the pass `share` would hold of living JAX agents: rows of their arrays that are alike bit by
bit become one. They are read where they are, and stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from memprof.values.watch import Saving

# Rows are compared for so long, in blocks of so many bytes.
_MOST_SECONDS, _BLOCK_BYTES = 0.5, 2**20


def sharing_of(batches: Sequence[Any]) -> Saving | None:
    """What each agent of one kind would have of its own, and what all of them would have once; None
    of one alone. To be asked in the thread that uses them."""
    from memprof.upstream.jax_agent import leaves_of, own_of

    agents = sum(batch.batch_size for batch in batches)
    if agents < 2:
        return None
    first = batches[0]
    names = leaves_of(first)
    columns = {name: [_arrays(batch, name) for batch in batches] for name in names}
    if refused := _refused(batches, columns):
        return Saving(0, None, None, exact=False, refused=refused, pass_name="share")
    compared, differing = _compare(columns, [batch.batch_size for batch in batches])
    own = own_of(first, differing, [each for each in "ABD" if getattr(first, f"learn_{each}")])
    rows = {name: _row_bytes(columns[name][0]) for name in names}
    return Saving(
        agents=compared,
        bytes_per_agent=float(sum(size for name, size in rows.items() if name in own)),
        seconds_per_use=None,
        exact=True,
        pass_name="share",
        once_bytes=sum(size for name, size in rows.items() if name not in own),
    )


def _arrays(batch: Any, name: str) -> list[Any]:
    import jax

    return jax.tree_util.tree_leaves(getattr(batch, name))


def _row_bytes(arrays: Sequence[Any]) -> int:
    return sum(array.nbytes // len(array) for array in arrays)


def _refused(batches: Sequence[Any], columns: dict[str, list[list[Any]]]) -> str:
    """Why they cannot live by one program; empty where they can."""
    from memprof.populations.alike import alike

    for name, column in columns.items():
        for batch, arrays in zip(batches, column, strict=True):
            if not all(_has_rows(each, batch.batch_size) for each in arrays):
                return f"{name} has no row of numbers for each agent of its batch"
        if len({tuple((a.shape[1:], a.dtype) for a in arrays) for arrays in column}) > 1:
            return f"{name} has not the same shape in all agents"
    settings = [
        {name: _plain(value) for name, value in vars(batch).items() if name not in columns}
        for batch in batches
    ]
    for name, value in settings[0].items():
        if name != "batch_size" and not all(alike(value, each[name]) for each in settings):
            return f"{name} differs from agent to agent, and one program serves them all"
    return ""


def _has_rows(array: Any, count: int) -> bool:
    """Whether it is an array with a row for each, that nobody has deleted."""
    from memprof.instruments.memory import is_device_array

    is_known = is_device_array(array) and isinstance(array.dtype, np.dtype)
    return is_known and array.shape[:1] == (count,) and not array.is_deleted()


def _plain(value: Any) -> Any:
    """A setting without the object that PyMDP wraps it in."""
    return getattr(value, "policy_arr", value)


def _compare(columns: dict[str, list[list[Any]]], sizes: Sequence[int]) -> tuple[int, set[str]]:
    """How many agents were compared with the first, in the time that there is for it, and the names
    in which any of them differs."""
    from memprof.instruments.memory import fetched

    reference = {
        name: [_bits(fetched(array, 0, 1)) for array in column[0]]
        for name, column in columns.items()
    }
    differing: set[str] = set()
    compared, start = -1, perf_counter()
    for batch, size in enumerate(sizes):
        each = sum(_row_bytes(column[batch]) for column in columns.values())
        for first, last in _blocks(size, max(1, _BLOCK_BYTES // max(1, each))):
            for name, column in columns.items():
                if name not in differing and not all(
                    _is_same(_bits(fetched(array, first, last)), row)
                    for array, row in zip(column[batch], reference[name], strict=True)
                ):
                    differing.add(name)
            compared += last - first
            if perf_counter() - start > _MOST_SECONDS:
                return compared, differing
    return compared, differing


def _blocks(size: int, rows: int) -> Iterator[tuple[int, int]]:
    return ((first, min(size, first + rows)) for first in range(0, size, rows))


def _bits(rows: np.ndarray) -> np.ndarray:
    """A row of bytes for each."""
    return np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)


def _is_same(rows: np.ndarray, row: np.ndarray) -> bool:
    """Whether all rows are as that one, bit by bit."""
    width = row.shape[1]
    return all(
        np.array_equal(
            rows[:, first:last], np.broadcast_to(row[:, first:last], (len(rows), last - first))
        )
        for first, last in _blocks(width, _BLOCK_BYTES)
    )
