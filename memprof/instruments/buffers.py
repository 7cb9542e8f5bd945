"""The buffers of JAX arrays, without importing JAX."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from memprof.instruments import trials

_TRIED_BYTES = 2**16


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
    jax = sys.modules.get("jax")
    if jax is None or not isinstance(thing, jax.Array) or isinstance(thing, jax.core.Tracer):
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


def bytes_by_address(arrays: Iterable[Any]) -> dict[int, int]:
    """The size of each buffer under the arrays, by its address."""
    return {b.address: b.nbytes for array in arrays for b in buffers_of(array)}


def live_device_bytes() -> int | None:
    """Bytes of all live JAX arrays, each buffer once; None where JAX is not loaded, or does not
    tell of an array that is made."""
    return None if "jax" not in sys.modules or device_failure() else _live_bytes()


@cache
def device_failure() -> str:
    """Why JAX's live arrays are not to be trusted, tried with one; empty if they are. JAX has to be
    loaded."""
    return trials.failure(_live_bytes, _DeviceArray(), _TRIED_BYTES)


def _live_bytes() -> int:
    return sum(bytes_by_address(sys.modules["jax"].live_arrays()).values())


class _DeviceArray:
    """An array on JAX's device."""

    def take(self) -> None:
        import numpy as np

        self._array = sys.modules["jax"].device_put(np.zeros(_TRIED_BYTES, np.uint8))
        self._array.block_until_ready()

    def free(self) -> None:
        self._array.delete()
        del self._array
