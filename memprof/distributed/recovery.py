"""Calls of a population's shards that survive the death of one: it goes on from its last
checkpoint, and does once more what it has done since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memprof.distributed.cluster import Cluster, ShardGone
from memprof.distributed.shard import Call, CannotGoOn
from memprof.distributed.traffic import size_of
from memprof.errors import ClusterError, ShardLost
from memprof.text import counted

_MOST_DEATHS = 5
"""A shard that dies so often over one call will go on dying."""


@dataclass(slots=True)
class Restart:
    """How each shard is told again what it holds, of the last checkpoint; and what was called
    since."""

    hold: Sequence[tuple[Any, ...]]
    calls: list[list[Call]] = field(default_factory=list)


class Calls:
    """The calls of one population's shards.

    Attributes:
        journal_bytes: what is kept of calls since the last checkpoint.
        recovered: how often a shard has died and gone on.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._restart: Restart | None = None
        self._lost: ShardLost | None = None
        self._shared: Any = None
        self.journal_bytes = 0
        self.recovered = 0

    def share(self, arrays: Sequence[Any]) -> None:
        """Let all shards have these arrays, which are in the object store once per node."""
        if not arrays:
            return
        self._cluster.check_room(sum(each.content.nbytes for each in arrays))
        self._shared = self._cluster.put([*arrays])
        self._cluster.all_own("share", self._shared)

    def hold(self, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Tell each shard what to hold; what that says of itself."""
        sent = [
            self._cluster.send_own(number, "hold", *each) for number, each in enumerate(arguments)
        ]
        return self._cluster.results(sent)

    def saved(self, hold: Sequence[tuple[Any, ...]]) -> None:
        """From now on, shards that die go on from here."""
        self._restart = Restart(hold, [[] for _ in hold])
        self.journal_bytes = 0

    def check(self) -> None:
        """Check that all shards are as they have to be.

        Raises:
            ShardLost: one has died for good.
        """
        if self._lost is not None:
            raise self._lost

    def ask(self, method: str, arguments: Mapping[int, tuple[Any, ...]], *, changes: bool) -> Any:
        """Have some shards do something at once; what each returns, by number. Whether it `changes`
        their agents decides whether it is done again by a shard that dies later.

        Raises:
            ShardLost: one has died, and there is no checkpoint.
            whatever the first shard raises that does, once all are done.
        """
        self.check()
        sent: dict[int, Any] = {}
        for number, given in arguments.items():
            if changes and self._restart is not None:
                self._restart.calls[number].append(Call(method, given))
                self.journal_bytes += size_of(given)
            sent[number] = self._cluster.send(number, method, *given)
        found: dict[int, Any] = {}
        failed: Exception | None = None
        for number, each in sent.items():
            try:
                found[number] = self._result(number, each, Call(method, arguments[number]), changes)
            except ShardLost:
                raise
            except Exception as error:
                failed = failed or error
                if changes and not isinstance(error, ClusterError):  # which says nothing of that
                    self._ended(number, raised=True)
            else:
                if changes:
                    self._ended(number, raised=False)
        if failed is not None:
            raise failed
        return found

    def _ended(self, number: int, *, raised: bool) -> None:
        """How the last call of a shard ended, which it has to do once more if it dies."""
        if self._restart is not None:
            calls = self._restart.calls[number]
            calls[-1] = calls[-1]._replace(raised=raised)

    def lose(self, why: str) -> None:
        """From now on nobody knows which agents shards have."""
        self._lost = self._lost or ShardLost(f"{why}: {self._remedy()}")

    def _result(self, number: int, sent: Any, call: Call, changes: bool) -> Any:
        for deaths in range(1, _MOST_DEATHS + 1):
            try:
                return self._cluster.result(number, sent)
            except ShardGone as error:
                if self._restart is None or deaths == _MOST_DEATHS:
                    raise self._given_up(number, str(error), deaths) from None
                sent = self._again(number, call, changes)
            except CannotGoOn as error:
                raise self._given_up(number, str(error), deaths - 1) from error
        raise AssertionError

    def _again(self, number: int, call: Call, changes: bool) -> Any:
        """A shard that has died, on its way from the last checkpoint to the end of this call."""
        assert self._restart is not None
        try:
            self._cluster.revived(number)
            if self._shared is not None:
                self._cluster.send_own(number, "share", self._shared)
        except ShardGone:
            pass  # which going on will find out, too
        self.recovered += 1
        calls = self._restart.calls[number]
        calls = calls if changes else [*calls, call]
        return self._cluster.send_own(number, "go_on", self._restart.hold[number], calls)

    def _given_up(self, number: int, why: str, deaths: int) -> ShardLost:
        shards = self._cluster.shards
        what = f"shard {number} of {shards} has died ({why})"
        if self._restart is not None and deaths > 1:
            what = f"{what}, {counted(deaths, 'time')} in one call"
        self._lost = ShardLost(f"{what}: {self._remedy()}")
        return self._lost

    def _remedy(self) -> str:
        if self._restart is None:
            return (
                "there is no checkpoint from which its agents could go on. Begin anew, and call "
                "population.checkpoint(folder) after the first turn"
            )
        return (
            "reopen the last checkpoint with memprof.distribute(folder), with more shards or nodes"
        )
