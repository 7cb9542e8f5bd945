"""One walk over all agents of a program that live: what each kind of them holds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any

from msgspec.structs import replace

from memprof.values.measurements import Ledger, LedgerRow
from memprof.values.watch import SAME_SIZE, Kind, KindCost, Look
from memprof.watching.registry import MANY_MORE, BackendName, Crowd, is_hollow, rows_of

# A component's name, after the number of the kind that it belongs to.
_SEPARATOR = "\0"
# The first agents of a kind pay for what all share, and for imports.
_FIRST, _FEWEST_READINGS = 2, 8


@dataclass(frozen=True, slots=True)
class Living:
    """The agents of one kind that live.

    Attributes:
        agents: objects; each of JAX's may be a batch.
        rows: how many agents each is.
        crowd: that they were built in, which gives the kind its line.
    """

    agents: Sequence[Any]
    rows: Sequence[int]
    crowd: Crowd

    @property
    def count(self) -> int:
        return sum(self.rows)

    def try_saving(self) -> None:
        """Measure what a pass would make of them, if there are many more than the last time."""
        from memprof.watching.savings import saving_of
        from memprof.watching.sharing import sharing_of

        if self.count > MANY_MORE * self.crowd.tried_with:
            self.crowd.tried_with = self.count
            measure = saving_of if self.crowd.backend == "numpy" else sharing_of
            self.crowd.saving = measure(self.agents)


def load() -> None:
    """Import what a look needs: not amid the agents' steps, where it would look like growth."""
    for name in ("contents", "source_lines", "walker"):
        import_module(f"memprof.instruments.{name}")
    import_module("memprof.stats.growth")
    import_module("memprof.storage.template")
    import_module("memprof.upstream.attributes")
    import_module("memprof.watching.live")


def living(crowds: Iterable[Crowd]) -> list[Living]:
    """All kinds of which somebody lives."""
    found = []
    known: set[tuple[int, ...]] = set()
    for crowd in crowds:
        agents = [agent for agent in crowd.agents() if not is_hollow(agent)]
        if crowd.backend == "jax":
            agents = [agent for agent in agents if _is_new(agent, known)]
        if agents:
            rows = [rows_of(agent, crowd.backend) for agent in agents]
            found.append(Living(agents, rows, crowd))
    return found


def _is_new(agent: Any, known: set[tuple[int, ...]]) -> bool:
    """Whether it is no second view of the very arrays that make up another agent, as a rollout
    returns one that has learned nothing."""
    from jax.tree_util import tree_leaves

    arrays = tuple(map(id, tree_leaves(agent)))
    is_new = arrays not in known
    known.add(arrays)
    return is_new


def look(
    name: str,
    kinds: Sequence[Living],
    seconds: float,
    private_bytes: int,
    folder: str,
    returned: Sequence[Any] = (),
) -> Look:
    """What they hold now. `folder` is the one from which the program's files are named; `returned`
    are arrays that rollouts have returned."""
    from memprof.instruments.walker import walk
    from memprof.watching.arrays import live_arrays

    start = perf_counter()
    rows = [count for kind in kinds for count in kind.rows]
    batches = {owner for owner, count in enumerate(rows) if count > 1}
    walked = walk(_holdings(kinds), len(rows), batches)
    held = walked.resident or walked.nominal
    found, first = [], 0
    for number, kind in enumerate(kinds):
        mine = held[first : first + len(kind.agents)]
        first += len(kind.agents)
        own = _rows_of_kind(walked.rows, number)
        each = [size / count for size, count in zip(mine, kind.rows, strict=True)]
        found.append(_kind(kind, own, each, folder))
    shared = sum(row.shared_bytes for kind in found for row in kind.ledger.rows)
    found.sort(key=lambda kind: kind.per_agent.bytes * kind.agents, reverse=True)
    arrays = live_arrays(_parts(kinds), returned) if _any_of_jax(kinds) else ()
    taken = perf_counter() - start
    return Look(name, seconds, private_bytes, tuple(found), shared, taken, arrays)


def _any_of_jax(kinds: Sequence[Living]) -> bool:
    return any(kind.crowd.backend == "jax" for kind in kinds)


def _parts(kinds: Sequence[Living]) -> Iterator[tuple[str, Any]]:
    """What all agents hold, by component."""
    for kind in kinds:
        for agent in kind.agents:
            yield from _parts_of(agent, kind.crowd.backend)


