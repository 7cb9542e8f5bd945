"""Turns of a population under the pass `batch`: agents whose models are equal take theirs together,
all others one after the other; what each draws by chance it draws when its turn comes.

Whatever is computed together is compared with a turn of PyMDP's own before it is trusted, and where
PyMDP's decision would rest on the last bits, PyMDP takes it.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from memprof.optimise.facts import Facts
from memprof.optimise.group import Group, Turn, Uncovered, not_covered
from memprof.optimise.planning import Unfit
from memprof.optimise.replacements import beneath
from memprof.optimise.sums import BOUND
from memprof.populations import Behaviour
from memprof.populations.seeds import Onwards, each_below
from memprof.populations.turn import take_turn
from memprof.storage.activation import Activation
from memprof.storage.agent_class import agent_class
from memprof.storage.batch import Batch, CohortRecords, NotInColumns, Pattern, rests_as_data
from memprof.storage.cohorts import NEVER, Cohort, Columns, Row
from memprof.storage.company import LEAST, NO_COMPANY
from memprof.upstream.steps import PymdpsTurn, overridden

_MOST = 512
_NUMBERS = 2**16  # of a column: half a MiB, which stays in the processor's cache
TOGETHER = 2048
"""Agents whose turns are in the making at once."""
_UNFIT = "their numbers are not what PyMDP's kernels are for"
_REORDERED = "their sums would come in another order (name the pass batch to have them so)"
_COMPARED = 8  # agents of a pattern whose first turn PyMDP takes as well


@dataclass(slots=True)
class _Pending:
    """Turns of rows of a cohort that are not stored yet.

    Attributes:
        positions: of the agents in the order of turns; ascending, as `rows` are in theirs.
    """

    cohort: Cohort
    rows: np.ndarray
    positions: np.ndarray
    turn: Turn


@dataclass(frozen=True, slots=True)
class Taken:
    """Turns that agents have taken, at these positions among all."""

    positions: range
    together: list[_Pending]
    alone: dict[int, Behaviour]

    def actions(self) -> list[np.ndarray]:
        """What they did, in their order; [factors] each."""
        found: dict[int, np.ndarray] = {}
        for each in self.together:
            found |= zip(each.positions.tolist(), each.turn.choice.actions, strict=True)
        found |= {where: each.action for where, each in self.alone.items()}
        return [found[position] for position in self.positions]

    def behaviours(self) -> Iterator[Behaviour]:
        """What they believed and did, in their order."""
        found = dict(self.alone)
        for each in self.together:
            turn = each.turn
            for row, position in enumerate(each.positions.tolist()):
                if position not in found:
                    beliefs = np.empty(len(turn.beliefs), dtype=object)
                    for factor, of_all in enumerate(turn.beliefs):
                        beliefs[factor] = of_all[row]
                    did = turn.choice.actions[row]
                    found[position] = Behaviour(beliefs, turn.policies[row], did)
        return (found[position] for position in self.positions)


class Turns:
    """Takes the turns of a population."""

    def __init__(self, storage: Batch) -> None:
        self._storage, self._company = storage, storage.company
        self._facts = Facts()
        self._own = PymdpsTurn(beneath)

    def _count(self, why: str, turns: int = 1) -> None:
        """Turns that PyMDP takes one by one."""
        if turns:
            self._company.alone[why] += int(turns)

    @property
    def _records(self) -> CohortRecords:
        return self._storage.records

    def take(
        self,
        indices: Sequence[int],
        observations: Sequence[Any] | np.ndarray,
        one_by_one: Callable[[int], Behaviour],
        onwards: Onwards | None = None,
    ) -> Iterator[Taken]:
        """The turns of these agents, some after the others, in their order.

        Args:
            observations: what each observes; an array of integers where it is an index for each
                modality, [agents, modalities].
            one_by_one: takes the turn of the agent at a position in `indices`.
            onwards: where the random numbers of the agent at each position go on; None where all
                draw from `np.random` in turn.
        """
        self._company.calls += 1
        for first in range(0, len(indices), TOGETHER):
            positions = range(first, min(len(indices), first + TOGETHER))
            yield self._some(positions, indices, observations, one_by_one, onwards)

    def _some(
        self,
        positions: range,
        indices: Sequence[int],
        observations: Sequence[Any] | np.ndarray,
        one_by_one: Callable[[int], Behaviour],
        onwards: Onwards | None,
    ) -> Taken:
        together: list[_Pending] = []
        single = [*positions]
        if (changed := self._own.changed()) is None:
            single = self._join(positions, indices)
            together, left = self._begun(positions, indices, observations)
            single = sorted({*single, *left})
        else:
            self._count(f"PyMDP's {changed} is not known", len(positions))
        alone: dict[int, Behaviour] = {}
        done = positions.start
        try:
            for done in _in_turn(together, single, positions, onwards):
                alone[done] = one_by_one(done)
            done = positions.stop
        finally:
            self._company.together += sum(_store(each, done) for each in together)
            self._storage.written()
        return Taken(positions, together, alone)

    def last_actions(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """What each of these agents did last."""
        records = self._records
        found: list[np.ndarray | None] = []
        read: dict[int, np.ndarray] = {}
        for index in indices:
            stored = records[index]
            if not isinstance(stored, Cohort):
                with self._shown(stored, index) as activation:
                    found.append(activation.agent.action)
                continue
            if id(stored) not in read:
                read[id(stored)] = stored.load(("actions",)).actions.astype(np.float64)
            did = read[id(stored)][stored.rows_of(index)]
            found.append(None if did[0] == NEVER else did)
        return found

    # -------------------------------------------------------------- agents that come together

    def _join(self, positions: range, indices: Sequence[int]) -> list[int]:
        """Let records become rows where there is company; positions of those that stay records."""
        records, single = self._records, []
        known: dict[Any, Row | str] = {}
        found: dict[Pattern, list[tuple[int, int, Row]]] = defaultdict(list)
        for position in positions:
            index = indices[position]
            stored = records[index]
            if isinstance(stored, Cohort):
                continue
            if not rests_as_data(stored):
                self._count("they stay active")
                single.append(position)
                continue
            row: Row | str | None = self._company.why(index)
            if row is None:
                key = stored if type(stored) is bytes else id(stored)
                row = known[key] = known.get(key) or self._row(index, stored)
                if isinstance(row, str):
                    self._company.dismiss([index], row)
            if isinstance(row, str):
                self._count(row)
                single.append(position)
            else:
                found[row.pattern].append((position, index, row))
        for pattern, all_of_it in found.items():
            single += self._placed(pattern, all_of_it)
        return single

    def _row(self, index: int, stored: Any) -> Row | str:
        """An agent at rest as a row; or why it has to stay a record."""
        with self._shown(stored, index) as activation:
            agent = activation.agent
            if (name := overridden(agent)) is not None:
                return f"{type(agent).__name__} has its own {name}"
            try:
                return not_covered(vars(agent)) or self._storage.row(agent, index, activation)
            except NotInColumns as error:
                return str(error)
            finally:
                del agent

    @contextmanager
    def _shown(self, stored: Any, index: int) -> Iterator[Activation]:
        """An agent at rest, for nobody but us."""
        activation = self._storage.shown(stored, index)
        kind: type = type(activation.agent)
        try:
            yield activation
        finally:
            agent_class(kind).empty(activation.agent)
            activation.end()

    def _placed(self, pattern: Pattern, rows: list[tuple[int, int, Row]]) -> list[int]:
        """Put agents of one pattern into cohorts; the positions of those that stay records."""
        if pattern.group is None:
            pattern.group = self._group(pattern, rows[0][1])
        if isinstance(pattern.group, Uncovered):
            self._company.dismiss([index for _, index, _ in rows], str(pattern.group))
            self._count(str(pattern.group), len(rows))
            return [position for position, _, _ in rows]
        new = {index: row for _, index, row in rows}
        most = max(LEAST, min(_MOST, _NUMBERS // pattern.form.width))
        filling = pattern.filling()
        if filling is not None and len(filling) < most:
            new |= filling.rows()
        if filling is None and not self._company.found(pattern, new):
            self._count(NO_COMPANY, len(rows))
            return [position for position, _, _ in rows]
        ordered = sorted(new)
        for first in range(0, len(ordered), most):
            cohort = Cohort.of(
                pattern, {index: new[index] for index in ordered[first : first + most]}
            )
            self._records.settle(cohort)
            pattern.filling = weakref.ref(cohort)
        return []

    def _group(self, pattern: Pattern, index: int) -> Group | Uncovered:
        """What the agents of a pattern have in common, or why they have to take turns alone."""
        with self._shown(pattern.record, index) as activation:
            try:
                return Group.of(activation.agent, self._facts)
            except Uncovered as error:
                self._company.refused.append(pattern)
                return error

    # ------------------------------------------------------------------------ turns together

    def _begun(
        self, positions: range, indices: Sequence[int], observations: Sequence[Any] | np.ndarray
    ) -> tuple[list[_Pending], list[int]]:
        """Turns that are taken together, as far as nothing is drawn; and the positions of agents
        that rest as rows, but have to take theirs alone."""
        records, left = self._records, []
        members: dict[int, list[int]] = defaultdict(list)
        cohorts: dict[int, Cohort] = {}
        for position in positions:
            stored = records[indices[position]]
            if isinstance(stored, Cohort):
                cohorts[id(stored)] = stored
                members[id(stored)].append(position)
        pending = []
        for key, found in cohorts.items():
            cohort = found
            if 2 * len(found) < len(found.indices):
                cohort = Cohort.of(found.pattern, found.rows())
                records.settle(cohort)
            mine = np.array(members[key])
            rows = cohort.rows_of([indices[position] for position in mine.tolist()])
            if isinstance(observations, np.ndarray):
                given: Any = observations[mine]
            else:
                given = [observations[position] for position in mine.tolist()]
            seen, readable = _readable(given, cohort)
            begun = self._turn(cohort, rows[readable], mine[readable], seen)
            if begun is None:
                group = cohort.pattern.group
                self._count(str(group) if isinstance(group, Uncovered) else _UNFIT, readable.sum())
                left += mine[readable].tolist()
            else:
                doubtful = begun.positions[begun.turn.doubtful].tolist()
                self._count("PyMDP decides on the last bits", len(doubtful))
                left += doubtful
                pending.append(begun)
            self._count("their observations are no index for each modality", (~readable).sum())
            left += mine[~readable].tolist()
        return pending, left

    def _turn(
        self, cohort: Cohort, rows: np.ndarray, positions: np.ndarray, seen: np.ndarray
    ) -> _Pending | None:
        """A turn of some rows; None where PyMDP has to take it."""
        group = cohort.pattern.group
        if isinstance(group, Uncovered) or not len(rows):
            return None
        before = cohort.load(("beliefs", "actions", "times"))
        beliefs = [before.beliefs[rows, place] for place in cohort.pattern.form.places]
        try:
            turn = group.turn(seen, beliefs, before.actions[rows])
        except Unfit:
            return None
        if self._storage.exact_only and not turn.exact:
            cohort.pattern.group = Uncovered(_REORDERED)
            self._company.refused.append(cohort.pattern)
            return None
        pending = _Pending(cohort, rows, positions, turn)
        if not group.proven:
            some = np.unique(np.linspace(0, len(rows) - 1, _COMPARED).astype(int)).tolist()
            if not all(self._agrees(pending, row, seen) for row in some):
                cohort.pattern.group = Uncovered("their turn differs from PyMDP's own")
                self._company.refused.append(cohort.pattern)
                return None
            group.proven = True
        return pending

    def _agrees(self, pending: _Pending, row: int, seen: np.ndarray) -> bool:
        """Whether PyMDP takes the same turn."""
        if pending.turn.doubtful[row]:
            return True
        cohort, turn = pending.cohort, pending.turn
        index = int(cohort.indices[pending.rows[row]])
        state = np.random.get_state()
        try:
            with self._shown(cohort, index) as activation:
                own = take_turn(activation.agent, seen[row].tolist(), first=False)
                energies = activation.agent.G
            np.random.set_state(state)
            if turn.choice.draws[row]:
                turn.choice.draw(np.array([row]), each_below)
        finally:
            np.random.set_state(state)
        pairs = [
            *zip(own.beliefs, (each[row] for each in turn.beliefs), strict=True),
            (own.policies, turn.policies[row]),
            (energies, turn.energies[row]),
        ]
        near = all(np.abs(mine - theirs).max() <= BOUND * 100 for mine, theirs in pairs)
        return near and np.array_equal(own.action, turn.choice.actions[row])


def _readable(observations: Any, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Those of the observations that are an index for each modality, [agents, modalities]; and
    which ones they are."""
    outcomes = cohort.pattern.group.outcomes
    if isinstance(observations, np.ndarray):
        seen = observations.reshape(len(observations), -1)
        if seen.shape[1] != len(outcomes):
            return np.empty((0, len(outcomes)), np.int64), np.zeros(len(seen), bool)
        within = ((seen >= 0) & (seen < outcomes)).all(axis=1)
        return seen[within].astype(np.int64), within
    fits = np.ones(len(observations), bool)
    found = []
    for place, seen in enumerate(observations):
        each = (seen,) if np.ndim(seen) == 0 else seen
        fits[place] = len(each) == len(outcomes) and all(
            type(one) is not bool and isinstance(one, (int, np.integer)) and 0 <= one < count
            for one, count in zip(each, outcomes, strict=True)
        )
        if fits[place]:
            found.append([*each])
    return np.array(found, np.int64).reshape(-1, len(outcomes)), fits


