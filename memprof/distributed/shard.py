"""A shard: one of Ray's actors, a process that holds a part of a population."""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections.abc import Collection, Iterable, Sequence
from importlib import metadata
from pickle import PickleBuffer
from typing import Any, NamedTuple

import numpy as np

from memprof.catalogue import load_target
from memprof.distributed.nodes import raylet_of_here, read_node
from memprof.storage.constants import adopt, all_constants
from memprof.storage.layout import LARGE_BYTES, Order, arranged, is_compact, order_of
from memprof.text import raised
from memprof.upstream.installed import version
from memprof.values.distributed import NodeMemory


class Vacant(Exception):
    """The shard holds nothing: Ray has started it anew."""


class CannotGoOn(Exception):
    """A shard that Ray has started anew is not what it was; the message says why."""


class Call(NamedTuple):
    """A method of the held object, what it was called with, and whether it raised; None where the
    program did not see the end of it."""

    method: str
    arguments: tuple[Any, ...]
    raised: bool | None = None


class Place(NamedTuple):
    """Where a shard is, and what runs there."""

    node: str
    pid: int
    raylet: int
    versions: dict[str, str]


class Shard:
    """Holds one object, and calls its methods for the driver, one after the other.

    After Ray has started it anew it is vacant, until it is told again what to hold.
    """

    def __init__(self, path: Sequence[str]) -> None:
        """Args: path: where the driver finds modules, `sys.path`; those of the user's are there."""
        sys.path += [each for each in path if each not in sys.path]
        self._held: Any = None
        self._mapped: list[np.ndarray] = []

    def place(self) -> Place:
        """Where this is."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return Place(node, os.getpid(), raylet_of_here(), versions())

    def share(self, arrays: Sequence[Stored]) -> None:
        """Have these, which are in the node's object store, in place of arrays of its own with the
        same content."""
        self._mapped = [adopt(each.array()) for each in arrays]

    def hold(self, target: str, *arguments: Any) -> Any:
        """Hold what `module:name` makes; what its `begun` says."""
        self._held = None
        gc.collect()
        self._held = load_target(target)(*arguments)
        return self._held.begun()

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the held object returns.

        Raises:
            Vacant: there is none.
        """
        if self._held is None:
            raise Vacant
        return getattr(self._held, method)(*arguments)

    def go_on(self, hold: tuple[Any, ...], calls: Sequence[Call]) -> Any:
        """Hold what `hold` says, and call all that was called since; what the last one returns.

        Raises:
            CannotGoOn: it cannot be held, or an earlier call does not end as it did.
        """
        try:
            self.hold(*hold)
        except Exception as error:
            raise CannotGoOn(f"its last checkpoint cannot be read: {raised(error)}") from error
        *earlier, last = calls
        for each in earlier:
            failure = self._failure(each)
            if each.raised is not None and each.raised != (failure is not None):
                self._held = None
                ends = "raises nothing now" if failure is None else f"raises {raised(failure)}"
                raise CannotGoOn(f"repeating its turns, {each.method} {ends}")
        return self.call(last.method, *last.arguments)

    def _failure(self, call: Call) -> Exception | None:
        try:
            self.call(call.method, *call.arguments)
        except Exception as error:
            return error
        return None

    def node(
        self, name: str, shards: Collection[int], driver: int | None, session: str
    ) -> NodeMemory:
        """See `read_node`, of the node that this shard is on."""
        return read_node(name, raylet_of_here(), shards, driver, session)


class Stored(NamedTuple):
    """An array as it is put into the object store, which keeps no other memory order than C's."""

    content: np.ndarray
    order: Order

    @classmethod
    def of(cls, array: np.ndarray) -> Stored:
        order = order_of(array)
        return cls(array if order == "C" else array.transpose(*order), order)

    def array(self) -> np.ndarray:
        """The array, in the memory that the content has. Views of it have it as their base, by
        which they are known to show a constant: so its own base is no array."""
        found = arranged(self.content, self.order)
        content: Any = self.content.reshape(-1).view(np.uint8)
        memory: Any = PickleBuffer(content)
        return np.ndarray(found.shape, found.dtype, memory, 0, found.strides)


def large_constants() -> list[Stored]:
    """What the agents of this process have in common, as far as it is worth sharing."""
    return worth_sharing(all_constants())


def worth_sharing(arrays: Iterable[np.ndarray]) -> list[Stored]:
    """The large ones of these, as they are put into the object store."""
    large = (each for each in arrays if each.nbytes >= LARGE_BYTES)
    return [Stored.of(each) for each in large if is_compact(each)]


def versions() -> dict[str, str]:
    """What has to be the same wherever agents of one population are."""
    return {
        "Python": platform.python_version(),
        "memprof": metadata.version("memprof-pymdp"),
        "PyMDP": version(),
        "NumPy": np.__version__,
    }
