"""A part of a whole population, put together in memory from parts that were saved, however many
there were: agents of the whole keep their indices in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memprof.api.kinds import is_jax_store
from memprof.api.optimise import planned
from memprof.api.population import OptimizedPopulation
from memprof.optimise.plan import Plan
from memprof.storage.agent_class import agent_class as class_of
from memprof.storage.copies import own_again
from memprof.storage.generators import brought_back
from memprof.storage.header import Place
from memprof.storage.mmap import Mmap
from memprof.storage.saving import DraftOfPart, saving
from memprof.storage.template import Template
from memprof.storage.untrusted import decoding, failure, is_count, parsed, read_at_most, shown
from memprof.upstream.attributes import MODEL
from memprof.values.population import Share

if TYPE_CHECKING:
    from memprof.api.jax_population import OptimizedJaxPopulation

_NOBODY = "nobody.json"
"""The file of a folder that stands for a part without agents: how many there have been."""
_MOST_BYTES = 1 << 10


@dataclass(frozen=True)
class Stored:
    """A folder that `kept` has filled, and which agents of the whole were in that part."""

    folder: Path
    share: Share


def kept(population: OptimizedPopulation | OptimizedJaxPopulation, folder: Path) -> None:
    """Save a part for `refilled`, as `population.save` does; also where there is no agent in it, or
    no longer, and where agents have generators of random numbers as attributes.

    Raises:
        UsageError, StoreError: as for `population.save`.
    """
    if not isinstance(population, OptimizedPopulation):
        population.save(folder)
    elif len(population):
        with saving(folder, DraftOfPart) as draft:
            population.write(draft)
    else:
        _keep_nobody(population.given, folder)


def _keep_nobody(given: int, folder: Path) -> None:
    place = Place(folder)
    try:
        with place.draft() as draft:
            (draft / _NOBODY).write_text(json.dumps({"agents": given}))
            place.publish(draft)
    except OSError as error:
        raise failure(f"{shown(folder)}: cannot be written", error) from error


def refilled(
    stores: Sequence[Stored],
    share: Share,
    passes: str | Sequence[str],
    options: Mapping[str, Any],
    agent_class: type | None = None,
) -> OptimizedPopulation | OptimizedJaxPopulation:
    """The agents of the whole that are in `share`, exactly as they were saved, in memory and under
    the plan that `optimize(agents, passes, **options)` makes, but for `store`. Those that were
    removed are missing, and no index is given again.

    Agents are read one by one, those of JAX store by store.

    Args:
        stores: all parts of the whole, of one moment.
        agent_class: as for `reopen`.

    Raises:
        UsageError, StoreError: as for `optimize` and `reopen`.
    """
    given = {name: value for name, value in options.items() if name != "store"}
    if any(is_jax_store(each.folder) for each in stores):
        from memprof.api.jax_refill import refilled_jax

        places = [(each.folder, each.share) for each in stores]
        return refilled_jax(places, share, passes, given, agent_class)
    plan, names, given = planned(passes, given)
    with ExitStack() as opened:
        parts = [_Part.opened(each, agent_class, opened) for each in stores]
        return OptimizedPopulation(_agents(parts, share, plan), plan, names, given)


@dataclass(frozen=True)
class _Part:
    """A saved part: which agents of the whole are in it, how many there ever were, and the store,
    which one without agents has not."""

    share: Share
    given: int
    store: Mmap | None

    @classmethod
    def opened(cls, stored: Stored, kind: type | None, stack: ExitStack) -> _Part:
        if (stored.folder / _NOBODY).exists():
            with decoding(shown(stored.folder)):
                given = parsed(read_at_most(stored.folder / _NOBODY, _MOST_BYTES))["agents"]
                if not is_count(given):
                    raise ValueError(f"expected a number of agents, found {given!r}")
            return cls(stored.share, given, None)
        store = Mmap.reopen(stored.folder, kind, readonly=True, in_memory=True)
        stack.enter_context(closing(store))
        return cls(stored.share, len(store.records), store)

    @property
    def end(self) -> int:
        """One more than the last index of the whole that was given here."""
        return self.share.index(self.given - 1) + 1 if self.given else 0

    def read(self, index: int, *, shares: bool) -> Any:
        """The agent with this index in the whole, with arrays of its own; but for its model's,
        where it `shares` these with others. None if it is not here, or no longer."""
        own = self.share.own(index)
        if self.store is None or index not in self.share or own not in self.store.records:
            return None
        activation = self.store.shown(self.store.records[own], own)
        kind: type = type(activation.agent)
        known = class_of(kind)
        state = {**known.state(activation.agent)}
        own_again(state, MODEL if shares else (), activation.handed)
        known.empty(activation.agent)
        activation.end()
        with decoding(f"{shown(str(self.store.folder))}: agent {own}"):
            brought_back(state)
        return known.made(state)


def _agents(parts: Sequence[_Part], share: Share, plan: Plan) -> Iterator[Any]:
    """The agents of a share, in their order; where one is missing, its index is passed over."""
    whole = range(share.first, max((part.end for part in parts), default=0), share.every)
    shares = isinstance(plan.storage, Template)  # records are differences from its arrays
    for index in whole:
        for part in parts:
            agent = part.read(index, shares=shares)
            if agent is not None:
                plan.records.skip(share.own(index) - len(plan.records))
                yield agent
    plan.records.skip(len(whole) - len(plan.records))
