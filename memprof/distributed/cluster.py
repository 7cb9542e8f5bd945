"""Ray as memprof uses it: a cluster that is started for the time of use, or one that is there; and
shards on its nodes."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from memprof.distributed.connection import connected, session
from memprof.distributed.shard import Place, Shard, Vacant, versions
from memprof.distributed.traffic import Traffic
from memprof.errors import ClusterError, MemprofError, UsageError
from memprof.text import format_size, raised
from memprof.values.distributed import NodeMemory

if TYPE_CHECKING:
    from ray import ObjectRef

_SHORT_NAME = 8
_PAUSE_SECONDS = 0.05
_MISSING = re.compile(r"No module named '([\w.]+)'")


class ShardGone(Exception):
    """A shard has died before it said what came of a call."""


class Cluster:
    """A connection to Ray, and the shards that one population has there.

    Attributes:
        shards: how many there are.
        places: where they are.
        traffic: messages until now.
    """

    def __init__(
        self, shards: int | None = None, address: str | None = None, most: int | None = None
    ) -> None:
        """Connect to the cluster at `address`, to the one that the program is connected to already,
        or to one of this machine alone that is started now; and start the shards there, by default
        one for each processor, but at `most` so many.

        Raises:
            UsageError: there is no Ray, or none at the address.
            ClusterError: it does not start, or its nodes run different versions.
        """
        if shards is not None and (type(shards) is not int or shards < 1):
            raise UsageError(f"shards: expected a whole number, 1 or more; found {shards!r}")
        self._end = connected(self, address)
        import ray

        self._ray, self._session = ray, session()
        self._actors: list[Any] = []
        self._nodes: list[str] = []  # on which each shard was started
        self._gone: set[str] = set()  # of which Ray may not know it yet
        self.traffic = Traffic()
        with self.for_good():
            processors = max(1, int(sum(self._processors().values())))
            self.shards = shards or min(processors, most or processors)
            self._nodes += _spread(self._processors(), self.shards)
            self._actors += map(self._actor, self._nodes)
            self.places = [self._placed(number) for number in range(self.shards)]
            _check_versions(self.places)

    def _actor(self, node: str) -> Any:
        """A new shard there, which Ray starts anew if it dies."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        make: Any = self._ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)(Shard)
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return make.options(scheduling_strategy=there).remote(sys.path)

    def _processors(self) -> dict[str, float]:
        """How many each living node has."""
        return {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in self._living()}

    def _living(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self._ray.nodes()  # type: ignore[no-untyped-call]
        return [node for node in nodes if node["Alive"] and node["NodeID"] not in self._gone]

    def _placed(self, number: int) -> Place:
        try:
            return self._awaited(number)
        except ShardGone as error:
            raise ClusterError(
                f"shard {number} could not be started: {error}; memprof has to be importable by "
                "the Python of every node"
            ) from None

    # ---------------------------------------------------------------------------- messages

    def send(self, number: int, method: str, *arguments: Any) -> ObjectRef[Any]:
        """Have a shard's object do something, once it has done what it was asked before."""
        return self.send_own(number, "call", method, *arguments)

    def send_own(self, number: int, method: str, *arguments: Any) -> ObjectRef[Any]:
        """Have the shard itself do something.

        Raises:
            ClusterError: the program has left Ray, which would start another cluster now, or has.
        """
        if session() != self._session:
            raise ClusterError(
                "the shards have ended, as this program has called ray.shutdown(); call it after "
                "population.close()"
            )
        self.traffic.send((method, arguments))
        sent: ObjectRef[Any] = getattr(self._actors[number], method).remote(*arguments)
        return sent

    def result(self, number: int, sent: ObjectRef[Any]) -> Any:
        """What came of it.

        Raises:
            ShardGone: the shard has died, or does not know what it held.
            ClusterError: there is no room in the object store.
            whatever the shard's object raises.
        """
        from ray import exceptions

        try:
            found = self._ray.get(sent)
            self.traffic.receive(found)
            return found
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, Vacant):
                raise ShardGone("Ray has started it anew") from None
            raise _of_shard(cause, str(error), number) from None
        except exceptions.ObjectStoreFullError as error:
            raise _full(str(error)) from None
        except (exceptions.RayActorError, exceptions.OutOfMemoryError) as error:
            raise ShardGone(_why(error)) from None
        except exceptions.RayError as error:  # its node is gone, with what it returned
            raise ShardGone(raised(error)) from None

    def each(self, method: str, *arguments: Any) -> list[Any]:
        """The same of all shards' objects, at once; what each returns.

        Raises:
            ClusterError: a shard has died.
            whatever the shards' objects raise.
        """
        sent = [self.send(number, method, *arguments) for number in range(self.shards)]
        return self.results(sent)

    def all_own(self, method: str, *arguments: Any) -> list[Any]:
        """The same of the shards themselves."""
        sent = [self.send_own(number, method, *arguments) for number in range(self.shards)]
        return self.results(sent)

    def results(self, sent: Sequence[ObjectRef[Any]]) -> list[Any]:
        """What came of a message to each shard, as of `each`."""
        return [*self.results_of(dict(enumerate(sent))).values()]

    def results_of(self, sent: Mapping[int, ObjectRef[Any]]) -> dict[int, Any]:
        """What came of messages to some shards, by their numbers, as of `each`."""
        try:
            return {number: self.result(number, each) for number, each in sent.items()}
        except ShardGone as error:
            raise ClusterError(
                f"a shard has died: {error}; see Ray's log, or use more shards or nodes"
            ) from None

    def put(self, value: Any) -> ObjectRef[Any]:
        """In the object store; nodes fetch it from there, once each.

        Raises:
            ClusterError: it has no room.
        """
        from ray import exceptions

        try:
            return self._ray.put(value)
        except exceptions.ObjectStoreFullError as error:
            raise _full(str(error)) from None

    def check_room(self, size_bytes: int) -> None:
        """Check that the object store of every node with a shard has room for so much.

        Raises:
            ClusterError: one has not.
        """
        here = {place.node for place in self.places}
        for node in self._living():
            room = int(node["Resources"].get("object_store_memory", 0))
            if node["NodeID"] in here and size_bytes > room:
                raise _full(
                    f"what agents share takes {format_size(size_bytes)}, and the store of node "
                    f"{node['NodeID'][:_SHORT_NAME]} has {format_size(room)}"
                )

    # ------------------------------------------------------------------------------- nodes

    def revived(self, number: int) -> Place:
        """Where a shard is that Ray has started anew; waits for that.

        Raises:
            ShardGone: it has died again.
        """
        place = self.places[number] = self._awaited(number)
        _check_versions(self.places)
        return place

    def _awaited(self, number: int) -> Place:
        """Where a shard is, once it is there: on another node if its own is gone.

        Raises:
            ShardGone: it has died.
            ClusterError: there is no other node.
        """
        from ray import exceptions

        while True:
            try:
                place: Place = self._ray.get(self._actors[number].place.remote())
                return place
            except exceptions.ActorUnavailableError:
                time.sleep(_PAUSE_SECONDS)
            except exceptions.ActorUnschedulableError:
                self._move(number)
            except exceptions.ActorDiedError as error:
                if self._nodes[number] in self._processors():
                    raise ShardGone(_why(error)) from None
                self._move(number)
            except exceptions.RayError as error:
                raise ShardGone(_why(error)) from None

    def _move(self, number: int) -> None:
        """Start a shard on another node than its own, which is gone."""
        gone = self._nodes[number]
        self._gone.add(gone)
        left = self._processors()
        if not left:
            raise ClusterError(
                f"node {gone[:_SHORT_NAME]} is gone, and there is no other; start one, and reopen "
                "the last checkpoint with memprof.distribute(folder)"
            )
        there = Counter(self._nodes)
        node = min(left, key=lambda node: (there[node] / max(1.0, left[node]), node))
        self._nodes[number], self._actors[number] = node, self._actor(node)

    def nodes(self) -> tuple[NodeMemory, ...]:
        """What each node with shards holds, in the order of their first shards.

        Raises:
            ClusterError: a shard has died.
            MeasurementError: the memory of one cannot be read.
        """
        shards: dict[str, list[int]] = defaultdict(list)
        for number, place in enumerate(self.places):
            shards[place.node].append(number)
        context = self._ray.get_runtime_context()
        here, session = context.get_node_id(), context.worker.node.session_name
        sent = []
        for node, numbers in shards.items():
            pids = [self.places[number].pid for number in numbers]
            driver = os.getpid() if node == here else None
            name = node[:_SHORT_NAME]
            sent.append(
                (numbers[0], self.send_own(numbers[0], "node", name, pids, driver, session))
            )
        try:
            return tuple(self.result(number, each) for number, each in sent)
        except ShardGone as error:
            raise ClusterError(f"a shard has died while its node was read: {error}") from None

    @contextmanager
    def for_good(self) -> Iterator[None]:
        """A block that begins a population; what it raises ends the shards, too."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the shards, and the cluster if it was started for them."""
        for actor in self._actors if session() == self._session else ():
            self._ray.kill(actor)
        self._actors.clear()
        self._end()


