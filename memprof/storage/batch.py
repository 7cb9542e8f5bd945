"""Pass `batch`: agents whose models are equal rest as rows of cohorts, and take turns together.

Everybody else is a record, as under `template`, and so is an agent that was activated, until its
next turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self
from weakref import WeakValueDictionary

import numpy as np

from memprof.storage.activation import Activation, Scratch
from memprof.storage.cohorts import NEVER, Cohort, Columns, Form, Row
from memprof.storage.company import Company
from memprof.storage.flatten import is_objects
from memprof.storage.history import History
from memprof.storage.identity import Links, links_of
from memprof.storage.in_place import InPlace
from memprof.storage.layout import LARGE_BYTES
from memprof.storage.records import MemoryRecords
from memprof.storage.template import LargeRecord, Template, is_record
from memprof.storage.template_values import arrays_in
from memprof.text import counted, format_size
from memprof.upstream.attributes import set_by_pymdp
from memprof.values.measurements import Effect

CHANGED = ("qs", "q_pi", "G", "action", "prev_actions", "curr_timestep")
"""Attributes that a turn changes: those that have columns."""

_PLAIN = frozenset((type(None), bool, int, float, str, bytes))

_MOST_STEPS = 2**62


class NotInColumns(Exception):
    """An agent has to stay a record, and why, as a clause."""


class Pattern:
    """What agents have in common whose turns are taken together: all but what has columns.

    Attributes:
        record: an agent of it, without that.
        form: how its columns look.
        group: whoever takes their turns; None while it is not known.
        filling: the last cohort of it, which may have room for more.
    """

    __slots__ = ("__weakref__", "filling", "form", "group", "record")

    def __init__(self, record: bytes, form: Form) -> None:
        self.record, self.form = record, form
        self.group: Any = None
        self.filling: Callable[[], Cohort | None] = lambda: None


class Batch(Template):
    """Stores agents as rows where it can.

    Attributes:
        exact_only: turns are taken together only where they have PyMDP's bits.
        company: which agents look for others, and how they took their turns.
    """

    exact_only = False

    def __init__(self) -> None:
        super().__init__()
        self.company = Company()
        self._records: CohortRecords = CohortRecords()
        self._patterns = WeakValueDictionary[tuple[bytes, Form], Pattern]()
        # the last cohort of which a row was read
        self._read: tuple[Cohort, Columns, list[tuple[Any, ...]]] | None = None
        self._reading = threading.Lock()

    @property
    def records(self) -> CohortRecords:
        return self._records

    def _activation(
        self, stored: Any, index: int, left: Any, scratch: Scratch | None = None
    ) -> Activation:
        if not isinstance(stored, Cohort):
            return super()._activation(stored, index, left, scratch)
        activation = super()._activation(stored.pattern.record, index, left, scratch)
        row = int(stored.rows_of(index))
        with self._records.changing:
            _dress(activation.agent, stored, row, *self._rows_of(stored))
        return activation

    def _rows_of(self, cohort: Cohort) -> tuple[Columns, list[tuple[Any, ...]]]:
        with self._reading:
            if self._read is None or self._read[0] is not cohort:
                self._read = cohort, cohort.load(), cohort.named()
            return self._read[1:]

    def written(self) -> None:
        """Told when cohorts have changed: what was read of them is no longer so."""
        with self._reading:
            self._read = None

    def row(self, agent: Any, index: int, activation: Activation) -> Row:
        """An active agent as a row. It is empty afterwards, and to be let go of.

        Raises:
            NotInColumns: it cannot be one; it is what it was.
        """
        found = links_of(agent, activation.handed)
        form, values, past = _undressed(agent, found, self.history_steps)
        attributes = vars(agent)
        kind: type = type(agent)
        users = attributes.keys() - set_by_pymdp(kind)
        names = [name for name in attributes if name in users and type(attributes[name]) in _PLAIN]
        named = tuple(attributes[name] for name in names)
        form = replace(form, names=tuple(names))
        kept = {name: attributes[name] for name in (*CHANGED, *names) if name in attributes}
        # in their places; new ones as PyMDP adds them
        attributes.update(dict.fromkeys((*CHANGED, *names)))
        record = self.passivate(agent, index, activation)
        if isinstance(record, LargeRecord):
            attributes.update(kept)
            for name in CHANGED:
                if name not in kept:
                    del attributes[name]
            raise NotInColumns("some of their attributes have no encoding")
        return Row(self._pattern(record, form), values, past, named)

    def _pattern(self, record: bytes, form: Form) -> Pattern:
        pattern = self._patterns.get((record, form))
        if pattern is None:
            pattern = self._patterns[record, form] = Pattern(record, form)
        return pattern

    def copied(self) -> InPlace:
        other = super().copied()
        assert isinstance(other, Batch)
        for cohort in other.records.cohorts():
            pattern = other._pattern(cohort.pattern.record, cohort.pattern.form)
            pattern.group = cohort.pattern.group
            other.records.settle(cohort.copied(pattern))
        return other

    def _without_agents(self) -> Self:
        other = super()._without_agents()
        other._records, other._patterns = CohortRecords(), WeakValueDictionary()
        other._read, other._reading = None, threading.Lock()
        other.company = Company()
        return other

    def _copied(self, stored: Any) -> Any:
        return stored if isinstance(stored, Cohort) else super()._copied(stored)

    def effect(self, agents: Sequence[Any]) -> Effect:
        cohorts = self._records.cohorts()
        rows, size = sum(map(len, cohorts)), sum(cohort.nbytes for cohort in cohorts)
        what = [f"{counted(rows, 'agent')} in columns of {format_size(size)}"] if rows else []
        what += [each for each in [super().effect(agents).what] if each]
        together, alone = self.company.together, self.company.alone.most_common()
        what += [f"{counted(together, 'turn')} taken together"] if together else []
        what += [f"{counted(turns, 'turn')} one by one, because {why}" for why, turns in alone]
        return Effect("; ".join(what))

    def empty(self) -> None:
        super().empty()
        self._patterns.clear()
        self.written()

    def holdings(self) -> Iterator[tuple[str, Any]]:
        yield from super().holdings()
        yield "template", [(each.record, each.group) for each in self._patterns.values()]
        yield "passes", self.company
        yield "scratch", None if self._read is None else self._read[1:]


def rests_as_data(stored: Any) -> bool:
    """Whether what is kept of an agent is a record or a row, rather than the agent."""
    return is_record(stored) or isinstance(stored, Cohort)


class CohortRecords(MemoryRecords):
    """Records of which some are cohorts, that the agents in them have in common.

    Attributes:
        changing: held while cohorts change, and so that none does meanwhile: agents that others use
            may rest in them.
    """

    __slots__ = ("changing",)

    def __init__(self) -> None:
        super().__init__()
        self.changing = threading.RLock()

    def __setitem__(self, index: int, value: Any) -> None:
        with self.changing:
            cohort = self[index]
            if isinstance(cohort, Cohort):
                cohort.here[cohort.rows_of(index)] = False
            super().__setitem__(index, value)

    def __delitem__(self, index: int) -> None:
        with self.changing:
            super().__delitem__(index)

    def settle(self, cohort: Cohort) -> None:
        """From now on the agents whose rows are in the cohort rest there."""
        for index in cohort.indices[cohort.here].tolist():
            self._values[self._place(index)] = cohort

    def cohorts(self) -> list[Cohort]:
        """Each once."""
        found = {id(stored): stored for _, stored in self.items() if isinstance(stored, Cohort)}
        return [*found.values()]


def _undressed(agent: Any, found: Links, limit: int | None) -> tuple[Form, Columns, np.ndarray]:
    """What has columns, of an agent as PyMDP leaves it.

    Raises:
        NotInColumns: it is not as PyMDP leaves it.
    """
    own = vars(agent)
    # PyMDP leaves the last action in two places, which is looked at below.
    linked = {*found.linked} - {"action", "prev_actions"}
    if {*CHANGED} & {*linked, *found.whole, *found.users}:
        raise NotInColumns("others hold what they believe or did")
    leaves = _Leaves(arrays_in([own[name] for name in linked]))
    states, controls = tuple(map(int, own["num_states"])), [*map(int, own["num_controls"])]
    beliefs = _objects(own.get("qs"), len(states))
    entries = _past(own.get("prev_actions"))
    form = Form(states, len(own["policies"]), max(controls), limit)
    values = Columns.empty(1, form)
    for belief, size, place in zip(beliefs, states, form.places, strict=True):
        values.beliefs[0, place] = leaves(belief, (size,))
    if "q_pi" in own or "G" in own:
        values.planned[:] = True
        values.policies[0] = leaves(own.get("q_pi"), (form.policies,))
        values.energies[0] = leaves(own.get("G"), (form.policies,))
    if type(own.get("curr_timestep")) is not int or abs(own["curr_timestep"]) >= _MOST_STEPS:
        raise NotInColumns("their curr_timestep is no integer, or too large")
    values.times[:] = own["curr_timestep"]
    past = np.array([leaves(each, (form.factors,)) for each in entries]).reshape(-1, form.factors)
    within = ~np.signbit(past) & (past < controls) & (past == np.floor(past))
    if not within.all():
        raise NotInColumns("they did what is no action")
    action = own.get("action")
    if action is not None:
        if not entries or action is not entries[-1]:
            raise NotInColumns("their last action is not the last of prev_actions")
        values.actions[0] = past[-1]
    return form, values, past.astype(np.int64)


class _Leaves:
    """Arrays of one agent, of which none is another one, or one of `others`, or shows its
    memory."""

    def __init__(self, others: Iterable[np.ndarray]) -> None:
        self._known: dict[int, Any] = {}
        for array in others:
            self._known |= {id(array): array, id(_owner(array)): _owner(array)}

    def __call__(self, array: Any, shape: tuple[int, ...]) -> np.ndarray:
        plain = (
            type(array) is np.ndarray
            and array.dtype == np.float64
            and array.shape == shape
            and array.flags.c_contiguous
            and (array.flags.writeable or array.nbytes >= LARGE_BYTES)
        )
        owner = _owner(array) if plain else array
        if not plain or id(array) in self._known or id(owner) in self._known:
            raise NotInColumns("what they believe or did is not as PyMDP leaves it")
        self._known |= {id(array): array, id(owner): owner}
        return array  # type: ignore[no-any-return]


def _owner(array: np.ndarray) -> Any:
    return array if array.base is None else array.base


def _objects(value: Any, count: int) -> list[Any]:
    if not is_objects(value) or value.shape != (count,) or not value.flags.writeable:
        raise NotInColumns("what they believe is not as PyMDP leaves it")
    found: list[Any] = value.tolist()
    return found


def _past(value: Any) -> list[Any]:
    """The entries of a history."""
    if value is not None and (type(value) not in (list, History) or not len(value)):
        raise NotInColumns("their prev_actions is not as PyMDP leaves it")
    return [*(value or ())]


def _dress(
    agent: Any, cohort: Cohort, row: int, rows: Columns, named: Sequence[tuple[Any, ...]]
) -> None:
    """Give an agent what its row says."""
    own, form = vars(agent), cohort.pattern.form
    own.update(zip(form.names, named[row], strict=True))
    beliefs = np.empty(form.factors, dtype=object)
    for factor, place in enumerate(form.places):
        beliefs[factor] = rows.beliefs[row, place].copy()
    own["qs"] = beliefs
    for name, column in (("q_pi", rows.policies), ("G", rows.energies)):
        if rows.planned[row]:
            own[name] = column[row].copy()
        else:
            del own[name]
    past = [*map(np.copy, cohort.past.row(row).astype(np.float64))]
    own["prev_actions"] = past or None
    own["action"] = past[-1] if rows.actions[row, 0] != NEVER else None
    own["curr_timestep"] = int(rows.times[row])
