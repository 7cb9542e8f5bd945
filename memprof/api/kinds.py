"""Which of PyMDP's backends agents are of, and a store's; JAX is not imported to know that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from memprof.storage.header import JAX_HEADER, Place
from memprof.upstream import is_jax_agent


def of_jax(agents: Iterable[Any] | Any, options: Mapping[str, Any]) -> tuple[Any, bool]:
    """The agents, and whether they are JAX's, as the first one says. An iterator has to make that
    one; a place where no store can be is refused before.

    Raises:
        StoreError: as it says.
    """
    if not isinstance(agents, Iterator):
        try:
            first = agents if is_jax_agent(agents) else next(iter(agents), None)
        except TypeError:  # no iterable, which is for others to say
            first = None
        return agents, is_jax_agent(first)
    if isinstance(store := options.get("store"), str | Path):
        Place(Path(store)).check()
    for first in agents:
        return chain(iter([first]), agents), is_jax_agent(first)
    return agents, False


def is_jax_store(folder: Path | str) -> bool:
    """Whether a folder says that it has JAX agents."""
    try:
        return (Path(folder) / JAX_HEADER).exists()
    except (OSError, ValueError):  # no name that a folder can have
        return False
