"""Ray as memprof uses it: a cluster that is started for the time of use, or one that is there; and
shards on its nodes."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import shutil
import socket
import tempfile
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memprof.distributed.installed import check_installed
from memprof.distributed.shard import Place, Shard, Vacant, versions
from memprof.errors import ClusterError, MemprofError, UsageError
from memprof.text import counted, format_size, raised
from memprof.values.distributed import NodeMemory

if TYPE_CHECKING:
    from ray import ObjectRef

# Ray's own reports home, and a warning about accelerators that no shard asks for.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_LONGEST_TEMP = 40  # what Ray adds makes sockets, whose paths have 107 bytes at most
_SHORT_NAME = 8
_ANSWER_SECONDS = 10.0


@dataclass(slots=True)
class Traffic:
    """Messages to shards and back, and the bytes that they take."""

    messages: int = 0
    size_bytes: int = 0

    def count(self, message: object) -> None:
        """One more."""
        self.messages += 1
        self.size_bytes += len(pickle.dumps(message))


class ShardGone(Exception):
    """A shard has died before it said what came of a call."""


class Cluster:
    """A connection to Ray, and the shards that one population has there.

    Attributes:
        shards: how many there are.
        owned: whether the cluster was started for this population, and ends with it.
    """

    def __init__(self, shards: int | None = None, address: str | None = None) -> None:
        """Connect to the cluster at `address`, to the one that the program is connected to already,
        or to one of this machine alone that is started now; and start the shards there, by default
        one for each processor.

        Raises:
            UsageError: there is no Ray, or none at the address.
            ClusterError: it does not start, or its nodes run different versions.
        """
        self._traffic: Traffic | None = None
        check_installed()
        if shards is not None and (type(shards) is not int or shards < 1):
            raise UsageError(f"shards: expected a whole number, 1 or more; found {shards!r}")
        os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
        import ray

        self._ray = ray
        self.owned = not ray.is_initialized()
        folder = _connect(address) if self.owned else None
        self._end = weakref.finalize(self, _disconnect, folder if self.owned else None, self.owned)
        try:
            self._start(shards)
        except BaseException:
            self.close()
            raise

    def _start(self, shards: int | None) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        processors = {node["NodeID"]: node["Resources"].get("CPU", 0.0) for node in self._living()}
        self.shards = shards or max(1, int(sum(processors.values())))
        make: Any = self._ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)(Shard)
        self._actors: list[Any] = []
        for node in _spread(processors, self.shards):
            near = NodeAffinitySchedulingStrategy(node, soft=True)
            self._actors.append(make.options(scheduling_strategy=near).remote())
        self.places: list[Place] = [self._placed(number) for number in range(self.shards)]
        _check_versions(self.places)

    def _living(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self._ray.nodes()  # type: ignore[no-untyped-call]
        return [node for node in nodes if node["Alive"]]

    def _placed(self, number: int) -> Place:
        try:
            place: Place = self.result(number, self._actors[number].place.remote())
            return place
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
        """Have the shard itself do something."""
        if self._traffic is not None:
            self._traffic.count((method, arguments))
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
            if self._traffic is not None:
                self._traffic.count(found)
            return found
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, Vacant):
                raise ShardGone("Ray has started it anew") from None
            cause.add_note(f"in shard {number} of {len(self._actors)}")
            raise cause from None
        except exceptions.ObjectStoreFullError as error:
            raise _full(str(error)) from None
        except (exceptions.RayActorError, exceptions.OutOfMemoryError) as error:
            raise ShardGone(_why(error)) from None
        except exceptions.RayError as error:  # its node is gone, with what it returned
            raise ShardGone(raised(error)) from None

    @contextmanager
    def counted(self) -> Iterator[Traffic]:
        """What is sent in the block, both ways."""
        self._traffic = Traffic()
        try:
            yield self._traffic
        finally:
            self._traffic = None

    def each(self, method: str, *arguments: Any) -> list[Any]:
        """The same of all shards' objects, at once; what each returns.

        Raises:
            ClusterError: a shard has died.
            whatever the shards' objects raise.
        """
        sent = [self.send(number, method, *arguments) for number in range(self.shards)]
        return self.results(sent)

    def results(self, sent: Sequence[ObjectRef[Any]]) -> list[Any]:
        """What came of a message to each shard, as of `each`."""
        try:
            return [self.result(number, each) for number, each in enumerate(sent)]
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
        from ray import exceptions

        while True:
            try:
                place: Place = self._ray.get(self._actors[number].place.remote())
            except exceptions.ActorUnavailableError:
                continue
            except exceptions.RayError as error:
                raise ShardGone(_why(error)) from None
            self.places[number] = place
            _check_versions(self.places)
            return place

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

    def close(self) -> None:
        """End the shards, and the cluster if it was started for them."""
        for actor in getattr(self, "_actors", ()):
            if self._ray.is_initialized() and self._end.alive:
                self._ray.kill(actor)
        self._actors = []
        self._end()


def _connect(address: str | None) -> str | None:
    """Connect to Ray; the folder of a cluster that was started for that."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        folder = _temporary_folder()
        try:
            ray.init("local", include_dashboard=False, _temp_dir=folder, **quiet)
        except Exception as error:
            _disconnect(folder, True)
            raise ClusterError(
                f"Ray does not start here: {raised(error)}; try python -c 'import ray; ray.init()'"
            ) from error
        return folder
    try:
        _see_who_answers(address)
        ray.init(address, **quiet)
    except OSError:
        raise UsageError(
            f"address: no cluster answers at {address}; start one (ray start --head), or leave the "
            "address out, and one of this machine is started"
        ) from None
    except Exception as error:  # such as another version of Ray or Python
        raise ClusterError(f"the cluster at {address} refuses: {raised(error)}") from error
    return None


def _see_who_answers(address: str) -> None:
    """Ray itself would try for ten minutes.

    Raises:
        OSError: nobody is there.
    """
    place = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = place.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()


def _temporary_folder() -> str:
    place = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="memprof-", dir=place if len(place) < _LONGEST_TEMP else "/tmp")


def _disconnect(folder: str | None, owned: bool) -> None:
    if not owned:
        return
    import ray

    ray.shutdown()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


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


def _full(what: str) -> MemprofError:
    return ClusterError(
        f"Ray's object store is full: {what.partition(chr(10))[0]}; start Ray with a larger one "
        "(ray start --object-store-memory, in bytes)"
    )


def _why(error: Exception) -> str:
    """The first sentence of what Ray says that tells the cause."""
    text = " ".join(str(error).split())
    if "memory" in text.lower() and ("low on memory" in text or "OOM" in text.split("causes")[0]):
        return "Ray has killed it because its node is short of memory"
    for key in ("Worker exit detail: ", "cause: "):
        _, found, rest = text.partition(key)
        if found:
            text = rest
    return text.partition(". ")[0][:200]


def shards_of(agents: int, shards: int) -> str:
    """In words."""
    return f"{counted(agents, 'agent')} over {counted(shards, 'shard')}"
