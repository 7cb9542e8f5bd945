"""The memory of things: a header, and what many have beside it, at an address of their own or of
somebody else.

An array may borrow its memory from bytes, a memory map, a JAX array or a library that gives no
account of it. Memory that its owner accounts for counts there; any other by its address.
"""

from __future__ import annotations

import array
import ctypes
import mmap
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from memprof.posix import ARRAY_HEADER_BYTES

CData: Any = ctypes.Structure.__mro__[1]
_SIZED = (bytes, bytearray, array.array)
"""Of these `sys.getsizeof` has the memory too."""
ACCOUNTED = (np.ndarray, memoryview, mmap.mmap, CData, *_SIZED)


@dataclass(frozen=True, slots=True)
class Buffer:
    """One piece of memory by its address, however many arrays of whatever library look at it.

    Attributes:
        on_host: it is ordinary memory of this process.
    """

    address: int
    nbytes: int
    on_host: bool = True


def is_device_array(thing: Any) -> bool:
    """Whether `thing` is a JAX array."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(thing, jax.Array)


def is_device_type(kind: type) -> bool:
    """Whether things of a type are JAX arrays, or stand for some while JAX traces."""
    jax = sys.modules.get("jax")
    return jax is not None and issubclass(kind, (jax.Array, jax.core.Tracer))


def is_tensor_type(kind: type) -> bool:
    """Whether things of a type are tensors of torch."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and issubclass(kind, tensor)


def buffers_of(thing: Any) -> Iterator[Buffer]:
    """The buffers of a JAX array, one per device; nothing for anything else."""
    if not is_device_array(thing) or isinstance(thing, sys.modules["jax"].core.Tracer):
        return
    if thing.is_deleted():
        return
    for shard in thing.addressable_shards:
        data = shard.data
        on_host = shard.device.platform == "cpu"
        yield Buffer(data.unsafe_buffer_pointer(), data.nbytes, on_host)


def fetched(array: Any, first: int, last: int) -> np.ndarray:
    """Rows of a JAX array on the host, without a copy where they are there already.

    JAX keeps what `np.asarray` makes of an array, and then can no longer donate that; here it is
    left as it is.

    Raises:
        RuntimeError: it was deleted.
    """
    if {device.platform for device in array.devices()} == {"cpu"}:
        with suppress(RuntimeError, BufferError):  # on several devices, or no numbers of NumPy's
            return np.from_dlpack(array)[first:last]
    with sys.modules["jax"].ensure_compile_time_eval():  # also where JAX is just tracing
        some = array[first:last]
        return np.asarray(some.copy() if some is array else some)


def storage_of(tensor: Any) -> Iterator[Buffer]:
    """The storage of a tensor, which views of it share; nothing where it has none, as on torch's
    device `meta`."""
    with suppress(NotImplementedError, RuntimeError):  # sparse, or somebody else's
        storage = tensor.untyped_storage()
        if storage.data_ptr():
            yield Buffer(storage.data_ptr(), storage.nbytes(), tensor.device.type == "cpu")


def dimensions_bytes(dimensions: int) -> int:
    """What an array of so many takes for its shape and strides."""
    return 16 * dimensions


def nominal_bytes(thing: Any) -> int:
    """Size of a thing alone; an array's data counts where the memory is its own."""
    if type(thing) is Buffer:
        return thing.nbytes
    return header_bytes(thing) + own_bytes(thing)


def header_bytes(thing: Any) -> int:
    """Size of a thing without memory that it has beside itself."""
    kind = type(thing)
    if issubclass(kind, np.ndarray):
        return ARRAY_HEADER_BYTES + dimensions_bytes(thing.ndim)
    size = sys.getsizeof(thing)
    if issubclass(kind, np.void) and thing.base is not None:
        return size - int(thing.nbytes)  # which is the array's
    return size - own_bytes(thing) if issubclass(kind, _SIZED) else size


def own_bytes(thing: Any) -> int:
    """Size of the memory that a thing has beside its header, and that is its own."""
    kind = type(thing)
    if issubclass(kind, np.ndarray):
        return int(thing.nbytes) if thing.base is None and thing.flags.owndata else 0
    if not issubclass(kind, ACCOUNTED):
        return 0
    if issubclass(kind, bytes | bytearray):
        return len(thing)
    if issubclass(kind, array.array):
        return int(len(thing) * thing.itemsize)
    if issubclass(kind, mmap.mmap):
        return 0 if thing.closed else len(thing)
    return ctypes.sizeof(thing) if issubclass(kind, CData) and thing._b_needsfree_ else 0


def own_buffer(thing: Any) -> Buffer:
    """The memory of `own_bytes`, where there is any."""
    if issubclass(type(thing), np.ndarray):
        return Buffer(thing.ctypes.data, thing.nbytes)
    if issubclass(type(thing), CData):
        return Buffer(ctypes.addressof(thing), ctypes.sizeof(thing))
    return Buffer(np.frombuffer(thing, np.uint8).ctypes.data, own_bytes(thing))


def borrowed(thing: Any) -> Iterator[Buffer]:
    """The memory that an array or a memoryview shows and has from an owner without an account of
    it, such as a capsule of DLPack or a library written in C."""
    kind = type(thing)
    if issubclass(kind, np.ndarray):
        if not (thing.flags.owndata or _has_account(thing.base)):
            yield _bounds(thing)
    elif issubclass(kind, memoryview):
        with suppress(ValueError, TypeError):  # released, or no numbers
            if not _has_account(thing.obj):
                yield _bounds(np.asarray(thing))


def _has_account(owner: Any) -> bool:
    kind = type(owner)
    return issubclass(kind, ACCOUNTED) or is_device_type(kind) or is_tensor_type(kind)


def _bounds(array: np.ndarray) -> Buffer:
    """From the first to the last byte that an array shows, whatever its strides."""
    low = high = array.ctypes.data
    if not array.size:
        return Buffer(low, 0)
    for size, stride in zip(array.shape, array.strides, strict=True):
        low, high = low + min(0, (size - 1) * stride), high + max(0, (size - 1) * stride)
    return Buffer(low, high - low + array.itemsize)
