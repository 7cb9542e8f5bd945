"""The buffers of JAX arrays, without importing JAX.

Our own walk over a population: every byte it holds, once, by component, private or shared.

`sys.getsizeof` and pympler stop at NumPy's object arrays, in which PyMDP keeps A, B, C, D and all
beliefs. This walk goes through them, and through views and broadcasts down to the buffer that owns
the memory, so that each buffer counts once however many arrays look at it. JAX arrays count by
their buffers likewise; those on a device of their own are in no process's memory.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np

from memprof.instruments import process, trials
from memprof.instruments.mallocs import block_bytes
from memprof.instruments.resident import PageTable
from memprof.populations.base import EACH, ENVIRONMENT, EVERYBODY, WORKING_SET
from memprof.posix import PAGE_BYTES
from memprof.values.measurements import LedgerRow

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
_SHARED = -2
_SMALL_OBJECT = 512
_ARRAY_HEADER = 96


@dataclass(slots=True)
class _Holding:
    """One object or buffer: who holds it, under which component, and its size.

    Attributes:
        brought_by: the owner without which it would not be there: others have it for their
            environments at most.
    """

    owner: int
    brought_by: int
    component: str
    nominal: int
    resident: int
    objects: int


class Walk(NamedTuple):
    """Rows of the ledger, and what each agent brought along for itself alone, in their order:
    `resident`, empty where the page table cannot be read, and `nominal`."""

    rows: tuple[LedgerRow, ...]
    resident: tuple[int, ...]
    nominal: tuple[int, ...]


def walk(
    holdings: Iterable[tuple[int, str, Any]], agents: int
) -> tuple[tuple[LedgerRow, ...], tuple[int, ...]]:
    """The rows of `walk_each`, and what is resident of each agent."""
    return walk_each(holdings, agents)[:2]


def walk_each(holdings: Iterable[tuple[int, str, Any]], agents: int) -> Walk:
    """Walks over (owner, component, object) triples of a population of so many `agents`.

    An object reached from two owners is shared; its bytes belong to the component that reached it
    first. Resident bytes are allocator chunks for small objects, and present pages for buffers of
    a page or more. Where the page table cannot be read they are None, and nobody holds anything.
    Owner `EVERYBODY` stands for the population as a whole; what it holds is shared. What `EACH`
    holds, such as an array with a row per agent, is private to all agents in equal parts.

    What the world of all has from one agent, such as the first one's A and B, is shared, but that
    agent's to bring: the next has to bring as much. What is in use for a while, in a working set,
    is nobody's.
    """
    found: dict[int, _Holding] = {}
    components: dict[str, None] = {}
    with PageTable() as pages:
        for owner, component, root in tuple(holdings):  # all alive, so that no id comes twice
            components[component] = None
            _claim(root, owner, component, found, pages)
        readable = pages.readable
    rows = tuple(_row(component, found.values(), readable) for component in components)
    resident: Counter[int] = Counter()
    nominal: Counter[int] = Counter()
    for holding in found.values():
        if holding.component != WORKING_SET:
            resident[holding.brought_by] += holding.resident
            nominal[holding.brought_by] += holding.nominal
    return Walk(
        rows,
        _of_each(resident, agents) if readable else (),
        _of_each(nominal, agents),
    )


def _of_each(held: Counter[int], agents: int) -> tuple[int, ...]:
    return tuple(held[agent] + held[EACH] // agents for agent in range(agents))


def reachable(roots: Iterable[Any], seen: dict[int, Any] | None = None) -> list[Any]:
    """Every object that the roots lead to, each once, but for JAX buffers and for what is in `seen`
    by its id, which all that is found is added to."""
    seen = {} if seen is None else seen
    found = []
    stack = list(roots)
    while stack:
        thing = stack.pop()
        if id(thing) in seen or _is_not_owned(thing) or isinstance(thing, DeviceBuffer):
            continue
        seen[id(thing)] = thing
        found.append(thing)
        stack.extend(referents(thing))
    return found


def _claim(
    root: Any, owner: int, component: str, found: dict[int, _Holding], pages: PageTable
) -> None:
    stack = [root]
    while stack:
        thing = stack.pop()
        if _is_not_owned(thing):
            continue
        key = -thing.address if isinstance(thing, DeviceBuffer) else id(thing)
        holding = found.get(key)
        if holding is None:
            found[key] = _measure(thing, owner, component, pages)
        elif holding.owner in (owner, _SHARED):
            continue
        else:
            holding.owner = _SHARED  # and so is all that it refers to
            if component != ENVIRONMENT or holding.component == ENVIRONMENT:
                holding.brought_by = _SHARED
        stack.extend(referents(thing))


def referents(thing: Any) -> Iterator[Any]:
    """What a thing refers to: also the elements of object arrays, bases of views, JAX buffers."""
    if is_device_array(thing):
        yield from buffers_of(thing)
    elif isinstance(thing, np.ndarray):
        if thing.base is not None:
            yield thing.base
        elif thing.dtype.hasobject:
            yield from thing.ravel(order="K").tolist()
    else:
        yield from gc.get_referents(thing)


def _is_not_owned(thing: Any) -> bool:
    return (
        thing is None
        or isinstance(thing, _NOT_OWNED)
        or (isinstance(thing, int) and -5 <= thing <= 256)  # cached by the interpreter
    )


def nominal_bytes(thing: Any) -> int:
    """Size of a thing alone; an array's data counts where the memory is its own."""
    if isinstance(thing, np.ndarray):
        return _ARRAY_HEADER + _dimensions(thing) + (thing.nbytes if thing.base is None else 0)
    return thing.nbytes if isinstance(thing, DeviceBuffer) else sys.getsizeof(thing)


