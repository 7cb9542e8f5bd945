"""The cluster that scenarios' populations live on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from memprof.distributed.cluster import Cluster
from memprof.values.population import Share

_PARTS = "memprof.distributed.parts:Parts"
_current: ContextVar[Cluster] = ContextVar("cluster")


@contextmanager
def on(cluster: Cluster) -> Iterator[None]:
    """A block in which populations of scenarios live in the shards of this cluster, those of all
    kinds in the same ones.

    Raises:
        ClusterError: a shard has died.
    """
    shares = [Share(number, cluster.shards) for number in range(cluster.shards)]
    cluster.results([cluster.send_own(each.first, "hold", _PARTS, each) for each in shares])
    token = _current.set(cluster)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Cluster:
    """The cluster of the block."""
    return _current.get()
