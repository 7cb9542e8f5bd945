"""What a person reads of a population over shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from memprof.render import Section, Table
from memprof.text import counted, format_share, format_size
from memprof.values.distributed import Distributed, NodeRow

Columns = Mapping[str, Callable[[NodeRow], str]]
"""The columns of a table, with what each shows of a node."""

_ROOM = "room for"
_AGENTS: Columns = {
    "node": lambda node: f"{node.host} ({node.name})",
    "shards": lambda node: f"{node.shards:,}",
    "agents": lambda node: f"{node.agents:,}",
    "free": lambda node: format_size(node.left_bytes),
    _ROOM: lambda node: f"{node.more:,} more",
}
_MEMORY: Columns = {
    "node": lambda node: f"{node.host} ({node.name})",
    "shards": lambda node: format_size(node.shards_bytes),
    "object store": lambda node: format_size(node.store_bytes),
    "Ray itself": lambda node: format_size(node.ray_bytes),
    "its processes": lambda node: f"{node.ray_processes:,}",
}


def shards_section(found: Distributed | None) -> Iterator[Section]:
    """None where there were no shards."""
    if found is None:
        return
    agents = {name: show for name, show in _AGENTS.items() if name != _ROOM or not _differs(found)}
    yield Section(
        "Shards on Ray",
        (*_said(found), *_explained(found)),
        (_table("agents", agents, found), _table("memory", _MEMORY, found)),
    )


def _differs(found: Distributed) -> bool:
    """Whether nothing is claimed."""
    return found.equivalence.verdict == "diverged"


def _table(title: str, columns: Columns, found: Distributed) -> Table:
    cells = (tuple(show(node) for show in columns.values()) for node in found.nodes)
    return Table(title, tuple(columns), tuple(cells))


def brief_shards(found: Distributed | None) -> Iterator[Section]:
    """The same in two lines."""
    if found is not None:
        text = [headline(found), *(each for each in (_pace(found),) if each)]
        yield Section("Shards on Ray", tuple(text))


def headline(found: Distributed) -> str:
    """What an agent costs on shards, and how many the cluster holds."""
    where = (
        f"{counted(found.shards, 'shard')} on {counted(len(found.nodes), 'node')}"
        f"{'' if found.address else ' of this machine'}"
    )
    cost = found.per_agent
    low, high = map(format_size, (max(0.0, cost.ci95_bytes[0]), cost.ci95_bytes[1]))
    costs = f"{format_size(cost.marginal_bytes)} ({low} to {high})"
    if not cost.resolved:
        costs = f"at most {high} (below resolution: raise --agents)"
    if _differs(found):
        return f"Over {where} agents behave differently, so nothing is claimed."
    return (
        f"Over {where} an agent costs {costs}; the cluster holds {found.capacity:,} agents, at "
        "least."
    )


def _said(found: Distributed) -> Iterator[str]:
    yield headline(found)
    if said := _pace(found):
        yield said
    verdict = found.equivalence.verdict.replace("_", " ")
    yield f"Equivalence with one process: {verdict}: {found.equivalence.detail}."
    if found.ended != "reached":
        why = "the time was up" if found.ended == "time" else "memory ran out"
        yield f"It grew to {counted(found.agents, 'agent')}, when {why}."


def _pace(found: Distributed) -> str:
    pace = found.pace
    if pace is None:
        return ""
    low, high = pace.ratio_ci95
    return (
        f"Speed: {pace.shards_per_second:,.0f} steps of agents a second, against "
        f"{pace.one_process_per_second:,.0f} in one process: {pace.ratio:.2f} times as many "
        f"({low:.2f} to {high:.2f}), or {format_share(pace.ratio / found.shards)} of one "
        "process per shard."
    )


def _explained(found: Distributed) -> Iterator[str]:
    if found.messages_per_step is not None and found.bytes_per_step is not None:
        yield (
            f"A step of all agents takes {found.messages_per_step:,.3g} messages with "
            f"{format_size(found.bytes_per_step)}, both ways together."
        )
    if found.world:
        there = "the process that asks"
        if found.world == "actor":
            there = "an actor of its own, which counts with Ray itself here"
        yield f"The world is in {there}."
    first = found.nodes[0]
    driver = next((each.driver_bytes for each in found.nodes if each.driver_bytes), None)
    asks = f" The process that asks takes another {format_size(driver)}." if driver else ""
    yield (
        f"A shard takes {format_size(found.shard_bytes)} before its first agent comes: Python, "
        f"Ray, PyMDP.{asks}"
    )
    yield (
        "Ray itself is processes that Ray starts on every node, whatever it runs: the scheduler "
        "(raylet), agents for logs and metrics, idle workers, and on the first node the cluster's "
        f"own records (gcs_server); {first.ray_processes} in all on node {first.name}. They take "
        "as much with one agent as with a million."
    )
    yield (
        "Memory is PSS, in which a page counts once however many processes map it. The cost of an "
        "agent is the slope of the shards' private memory and the object stores against the number "
        "of agents. Room is what a node may still take, without the 5 % at which Ray ends "
        "processes, at the upper end of the cost's interval; nodes on one machine share it."
    )
