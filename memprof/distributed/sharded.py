"""A population whose agents are in the shards of a cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count
from typing import Any

from msgspec.structs import replace

from memprof.distributed.current import current
from memprof.distributed.packing import in_rows, joined_rows, merged
from memprof.distributed.parts import Did, Form
from memprof.distributed.told import Perceived
from memprof.errors import NoAccount
from memprof.populations import Lived, Population, Probe
from memprof.populations.joint_world import Surroundings
from memprof.values.instruments import Account
from memprof.values.measurements import Rewards, WorkingSetUse
from memprof.values.population import PopulationSpec, Share

NOTED = 100
"""Agents that tell what they believed; the others say no more than what they did."""
_numbers = count()


class Sharded(Population):
    """Agents of one kind, each in the shard that its number says; a world for each lives there with
    it. Those that meet, in `surroundings`, are told what they perceive there.

    It behaves as one population of its backend does, whatever the number of shards. In a step there
    is one message to each shard that has agents, and one back. What agents have in common is in the
    object store, once per node.

    Attributes:
        noted: agents that tell what they believed, the first ones.
    """

    def __init__(
        self, spec: PopulationSpec, probe: Probe, surroundings: Surroundings | None = None
    ) -> None:
        self._cluster, self._probe, self._around = current(), probe, surroundings
        self._number = next(_numbers)
        self._shares = [Share(number, self._cluster.shards) for number in self._everywhere]
        self._common: Any = None
        self._sampled = False
        self._count = self._size = 0
        self.noted = NOTED
        begin = replace(spec, engine=None), surroundings is not None
        form: Form = self._all("begin", *begin)[0]
        self.stride, self.rebuilds, self.compiles, self.group, self.period = form

    def __len__(self) -> int:
        """Those that could not be built are among them."""
        return self._size

    def grow(self, agents: int) -> range:
        self._share_out(agents)
        first, there = (0, 0) if self.rebuilds else (self._count, self._size)
        new = range(first, first + agents - there)
        self._count, self._size = new.stop, agents
        due = {share.first: len(share.within(new)) for share in self._shares}
        asked = {number: (many,) for number, many in due.items() if many or self.rebuilds}
        shapes = self._probe.call("build", self._ask, "grow", asked)
        if self._around is not None:
            each = {number: iter(found) for number, found in shapes.items()}
            for agent in new:
                self._around.note(next(each[self._shard_of(agent)]))
        return new

    def _share_out(self, agents: int) -> None:
        """Have what agents have in common in the object store, and all shards use it there."""
        if not self._sampled:
            self._sampled = True
            size = self._ask("sample", {0: (agents,)})[0]
            if size:
                self._cluster.check_room(size)
                # What the first shard returns is in the store, where it stays.
                self._common = self._cluster.send(0, "sampled", self._number)
                self._cluster.result(0, self._common)
        if self._common is not None and not self._count:
            self._all("share", self._common)

    def leave(self, agents: range) -> None:
        parts = {share.first: share.within(agents) for share in self._shares}
        self._ask("leave", {number: (own,) for number, own in parts.items() if own})
        self._size -= len(agents)
        if self._around is not None:
            for agent in agents:
                self._around.leave(agent)

    def live(self, agents: range, steps: range) -> Iterator[Lived]:
        for step in steps:
            yield from self.live_apart([agents], step)

    def live_apart(
        self, stretches: Iterable[range], step: int, *, tell: bool = True
    ) -> Iterator[Lived]:
        due, noted = [*stretches], self.noted if tell else 0
        told = {} if self._around is None else self._perceived(due, self._around)
        asked: dict[int, tuple[Any, ...]] = {}
        for share in self._shares:
            if own := merged(share.within(each) for each in due):
                perceived = told.get(share.first)
                asked[share.first] = own, step, share.below(noted), perceived
        did: dict[int, Did] = self._probe.call("turns", self._ask, "live", asked)
        for number, each in did.items():
            yield from each.lived(self._shares[number], step)

    def _perceived(self, due: list[range], around: Surroundings) -> dict[int, Perceived]:
        """What agents perceive in their worlds, by shard."""
        rows: dict[int, list[Any]] = defaultdict(list)
        begun: dict[int, list[int]] = defaultdict(list)
        new: dict[int, list[int]] = defaultdict(list)
        for agent in chain(*due):
            number = self._shard_of(agent)
            own = self._shares[number].own(agent)
            rows[number].append(around.observe(agent, None))
            if agent in around.begun:
                around.begun.remove(agent)
                begun[number].append(own)
            if around.is_new(agent):
                new[number].append(own)
        return {
            number: Perceived(joined_rows(each), in_rows(begun[number]), in_rows(new[number]))
            for number, each in rows.items()
        }

    def lived(self, agents: range, steps: range) -> int:
        if self._around is not None:
            return super().lived(agents, steps)
        parts = {share.first: share.within(agents) for share in self._shares}
        asked = {number: (own, steps) for number, own in parts.items() if own}
        turns: dict[int, int] = self._probe.call("turns", self._ask, "lived", asked)
        return sum(turns.values())

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """None: this process holds nothing of the agents. What a shard's process takes is told by
        `Parts.memory`, and what nodes do, by `Cluster.nodes`."""
        yield from ()

    @property
    def file_bytes(self) -> int:
        return sum(self._all("ask", "file_bytes"))

    @property
    def kept_whole(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain(*self._all("ask", "kept_whole"))))

    def working_set(self) -> WorkingSetUse | None:
        return WorkingSetUse.together([*filter(None, self._all("ask", "working_set"))])

    def rewards(self) -> Rewards | None:
        if self._around is not None:
            return self._around.rewards.total()
        return Rewards.together([*filter(None, self._all("ask", "rewards"))])

    def facts(self) -> dict[str, str]:
        found: dict[str, str] = self._ask("ask", {0: ("facts",)})[0]
        return found

    def account(self, agents: int, chunk: int | None = None) -> Account:
        raise NoAccount("these agents live in several processes; predict those of one without Ray")

    def keep_programs(self) -> bool:
        return all(self._all("ask", "keep_programs"))

    def drop_caches(self) -> bool:
        return any(self._all("ask", "drop_caches"))

    def close(self) -> None:
        self._all("close")
        self._count = self._size = 0

    # ---------------------------------------------------------------------------- messages

    @property
    def _everywhere(self) -> range:
        return range(self._cluster.shards)

    def _shard_of(self, agent: int) -> int:
        return agent % self._cluster.shards

    def _all(self, method: str, *arguments: Any) -> list[Any]:
        """What all shards say."""
        return [*self._ask(method, dict.fromkeys(self._everywhere, arguments)).values()]

    def _ask(self, method: str, arguments: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """What shards say that are asked at once, by their numbers.

        Raises:
            ClusterError: one has died.
            whatever the first one raises that does.
        """
        cluster = self._cluster
        sent = {n: cluster.send(n, method, self._number, *each) for n, each in arguments.items()}
        return cluster.results_of(sent)
