"""JAX's live arrays, by who holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from memprof.values.watch_jax import Arrays

RETURNED, OTHERS = "returned by rollout", "other arrays of the program"


def live_arrays(parts: Iterable[tuple[str, Any]], returned: Iterable[Any]) -> tuple[Arrays, ...]:
    """Each live buffer once: under the component of the agents' `parts` that reaches it first, else
    as what a rollout has returned, else as the program's own. Most bytes first.

    The clients of the agents' own arrays are asked: at the program's end JAX has forgotten them,
    and would make new ones.
    """
    from memprof.instruments.device import bytes_by_address
    from memprof.instruments.held import reachable
    from memprof.instruments.memory import buffers_of

    holders: dict[int, str] = {}
    clients: dict[int, Any] = {}
    for component, thing in parts:
        for each in reachable([thing]):
            for buffer in buffers_of(each):
                holders.setdefault(buffer.address, component)
                clients |= {id(device.client): device.client for device in each.devices()}
    for address in bytes_by_address(returned):
        holders.setdefault(address, RETURNED)
    live = bytes_by_address(each for client in clients.values() for each in client.live_arrays())
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for address, size in live.items():
        name = holders.get(address, OTHERS)
        sizes[name] += size
        counts[name] += 1
    return tuple(Arrays(name, size, counts[name]) for name, size in sizes.most_common())
