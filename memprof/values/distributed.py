"""What is read and found of a population over several nodes."""

from __future__ import annotations

from msgspec import Struct

from memprof.values.instruments import Count


class NodeMemory(Struct, frozen=True):
    """What Ray runs on a node holds, in PSS: each page counts once. `store_bytes` is in no other
    figure.

    Attributes:
        name: Ray's, shortened.
        host: the machine's name.
        machine: the same for nodes that share one machine's memory.
        shards: processes of the population.
        shards_bytes: of these, libraries and agents.
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
