"""PyMDP's own JAX agents at rest: one template, and of each agent that in which it differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map, tree_structure, tree_unflatten

from memprof.optimise.jax import State
from memprof.populations import AGENT, EACH, EVERYBODY
from memprof.populations.jax_alike import all_equal, check_like, check_rows
from memprof.populations.jax_chunks import AWAKE_BYTES, even, grouped, temporary_bytes
from memprof.populations.jax_template import Template
from memprof.storage.layout import LARGE_BYTES
from memprof.storage.rows import Rows
from memprof.upstream.jax_agent import (
    COMPONENTS,
    Agent,
    Mind,
    leaves_of,
    with_rows,
)

_MIND = "mind."
_MOST_PER_CHUNK = 4096
# Temporary arrays of the agents that are computed at once; they fit the processor's cache.
_AT_ONCE_BYTES = 16 * 2**20


class Resting:
    """Agents at rest, a row for each.

    What is equal for all, bit by bit, is in the template alone. An attribute in which some agent
    differs, or that agents learn, is every agent's `own`; and so is their mind, once they have one.

    Args:
        first: an agent or a batch like all that will be here.
        chunk: agents of one chunk; None for as many as are no burden.
        folder: where rows are files; None for memory.
    """

    def __init__(self, first: Agent, chunk: int | None = None, folder: Path | None = None) -> None:
        check_rows(first)
        self.agent: Agent = first_of(first)
        self._names = leaves_of(self.agent)
        self._chunk = chunk
        self._own: dict[str, list[str]] = {}
        self._minded = False
        self._templates: dict[Any, Template] = {}
        self._compiled: set[Any] = set()
        self._shared: Callable[[np.ndarray], np.ndarray | None] | None = None
        self.rows = Rows(chunk or _MOST_PER_CHUNK, folder)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def own(self) -> tuple[str, ...]:
        """The attributes that are each agent's own."""
        return tuple(sorted(self._own))

    # Agents come.

    def take(self, agent: Agent, what: str) -> range:
        """Take over an agent, or all of a batch; the numbers of their rows.

        Raises:
            UsageError: it is not like the others; nothing is taken.
        """
        check_rows(agent)
        check_like(self.agent, agent, what)
        self.make_own(name for name in self._names if self._differs(name, agent))
        return self.rows.append(agent.batch_size, self._rows_of(agent))

    def _rows_of(self, agent: Agent) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for name, columns in self._own.items():
            found |= zip(columns, map(np.asarray, tree_leaves(getattr(agent, name))), strict=True)
        return found | (_mind_rows(Mind.first(agent)) if self._minded else {})

    def _differs(self, name: str, agent: Agent) -> bool:
        """Whether some row of an attribute that all have in common is another than the template's;
        by its bits."""
        if name in self._own:
            return False
        mine, given = (tree_leaves(getattr(each, name)) for each in (self.agent, agent))
        return not all(map(all_equal, map(np.asarray, given), map(np.asarray, mine)))

    def join(self, other: Resting, what: str) -> None:
        """Take over agents that rest elsewhere; there they have more of their own afterwards, where
        some here do.

        Raises:
            UsageError: they are not like those that are here; nothing is taken.
        """
        check_like(self.agent, other.agent, what)
        names = [name for name in self._names if self._differs(name, other.agent)]
        minded = self._minded or other._minded
        for each in (self, other):
            each.make_own(sorted({*names, *self._own, *other._own}))
            if minded:
                each.make_mindful()
        for rows in other.groups(np.arange(len(other))):
            self.rows.append(len(rows), other.rows.take(rows))

    def restore(self, rows: Rows, own: Iterable[str], minded: bool) -> None:
        """Have these rows, which were agents' like this template.

        Raises:
            ValueError: they are not.
        """
        mind = _mind_rows(Mind.first(self.agent)) if minded else {}
        self._own = {name: self._columns_of(name) for name in own}
        like = dict(mind)
        for name, columns in self._own.items():
            leaves = map(np.asarray, tree_leaves(getattr(self.agent, name)))
            like |= zip(columns, leaves, strict=True)
        forms = {column: (each.shape[1:], each.dtype) for column, each in like.items()}
        if {name: (each.shape, each.dtype) for name, each in rows.columns.items()} != forms:
            raise ValueError("expected columns as the template has arrays")
        self.rows, self._minded, self._chunk = rows, minded, rows.size

    def copied(self) -> Resting:
        """The same agents once more, in memory."""
        found = copy(self)
        found.rows, found._own, found._templates = self.rows.in_memory(), {**self._own}, {}
        return found

    def _columns_of(self, name: str) -> list[str]:
        return [f"{name}.{i}" for i in range(len(tree_leaves(getattr(self.agent, name))))]

    # What is an agent's own.

    def make_own(self, names: Iterable[str]) -> None:
        """Let these attributes be each agent's own from now on, as they are."""
        new = [name for name in names if name not in self._own]
        for name in new:
            leaves = [np.asarray(x) for x in tree_leaves(getattr(self.agent, name))]
            self._own[name] = columns = self._columns_of(name)
            for column, leaf in zip(columns, leaves, strict=True):
                self._add_column(column, leaf)
        if new:
            self._templates.clear()
            self._fit()

    def _add_column(self, column: str, leaf: np.ndarray) -> None:
        """A column with the template's row for everybody."""
        self.rows.add_column(column, leaf.shape[1:], leaf.dtype, lambda rows: leaf)

    def make_mindful(self) -> None:
        """Let agents have beliefs and a last action, those from before the first step."""
        if self._minded:
            return
        for column, leaf in _mind_rows(Mind.first(self.agent)).items():
            self._add_column(column, leaf)
        self._minded = True
        if "D" in self._own:
            for rows in self.groups(np.arange(len(self))):
                taken = self.rows.take(rows)
                first = {c.replace("D.", "mind.qs."): taken[c][:, None] for c in self._own["D"]}
                self.rows.put(rows, first)
        self._fit()

    def _fit(self) -> None:
        """Chunks that are no burden when awake; as they were while that is so."""
        if self._chunk is None and self.rows.size > (most := self._most()):
            self.rows = self.rows.resized(most)

    def even_out(self) -> None:
        """All chunks about as large, once all agents are there; at most as large as chosen."""
        size, _ = self.width(even(max(1, len(self)), self._chunk or self._most()))
        if size != self.rows.size:
            self.rows = self.rows.resized(size)

    def _most(self) -> int:
        each = self.rows.row_bytes + (0 if self._minded else _bytes(Mind.first(self.agent)))
        return max(1, min(_MOST_PER_CHUNK, AWAKE_BYTES // max(1, each)))

    # Chunks.

    def groups(self, rows: np.ndarray, size: int | None = None) -> Iterator[np.ndarray]:
        """The numbers of rows in the parts that step together, of a chunk's size at most."""
        size = size or self.rows.size
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def width(self, size: int) -> tuple[int, int]:
        """For chunks of about this size: their size in whole groups, and how many agents of a group
        are computed at once."""
        own = [getattr(self.agent, name) for name in self._own]
        return grouped(size, size, _AT_ONCE_BYTES // temporary_bytes(self.agent, own))

    def template(self, device: Any) -> Template:
        """The template on a device."""
        if device not in self._templates:
            made = tree_map(self._mapped, Template.of(self.agent, self.own))
            self._templates[device] = jax.device_put(made, device)
        return self._templates[device]

    def common(self) -> list[np.ndarray]:
        """The large arrays of the template, in the forms in which it is kept."""
        leaves = tree_leaves((self.agent, Template.of(self.agent, self.own)))
        arrays = {id(leaf): np.asarray(leaf) for leaf in leaves if leaf.nbytes >= LARGE_BYTES}
        return [*arrays.values()]

    def use(self, shared: Callable[[np.ndarray], np.ndarray | None]) -> None:
        """Have the template's large arrays where others have them, too: `shared` gives the array in
        memory that nobody writes to, which JAX takes as it is, or None."""
        self._shared = shared
        self.agent = tree_map(self._mapped, self.agent)
        self._templates.clear()

    def _mapped(self, leaf: Any) -> Any:
        if self._shared is None or leaf.nbytes < LARGE_BYTES or getattr(leaf, "weak_type", False):
            return leaf
        found = self._shared(np.asarray(leaf))
        return leaf if found is None else jax.device_put(found)

    def is_new(self, program: Any) -> bool:
        """Whether these agents were not asked about this program before."""
        found = (program, self.own)
        new = found not in self._compiled
        self._compiled.add(found)
        return new

    def state(self, taken: Mapping[str, np.ndarray]) -> State:
        """The state of agents whose rows were taken; without a mind, if they have none."""
        qs = [taken[column] for column in _belief_columns(taken)]
        mind = Mind(qs, taken[f"{_MIND}action"]) if self._minded else None
        return State(mind, self._leaves(taken))  # type: ignore[arg-type]

    def _leaves(self, taken: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {
            name: tree_unflatten(
                tree_structure(getattr(self.agent, name)), [taken[c] for c in columns]
            )
            for name, columns in self._own.items()
        }

    def put(self, rows: np.ndarray, mind: Mind | None, leaves: Mapping[str, Any]) -> None:
        """Store what these agents have become, of a chunk that may be padded."""
        found = {} if mind is None else _mind_rows(mind)
        for name, value in leaves.items():
            found |= zip(self._own[name], tree_leaves(value), strict=True)
        self.rows.put(rows, {c: np.asarray(array)[: len(rows)] for c, array in found.items()})

    # Agents, as PyMDP has them.

    def agents(self, rows: np.ndarray) -> Agent:
        """PyMDP's agent for these rows, a batch of its own."""
        leaves = self._leaves(self.rows.take(rows)) if len(rows) else {}
        given = {name: tree_map(jnp.array, value) for name, value in leaves.items()}
        if "I" not in given:  # as it is, and not as PyMDP would make it
            given["I"] = tree_map(lambda x: _repeated(x, len(rows)), self.agent.I)
        return with_rows(self.agent, given, len(rows))

    def replace(self, row: int, agent: Agent, what: str) -> None:
        """Store an agent in the place of one.

        Raises:
            UsageError: it is not like the others.
        """
        check_rows(agent, size=1)
        check_like(self.agent, agent, what)
        self.make_own(name for name in self._names if self._differs(name, agent))
        self.put(np.array([row]), None, {name: getattr(agent, name) for name in self._own})

    def mind(self, rows: np.ndarray) -> Mind:
        """Beliefs and last actions, on the host."""
        taken = self.rows.take(rows)
        found = Mind([taken[c] for c in _belief_columns(taken)], taken[f"{_MIND}action"])
        return tree_map(np.array, found)  # type: ignore[no-any-return]

    def set_mind(self, rows: np.ndarray, mind: Mind) -> None:
        """Store beliefs and last actions."""
        self.make_mindful()
        self.put(rows, mind, {})

    @property
    def minded(self) -> bool:
        """Whether agents have beliefs, and a last action."""
        return self._minded

    # The ledger.

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """What all this holds, as a population says it."""
        for name, columns in self._own.items():
            for column in columns:
                yield EACH, COMPONENTS.get(name, AGENT), self.rows.held(column)
        for column in self.rows.columns:
            if column.startswith(_MIND):
                yield EACH, "beliefs (qs)", self.rows.held(column)
        arrays = vars(self.agent)
        for name, component in COMPONENTS.items():
            yield EVERYBODY, component, arrays[name]
        yield EVERYBODY, AGENT, self.agent
        for template in self._templates.values():
            yield EVERYBODY, "B", template.transitions
            yield EVERYBODY, AGENT, template


def first_of(batch: Agent) -> Agent:
    """PyMDP's agent of the first row alone."""
    return with_rows(batch, {n: _head(getattr(batch, n)) for n in leaves_of(batch)}, 1)


def _head(value: Any) -> Any:
    return tree_map(_first_row, value)


def _first_row(array: Any) -> Any:
    """Sliced on the host, for which nothing has to be compiled. NumPy knows no weak types."""
    if getattr(array, "weak_type", False):
        return array[:1]
    return jax.device_put(np.array(np.asarray(array)[:1]))  # a copy: the batch can go


def _repeated(array: Any, size: int) -> Any:
    return jnp.broadcast_to(array, (size, *array.shape[1:]))


def _mind_rows(mind: Mind) -> dict[str, np.ndarray]:
    qs = {f"{_MIND}qs.{factor}": np.asarray(q) for factor, q in enumerate(mind.qs)}
    return {**qs, f"{_MIND}action": np.asarray(mind.action)}


def _belief_columns(taken: Mapping[str, Any]) -> list[str]:
    return sorted((c for c in taken if c.startswith(f"{_MIND}qs.")), key=_factor)


def _factor(column: str) -> int:
    return int(column.rpartition(".")[2])


def _bytes(tree: Any) -> int:
    return sum(x.nbytes for x in tree_leaves(tree))