def _holdings(kinds: Sequence[Living]) -> Iterator[tuple[int, str, Any]]:
    """What all agents hold, as a population says it; components by kind."""
    owner = 0
    for number, kind in enumerate(kinds):
        for agent in kind.agents:
            for component, thing in _parts_of(agent, kind.crowd.backend):
                yield owner, f"{number}{_SEPARATOR}{component}", thing
            owner += 1


def _rows_of_kind(rows: Sequence[LedgerRow], number: int) -> list[LedgerRow]:
    prefix = f"{number}{_SEPARATOR}"
    mine = [row for row in rows if row.component.startswith(prefix) and row.objects]
    return [replace(row, component=row.component.removeprefix(prefix)) for row in mine]


def _kind(living: Living, rows: list[LedgerRow], each: Sequence[float], folder: str) -> Kind:
    from memprof.instruments.source_lines import source_line
    from memprof.instruments.walker import balance

    mean = statistics.fmean(each)
    alike = max(each) <= SAME_SIZE * min(each)
    cost = _cost(living, mean) if alike else KindCost(mean, "ledger")
    crowd = living.crowd
    built_at = None if crowd.place is None else source_line(crowd.place, folder)
    # With the one that is about to go; of JAX's, some are other agents' arrays.
    going = len(crowd.alive) if crowd.backend == "numpy" else 0
    ledger = balance(living.count, 0, rows, each)
    explained = ledger.explained_bytes or sum(row.nominal_bytes for row in rows)
    growth = explained if cost.how == "ledger" else round(cost.bytes * living.count)
    return Kind(
        name=name_of(crowd, folder),
        class_name=_class_name(crowd.cls),
        built_at=built_at,
        backend=crowd.backend,
        agents=max(living.count, going),
        built=crowd.built,
        per_agent=cost,
        equal_bytes=_equal_bytes(living, rows),
        saving=crowd.saving,
        ledger=_grown(ledger, growth),
    )


def name_of(crowd: Crowd, folder: str) -> str:
    """The class with the line, as a reader tells kinds apart: no two have the same."""
    from memprof.instruments.source_lines import short_path

    name = _class_name(crowd.cls) if crowd.shares_name else crowd.cls.__qualname__
    if crowd.place is None:
        return name
    path, line = crowd.place
    return f"{name} ({short_path(path, folder)}:{line})"


def _class_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _grown(ledger: Ledger, growth: int) -> Ledger:
    explained = ledger.explained_bytes
    unexplained = None if explained is None else growth - explained
    return replace(ledger, growth_bytes=growth, unexplained_bytes=unexplained)


def _cost(living: Living, held_bytes: float) -> KindCost:
    """The slope of the process over the agents as they were built, where it fits and is no less
    than what they hold: for what they took later, such as histories, no line is known."""
    from memprof.stats.lines import FITS, memory_line

    built, (rows, *others) = living.crowd.longest, {*living.rows}
    points = [*zip(built.agents, built.private_bytes, strict=True)]
    if len(points) >= _FEWEST_READINGS and not others:
        line = memory_line(points[_FIRST:])
        slope, half = line.slope / rows, line.half_width / rows
        if line.is_known_to(FITS) and slope >= held_bytes * (1 - FITS):
            return KindCost(slope, "slope", (slope - half, slope + half))
    return KindCost(held_bytes, "ledger")


def _equal_bytes(kind: Living, held: Sequence[LedgerRow]) -> float:
    """Of one agent's arrays, those of components in which all that were compared are alike; without
    what they share already."""
    from memprof.instruments.contents import contents
    from memprof.populations import EACH

    if kind.count < 2:
        return 0.0
    backend = kind.crowd.backend
    batch = kind.agents[0] if len(kind.agents) == 1 else None
    if backend == "jax" and batch is None:  # compared already, for what `share` would hold
        return float((kind.crowd.saving and kind.crowd.saving.once_bytes) or 0)
    if batch is not None:
        parts = ((EACH, name, thing) for name, thing in _parts_of(batch, backend))
    else:
        parts = (
            (owner, name, thing)
            for owner, agent in enumerate(kind.agents)
            for name, thing in _parts_of(agent, backend)
        )
    rows = contents(parts, kind.count if batch is not None else len(kind.agents))
    alone = {row.component: row.private_nominal_bytes / kind.count for row in held}
    return sum(
        min(row.agent_bytes, alone.get(row.component, 0))
        for row in rows
        if row.compared > 1 and row.alike == row.compared
    )


def _parts_of(agent: Any, backend: BackendName) -> Iterator[tuple[str, Any]]:
    if backend == "numpy":
        from memprof.upstream.attributes import parts_of
    else:
        from memprof.upstream.jax_agent import parts_of
    return parts_of(agent)
