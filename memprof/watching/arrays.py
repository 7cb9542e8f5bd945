"""JAX's live arrays, by who holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from memprof.values.watch_jax import Arrays

RETURNED, OTHERS = "returned by rollout", "other arrays of the program"


def live_arrays(parts: Iterable[tuple[str, Any]], returned: Iterable[Any]) -> tuple[Arrays, ...]:
    """Each live buffer once: under the component of the agents' `parts` that reaches it first, else
    as what a rollout has returned, else as the program's own. Most bytes first. JAX has to have
    begun: to be asked, it would."""
    import jax

    from memprof.instruments.device import bytes_by_address
    from memprof.instruments.held import reachable

    live = bytes_by_address(jax.live_arrays())
    holders: dict[int, str] = {}
    for component, thing in parts:
        for address in bytes_by_address(reachable([thing])):
            holders.setdefault(address, component)
    for address in bytes_by_address(returned):
        holders.setdefault(address, RETURNED)
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for address, size in live.items():
        name = holders.get(address, OTHERS)
        sizes[name] += size
        counts[name] += 1
    return tuple(Arrays(name, size, counts[name]) for name, size in sizes.most_common())