def _spread(processors: Mapping[str, float], shards: int) -> Iterator[str]:
    """The node of each shard: where there are fewest for the processors."""
    count = Counter[str]()
    able = {node: number for node, number in processors.items() if number > 0}
    able = able or dict.fromkeys(processors, 1.0)
    for _ in range(shards):
        node = min(able, key=lambda each: ((count[each] + 1) / able[each], each))
        count[node] += 1
        yield node


def _check_versions(places: Sequence[Place]) -> None:
    """Check that all nodes run what this process runs.

    Raises:
        ClusterError: one does not.
    """
    mine = versions()
    for place in places:
        for name, expected in mine.items():
            found = place.versions.get(name)
            if found != expected:
                raise ClusterError(
                    f"{name}: {expected} on {platform.node()}, where this program runs, and "
                    f"{found} on node {place.node[:_SHORT_NAME]}; install the same version on all "
                    "nodes"
                )


def _of_shard(error: Exception, traceback: str, number: int) -> Exception:
    """What a shard raised, with its own traceback where the message does not say all."""
    from ray import exceptions

    if isinstance(error, exceptions.RaySystemError) and (module := _MISSING.search(traceback)):
        return UsageError(
            f"{module[1]}: cannot be imported in shard {number}; put its folder where every node "
            "finds it, on PYTHONPATH or in the runtime_env of ray.init()"
        )
    error.add_note(f"in shard {number}")
    if not isinstance(error, MemprofError | MemoryError):
        error.add_note(traceback.strip())
    return error


def _full(what: str) -> MemprofError:
    return ClusterError(
        f"Ray's object store is full: {what.partition(chr(10))[0]}; start Ray with a larger one "
        "(ray start --object-store-memory, in bytes)"
    )


def _why(error: Exception) -> str:
    """The first sentence of what Ray says that tells the cause."""
    from ray import exceptions

    text = " ".join(str(error).split())
    if isinstance(error, exceptions.ActorUnavailableError):
        return (
            "its process has ended, as where Ray or the kernel kills it for want of memory, or its "
            "node does not answer"
        )
    if "memory" in text.lower() and ("low on memory" in text or "OOM" in text.split("causes")[0]):
        return "Ray has killed it because its node is short of memory"
    for key in ("Worker exit detail: ", "cause: "):
        _, found, rest = text.partition(key)
        if found:
            text = rest
    return text.partition(". ")[0][:200]
