"""The door to a population over several processes and machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memprof.distributed import checkpoints
from memprof.distributed.agents import SAMPLED, Begun, How, packed
from memprof.distributed.checkpoints import MOST_AGENTS, is_seed
from memprof.distributed.cluster import Cluster
from memprof.distributed.population import REOPENED, DistributedPopulation
from memprof.distributed.recovery import Calls
from memprof.distributed.rows import sent
from memprof.errors import UsageError
from memprof.text import shown
from memprof.values.population import Share

_MADE = "memprof.distributed.agents:made"
_PACKED = "memprof.distributed.agents:unpacked"


def distribute(
    source: Callable[[int], Any] | Iterable[Any] | Path | str,
    agents: int | None = None,
    *,
    shards: int | None = None,
    passes: str | Sequence[str] = "auto",
    seed: int | None = None,
    address: str | None = None,
    agent_class: type | None = None,
    **options: Any,
) -> DistributedPopulation:
    """A population of the caller's own PyMDP agents over the shards of a Ray cluster: processes on
    this machine or on many, each with the agents of some indices, stored under the given passes.

    Args:
        source: `make_agent(index)`, which each shard calls for its own agents, with `np.random` and
            `random` seeded for that agent, and which returns a new PyMDP agent, or the keyword
            arguments of a NumPy agent as a dict; or agents, which move to the shards and are empty
            afterwards; or the folder of a checkpoint.
        agents: how many to make; of `make_agent` only.
        shards: by default one for each processor of the cluster.
        passes, options: as of `memprof.optimize`, but for `store`: agents are in memory, and
            `checkpoint` keeps them.
        seed: of all that agents draw by chance; 0 if omitted. A folder has its own.
        address: of a running cluster, such as "auto"; omitted, the one that the program is
            connected to, or else one of this machine that is started now and ends with the
            population.
        agent_class: of a folder of agents that are not of PyMDP's own class.

    Raises:
        UsageError: Ray is not installed, or does not answer at the address; an unknown pass, an
            invalid option, or something that is not such an agent.
        ClusterError: Ray does not start; nodes differ in what they run; the object store has no
            room for what agents share.
        StoreError: the folder has no checkpoint, or cannot be used by all nodes.
    """
    if seed is not None and not is_seed(seed):
        raise UsageError(f"seed: expected a whole number below 2**63, found {shown(seed)}")
    how = How(_names(passes), _given(options), seed or 0)
    if isinstance(source, str | Path):
        _check_agents(agents, None)
        if passes != "auto" or how.options or seed is not None:
            raise UsageError(
                "passes, options, seed: expected none with a folder, which has those of its "
                "agents; leave them out"
            )
        return _reopened(Path(source).resolve(), agent_class, shards, address)
    if agent_class is not None:
        raise UsageError("agent_class: expected none, as agents say it themselves; leave it out")
    if callable(source) and not isinstance(source, Iterable):
        _check_agents(agents, source)
        assert agents is not None
        return _made(sent(source, "make_agent"), agents, _cluster(shards, address, agents), how)
    _check_agents(agents, None)
    with packed(source, how) as moving:
        cluster = _cluster(shards, address, moving.agents)
        with cluster.for_good():
            arguments = cluster.put(moving.files), how, moving.kind
            return _Beginning(cluster, how, _PACKED, moving.agents, arguments).population()


def _cluster(shards: int | None, address: str | None, agents: int) -> Cluster:
    if shards is not None and type(shards) is int and shards > max(1, agents):
        raise UsageError(f"shards: expected {agents} at most, one for each agent, found {shards}")
    return Cluster(shards, address, most=max(1, agents))


def _made(make: bytes, agents: int, cluster: Cluster, how: How) -> DistributedPopulation:
    with cluster.for_good():
        function = cluster.put(make)
        return _Beginning(cluster, how, _MADE, agents, (function, agents, how)).population()


def _reopened(
    folder: Path, agent_class: type | None, shards: int | None, address: str | None
) -> DistributedPopulation:
    kept = checkpoints.read(folder)
    how, kind = How(kept.passes, kept.options, kept.seed), kept.kind(folder, agent_class)
    cluster = _cluster(shards, address, kept.agents)
    with cluster.for_good():
        begin = _Beginning(cluster, how, REOPENED, kept.agents, (kept.stores(folder), how, kind))
        population = begin.population()
        population.go_on(kept, folder)
        return population


class _Beginning:
    """A population whose shards are about to be told what they hold: what `target` makes of the
    `arguments` and a share of so many agents."""

    def __init__(
        self, cluster: Cluster, how: How, target: str, agents: int, arguments: tuple[Any, ...]
    ) -> None:
        self._cluster, self._how, self._agents = cluster, how, agents
        self._hold = target, *arguments

    def population(self) -> DistributedPopulation:
        """All agents, once one shard has found out from a few what they have in common."""
        calls, shards = Calls(self._cluster), self._cluster.shards
        few = Share(0, max(1, self._agents // SAMPLED))
        calls.hold([(*self._hold, few)])
        calls.share(self._cluster.results([self._cluster.send(0, "sampled")])[0])
        hold = [(*self._hold, Share(number, shards)) for number in range(shards)]
        begun: list[Begun] = calls.hold(hold)
        kind = _class_of(begun)
        return kind(self._cluster, calls, self._how, begun, self._agents)


def _class_of(begun: Sequence[Begun]) -> type[DistributedPopulation]:
    if not any(each.is_jax for each in begun):
        return DistributedPopulation
    from memprof.distributed.jax_population import DistributedJaxPopulation  # imports JAX

    return DistributedJaxPopulation


def _check_agents(agents: Any, make: Any) -> None:
    """Whether it says how many to make, where it has to."""
    if make is None and agents is not None:
        raise UsageError(
            "agents: expected none beside agents or a folder, which say how many there are; leave "
            "it out"
        )
    if make is not None and (type(agents) is not int or not 1 <= agents <= MOST_AGENTS):
        raise UsageError(
            f"agents: expected a whole number from 1 to {MOST_AGENTS:,}, how many to make, found "
            f"{shown(agents)}"
        )


def _names(passes: str | Sequence[str]) -> tuple[str, ...]:
    return (passes,) if isinstance(passes, str) else tuple(passes)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in options.items() if value is not None}
    if "store" in found:
        raise UsageError(
            "store: expected none, as agents of shards are in memory; leave it out, and keep them "
            "with population.checkpoint(folder)"
        )
    return found
