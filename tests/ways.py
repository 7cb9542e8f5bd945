"""Ways in which an agent can hold an array: each makes, of a table, the thing that holds it."""

import array
import collections
import contextvars
import ctypes
import functools
import io
import mmap
import sys
import tempfile
import threading
import types
import weakref
from multiprocessing.shared_memory import SharedMemory

import numpy as np

NUMBERS = 25_000
TABLE_BYTES = 8 * NUMBERS


def closure(table):
    return lambda place: table[place]


class Sensor:
    def __init__(self, table):
        self.table = table

    def read(self, place):
        return self.table[place]


def default(table):
    return eval("lambda place, table=table: table[place]", {"table": table})


def keyword_default(table):
    def read(place, *, table=table):
        return table[place]

    return read


def function_attribute(table):
    def read(place):
        return place

    read.table = table
    return read


def namespace_of_its_own(table):
    namespace = {"table": table}
    exec("def read(place): return table[place]", namespace)
    return namespace["read"]


def wrapped(table):
    @functools.wraps(Sensor.read)
    def read(place):
        return table[place]

    return read


def generator(table):
    def places():
        mine = table
        for place in range(10):
            yield mine[place]

    found = places()
    next(found)
    return found


class Once:
    def __await__(self):
        yield


def coroutine(table):
    async def places(mine):
        await Once()
        return mine

    found = places(table)
    found.send(None)
    return found


def frame(table):
    def running(mine):
        return sys._getframe()

    return running(table)


def exception(table):
    def fails(mine):
        raise ValueError("no such place")

    try:
        fails(table)
    except ValueError as error:
        return error


def callers_of_exception(table):
    def fails():
        try:
            raise ValueError("no such place")
        except ValueError as error:
            return error

    def calls(mine):
        return fails()

    return calls(table)


def class_of_its_own(table):
    return type("Own", (Sensor,), {"map": table})(None)


class Slotted:
    __slots__ = ("table",)

    def __init__(self, table):
        self.table = table


class Cached:
    def __init__(self, table):
        self.tables = [table]
        assert self.table is table
        self.tables = None

    @functools.cached_property
    def table(self):
        return self.tables[0]


def lru_cache(table):
    tables = [table]

    @functools.lru_cache(maxsize=4)
    def read(key):
        return tables.pop()

    read("map")
    return read


def weak_keys(table):
    key = Sensor(None)
    return key, weakref.WeakKeyDictionary({key: table})


def weak_callback(table):
    key = Sensor(None)
    return key, weakref.ref(key, lambda _: table)


def context(table):
    found = contextvars.copy_context()
    found.run(contextvars.ContextVar("table").set, table)
    return found


def of_thread(table):
    found = threading.local()
    found.table = table
    return found


class Marked(np.ndarray):
    """An array with an attribute."""


def subclass(table):
    found = np.zeros(3).view(Marked)
    found.table = table
    return found


def row(table):
    return table.view([("all", float, NUMBERS)])[0]


def jitted(table):
    """Not run: what JAX compiles is its own, and a megabyte."""
    import jax

    return jax.tree.structure([table]), jax.jit(lambda place: table[place])


OF_A_TABLE = {
    "attribute": Sensor,
    "slot": Slotted,
    "view": lambda table: table[10:20],
    "broadcast": lambda table: np.broadcast_to(table, (100, NUMBERS)),
    "object array": lambda table: np.array([table, None], dtype=object),
    "subclass of an array": subclass,
    "row of a structured array": row,
    "flat iterator": lambda table: table.flat,
    "memoryview": memoryview,
    "iterator": lambda table: zip(table, [1, 2], strict=False),
    "deque": lambda table: collections.deque([table]),
    "namespace": lambda table: types.SimpleNamespace(table=table),
    "read-only dict": lambda table: types.MappingProxyType({"table": table}),
    "closure": closure,
    "wrapped function": wrapped,
    "default": default,
    "keyword default": keyword_default,
    "attribute of a function": function_attribute,
    "namespace of a function": namespace_of_its_own,
    "bound method": lambda table: Sensor(table).read,
    "bound method of C": lambda table: table.take,
    "bound slot": lambda table: table.__getitem__,
    "partial": lambda table: functools.partial(np.add, table),
    "partial keyword": lambda table: functools.partial(np.add, out=table),
    "generator": generator,
    "coroutine": coroutine,
    "frame": frame,
    "exception": exception,
    "callers of an exception": callers_of_exception,
    "class of its own": class_of_its_own,
    "cached property": Cached,
    "lru_cache": lru_cache,
    "weak keys": weak_keys,
    "callback of a weak reference": weak_callback,
    "compiled function of JAX": jitted,
    "context": context,
    "of a thread": of_thread,
}
"""Those that hold the table itself."""


def memory_map(table):
    found = mmap.mmap(-1, TABLE_BYTES)
    found.write(table)
    return found


def array_in_memory_map(table):
    return np.frombuffer(memory_map(table))


def written_copy_of_a_file(table):
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(bytes(TABLE_BYTES))
        found = np.memmap(file, float, "c")
    found[:] = table
    return found


def shared_memory(table):
    found = SharedMemory(create=True, size=TABLE_BYTES)
    found.unlink()
    found.buf[:] = memoryview(table).cast("B")
    return found


def buffer_of_ctypes(table):
    return (ctypes.c_double * NUMBERS).from_buffer_copy(table)


def array_in_shared_memory(table):
    memory = shared_memory(table)
    return memory, np.ndarray(NUMBERS, buffer=memory.buf)


def jax_array(table):
    import jax

    return jax.device_put(np.asarray(table, np.float32).repeat(2)).block_until_ready()


def jax_array_and_a_look(table):
    found = jax_array(table)
    return found, np.asarray(found)


def jax_array_and_dlpack(table):
    found = jax_array(table)
    return found, np.from_dlpack(found)[::-1]


WITH_A_COPY = {
    "bytes": lambda table: table.tobytes(),
    "array of bytes": lambda table: np.frombuffer(table.tobytes()),
    "array of a bytearray": lambda table: np.frombuffer(bytearray(table.tobytes())),
    "array.array": lambda table: array.array("d", table),
    "array of an array.array": lambda table: np.frombuffer(array.array("d", table)),
    "file in memory": lambda table: io.BytesIO(table.tobytes()),
    "ctypes": buffer_of_ctypes,
    "array of ctypes": lambda table: np.ctypeslib.as_array(buffer_of_ctypes(table)),
    "memory map": memory_map,
    "array in a memory map": array_in_memory_map,
    "written copy of a file": written_copy_of_a_file,
    "shared memory": shared_memory,
    "array in shared memory": array_in_shared_memory,
    "mask": lambda table: np.ma.array(np.ones(TABLE_BYTES // 2, bool), mask=True),
    "JAX array": jax_array,
    "JAX array and a look at it": jax_array_and_a_look,
    "array of a JAX array": lambda table: np.asarray(jax_array(table)),
    "array by DLPack": lambda table: np.from_dlpack(jax_array(table)),
    "JAX array and its DLPack": jax_array_and_dlpack,
}
"""Those that have memory of their own for what is in the table."""


def tensor(table):
    import torch

    return torch.tensor(table)


def tensor_of_an_array(table):
    import torch

    found = table.copy()
    return found, torch.from_numpy(found)[5:]


WITH_TORCH = {
    "tensor": tensor,
    "view of a tensor": lambda table: tensor(table)[5:],
    "array of a tensor": lambda table: tensor(table).numpy(),
    "array and its tensor": tensor_of_an_array,
}
"""Those of them that need torch."""
