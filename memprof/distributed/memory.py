"""What a population over shards takes."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.api.memory import PopulationMemory
from memprof.text import counted, format_size
from memprof.values.distributed import NodeMemory


@dataclass(frozen=True, slots=True)
class DistributedMemory:
    """What a population takes, shard by shard and node by node.

    Attributes:
        agents: how many there are.
        shards: the ledger of each shard's agents.
        nodes: what Ray runs on each node with a shard, libraries included.
        journal_bytes: what this program keeps of the turns since the last checkpoint.
    """

    agents: int
    shards: tuple[PopulationMemory, ...]
    nodes: tuple[NodeMemory, ...]
    journal_bytes: int

    @property
    def nominal_bytes(self) -> int:
        """Of all agents at rest, by the ledgers."""
        return sum(each.nominal_bytes for each in self.shards)

    def __str__(self) -> str:
        lines = [
            f"{counted(self.agents, 'agent')} over {counted(len(self.shards), 'shard')}, "
            f"{format_size(self.nominal_bytes)} at rest",
            f"  {'node':10} {'shards':>6} {'of shards':>10} {'store':>10} {'of Ray':>10} "
            f"{'left':>10}",
        ]
        for node in self.nodes:
            sizes = (node.shards_bytes, node.store_bytes, node.ray_bytes, node.left_bytes)
            cells = " ".join(f"{format_size(size):>10}" for size in sizes)
            lines.append(f"  {node.name:10} {node.shards:>6} {cells}")
        lines.append(
            "of shards: PyMDP and other libraries, and agents; store: what shards share, once per "
            "node; of Ray: its own processes"
        )
        if self.journal_bytes:
            lines.append(
                f"here: {format_size(self.journal_bytes)} of turns since the last checkpoint"
            )
        return "\n".join(lines)
