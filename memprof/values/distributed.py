"""What is read and found of a population over several nodes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from memprof.values.instruments import Count, Positive
from memprof.values.population import WorldPlace
from memprof.values.report import Equivalence, Interval, PerAgent

GrowthEnd = Literal["reached", "time", "memory"]


class NodeMemory(Struct, frozen=True):
    """What Ray runs on a node holds, in PSS: each page counts once. `store_bytes` is in no other
    figure.

    Attributes:
        name: Ray's, shortened.
        host: the machine's name.
        machine: the same for nodes that share one machine's memory.
        shards: processes of the population.
        shards_bytes: of these, libraries and agents.
        private_bytes: of that, anonymous memory: without pages of files, which come and go with
            other processes that map them.
        store_bytes: pages of Ray's object store that were touched.
        ray_bytes: of Ray's own processes, of which there are `ray_processes`.
        driver_bytes: of the program that asks; None where that is elsewhere.
        left_bytes: what processes of the node may still take, of the machine and of its control
            groups.
        limit_bytes: the lowest limit of these.
    """

    name: str
    host: str
    machine: str
    shards: Count
    shards_bytes: Count
    private_bytes: Count
    store_bytes: Count
    ray_bytes: Count
    ray_processes: Count
    driver_bytes: Count | None
    left_bytes: Count
    limit_bytes: Count

    @property
    def total_bytes(self) -> int:
        """Without the program that asks."""
        return self.shards_bytes + self.store_bytes + self.ray_bytes


_KEPT_FREE = 0.05
"""Ray ends processes of a node that has less of its memory left (RAY_memory_usage_threshold)."""


def room_bytes(node: NodeMemory) -> int:
    """What shards on a node may still take, or on the machine that it is on."""
    return max(0, int(node.left_bytes - _KEPT_FREE * node.limit_bytes))


class Reached(Struct, frozen=True):
    """A cluster that answers: Ray's version, and how many shards start there."""

    ray: str
    shards: Positive


class NodeRow(NodeMemory, frozen=True, kw_only=True):
    """A node, with the largest population that was asked for.

    Attributes:
        agents: on its shards.
        more: agents that still fit there, at the upper end of the cost's interval. Nodes that are
            on one machine share what that has left.
    """

    agents: Count
    more: Count


class Pace(Struct, frozen=True):
    """Steps of agents per second: of shards, and of one process with as many agents.

    Attributes:
        agents: that stepped, here and there.
        ratio, ratio_ci95: shards over one process, of neighbouring rounds.
    """

    agents: Positive
    one_process_per_second: float
    shards_per_second: float
    ratio: float
    ratio_ci95: Interval


class Distributed(Struct, frozen=True, kw_only=True):
    """A population over the shards of a cluster.

    Attributes:
        ray: its version.
        address: of the cluster; empty for one of this machine alone, for the time of measuring.
        world: where the world is in which agents meet; empty where each lives alone.
        passes: of the population.
        agents: the largest population that was asked for, and read.
        ended: why it grew no further: it `reached` what was asked for, its `time` was up, or a node
            was short of `memory`.
        per_agent: by private memory of all shards and the object stores; the fixed part also has
            the shards' share of libraries.
        capacity: agents that the cluster holds, the sum over its nodes.
        shard_bytes: what a shard takes before the first agent, without the object store.
        pace: None where it was not timed.
        messages_per_step, bytes_per_step: between the process that asks and the shards, both ways,
            with all agents; None where they were not counted.
        equivalence: of the first agents, with the population in one process.
    """

    ray: str
    address: str
    shards: Positive
    world: WorldPlace | Literal[""]
    passes: tuple[str, ...]
    agents: Positive
    ended: GrowthEnd
    per_agent: PerAgent
    nodes: Annotated[tuple[NodeRow, ...], Meta(min_length=1)]
    capacity: Count
    shard_bytes: float
    pace: Pace | None
    messages_per_step: float | None
    bytes_per_step: float | None
    equivalence: Equivalence