def _measure(thing: Any, owner: int, component: str, pages: PageTable) -> _Holding:
    nominal = nominal_bytes(thing)
    if isinstance(thing, np.ndarray):
        resident = _chunk(_ARRAY_HEADER) + block_bytes(_dimensions(thing))
        if thing.base is None:
            resident += (
                pages.resident_bytes(thing.ctypes.data, thing.nbytes)
                if thing.nbytes >= PAGE_BYTES and pages.readable
                else block_bytes(thing.nbytes)
            )
    elif isinstance(thing, DeviceBuffer):
        resident = pages.resident_bytes(thing.address, nominal) if thing.on_host else 0
        if thing.on_host and nominal < PAGE_BYTES:
            resident = block_bytes(nominal)
    elif isinstance(thing, bytes) and nominal >= PAGE_BYTES and pages.readable:
        resident = pages.resident_bytes(id(thing), nominal)  # zeros that nobody has touched
    else:
        resident = _chunk(nominal)
    return _Holding(owner, owner, component, nominal, resident, 1)


def _dimensions(array: np.ndarray) -> int:
    """What an array takes for its shape and strides."""
    return 16 * array.ndim


def _chunk(size: int) -> int:
    """What Python's allocator sets aside for an object of `size` bytes."""
    if size > _SMALL_OBJECT or process.tried().native_has_objects:
        return block_bytes(size)
    return (size + 15) // 16 * 16


def _row(component: str, holdings: Iterable[_Holding], readable: bool) -> LedgerRow:
    mine = [holding for holding in holdings if holding.component == component]
    private = [holding for holding in mine if holding.owner >= 0 or holding.owner == EACH]
    shared = [holding for holding in mine if holding.owner in (EVERYBODY, _SHARED)]
    return LedgerRow(
        component=component,
        private_nominal_bytes=sum(holding.nominal for holding in private),
        shared_nominal_bytes=sum(holding.nominal for holding in shared),
        private_resident_bytes=sum(holding.resident for holding in private) if readable else None,
        shared_resident_bytes=sum(holding.resident for holding in shared) if readable else None,
        objects=len(mine),
    )