def _in_turn(
    together: list[_Pending],
    single: Sequence[int],
    positions: range,
    onwards: Onwards | None,
) -> Iterator[int]:
    """Let agents draw, each when its turn comes; gives the positions of those in between that take
    their whole turn then."""
    place = np.full(len(positions), -1)
    row = np.zeros(len(positions), np.int64)
    for number, each in enumerate(together):
        waits = each.turn.choice.draws & ~each.turn.doubtful
        place[each.positions[waits] - positions.start] = number
        row[each.positions[waits] - positions.start] = np.flatnonzero(waits)
    alone = np.zeros(len(positions), bool)
    alone[np.array(single, np.int64) - positions.start] = True
    if onwards is not None:
        for each in together:
            _draw_apart(each, onwards)
        for where in np.flatnonzero(alone).tolist():
            onwards.go_on(positions[where])
            yield positions[where]
        return
    waiting = np.flatnonzero((place >= 0) | alone)
    ends = np.flatnonzero(np.diff(np.where(alone, -2 - np.arange(len(place)), place)[waiting])) + 1
    for run in np.split(waiting, ends):
        if len(run) and alone[run[0]]:
            yield positions[run[0]]
        elif len(run):
            together[place[run[0]]].turn.choice.draw(row[run], each_below)


def _draw_apart(pending: _Pending, onwards: Onwards) -> None:
    """Let agents draw, each from random numbers of its own."""
    choice = pending.turn.choice
    rows = np.flatnonzero(choice.draws & ~pending.turn.doubtful)
    places = pending.positions[rows]
    if choice.among_equals:
        choice.draw(rows, lambda limits: onwards.below(places, limits))
        return
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        onwards.go_on(place)
        choice.draw(np.array([row]), each_below)


def _store(pending: _Pending, before: int) -> int:
    """Store the turns of those whose position is `before` that one; how many these are."""
    turn, cohort = pending.turn, pending.cohort
    taken = (pending.positions < before) & ~turn.doubtful & cohort.here[pending.rows]
    rows = pending.rows[taken]
    if not len(rows):
        return 0
    everybody = len(rows) == len(cohort.indices)
    values = Columns.empty(len(rows), cohort.pattern.form) if everybody else cohort.load()
    now = Columns(
        np.concatenate(turn.beliefs, axis=1)[taken],
        turn.choice.actions[taken].astype(np.int64),
        cohort.load(("times",)).times[rows] + 1,
        np.ones(len(rows), bool),
        turn.policies[taken],
        turn.energies[taken],
    )
    values[rows] = now
    cohort.store(values)
    cohort.past.append(rows, now.actions)
    return len(rows)
