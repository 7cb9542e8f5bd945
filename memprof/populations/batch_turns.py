"""Turns of a population under the pass `batch`: agents whose models are equal take theirs together,
all others one after the other; what each draws by chance it draws when its turn comes.

Whatever is computed together is compared with a turn of PyMDP's own before it is trusted, and where
PyMDP's decision would rest on the last bits, PyMDP takes it.
"""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from memprof.optimise.facts import Facts
from memprof.optimise.group import Group, Uncovered, not_covered
from memprof.optimise.planning import Unfit
from memprof.optimise.replacements import beneath
from memprof.optimise.sums import BOUND
from memprof.populations import Behaviour
from memprof.populations.observed import indices_of
from memprof.populations.pending import Pending, Taken, each_alone, in_turn, stored
from memprof.populations.seeds import Onwards, each_below
from memprof.populations.thread_random import not_numpys
from memprof.populations.turn import take_turn
from memprof.storage.activation import Activation
from memprof.storage.agent_class import agent_class
from memprof.storage.batch import Batch, CohortRecords, NotInColumns, Pattern, rests_as_data
from memprof.storage.cohorts import NEVER, Cohort, Row
from memprof.storage.company import LEAST, NO_COMPANY
from memprof.upstream.steps import PymdpsTurn, overridden, overrides

_MOST = 512
_NUMBERS = 2**16  # of a column: half a MiB, which stays in the processor's cache
TOGETHER = 2048
"""Agents whose turns are in the making at once."""
_UNFIT = "their numbers are not what PyMDP's kernels are for"
_REORDERED = "their sums would come in another order (name the pass batch to have them so)"
_DRAWS = ("choice", "multinomial", "randint", "get_state", "set_state")
_COMPARED = 8  # agents of a pattern whose first turn PyMDP takes as well


class Turns:
    """Takes the turns of a population."""

    def __init__(self, storage: Batch) -> None:
        self._storage, self._company = storage, storage.company
        self._facts = Facts()
        self._own = PymdpsTurn(beneath)
        self._taking, self._taker = threading.Lock(), 0  # the thread that takes turns

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
            if self._taker == threading.get_ident():  # in the turn of one that has others act
                self._count("they acted during the turn of another", len(positions))
                alone = {each: one_by_one(each) for each in each_alone(positions, onwards)}
                yield Taken(positions, [], alone)
                continue
            with self._taking:
                self._taker = threading.get_ident()
                try:
                    taken = self._some(positions, indices, observations, one_by_one, onwards)
                finally:
                    self._taker = 0
            yield taken

    def _some(
        self,
        positions: range,
        indices: Sequence[int],
        observations: Sequence[Any] | np.ndarray,
        one_by_one: Callable[[int], Behaviour],
        onwards: Onwards | None,
    ) -> Taken:
        together: list[Pending] = []
        single = [*positions]
        if (changed := self._changed()) is None:
            single = self._join(positions, indices)
            together, left = self._begun(positions, indices, observations)
            single = sorted({*single, *left})
        else:
            self._count(changed, len(positions))
        alone: dict[int, Behaviour] = {}
        done = positions.start
        try:
            for done in in_turn(together, single, positions, onwards):
                alone[done] = one_by_one(done)
            done = positions.stop
        finally:
            with self._records.changing:
                self._company.together += sum(stored(each, done) for each in together)
            self._storage.written()
        return Taken(positions, together, alone)

    def _changed(self) -> str | None:
        """Why PyMDP has to take all turns, as a clause; None if nothing is the matter."""
        if (changed := self._own.changed()) is not None:
            return f"PyMDP's {changed} is not known"
        if (changed := not_numpys(_DRAWS)) is not None:
            return f"np.random.{changed} is not NumPy's"
        return None

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
            except Exception as error:
                return f"their attributes are not as PyMDP leaves them ({type(error).__name__})"
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
        with self._records.changing:
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
            except Exception as error:
                self._company.refused.append(pattern)
                unread = f"their model cannot be read ({type(error).__name__})"
                return error if isinstance(error, Uncovered) else Uncovered(unread)

    # ------------------------------------------------------------------------ turns together

    def _begun(
        self, positions: range, indices: Sequence[int], observations: Sequence[Any] | np.ndarray
    ) -> tuple[list[Pending], list[int]]:
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
                with records.changing:
                    cohort = Cohort.of(found.pattern, found.rows())
                    records.settle(cohort)
            mine = np.array(members[key])
            if isinstance(group := cohort.pattern.group, Uncovered):  # since they came here
                self._count(str(group), len(mine))
                left += mine.tolist()
                continue
            rows = cohort.rows_of([indices[position] for position in mine.tolist()])
            if isinstance(observations, np.ndarray):
                given: Any = observations[mine]
            else:
                given = [observations[position] for position in mine.tolist()]
            seen, readable = indices_of(given, group.outcomes)
            begun = self._turn(cohort, rows[readable], mine[readable], seen)
            if isinstance(begun, str):
                self._count(begun, readable.sum())
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
    ) -> Pending | str:
        """A turn of some rows; or why PyMDP has to take it."""
        group = cohort.pattern.group
        if not len(rows):
            return ""
        if (name := overrides(group.kind)) is not None:  # since they came here
            return f"{group.kind.__name__} has its own {name}"
        before = cohort.load(("beliefs", "actions", "times"))
        beliefs = [before.beliefs[rows, place] for place in cohort.pattern.form.places]
        try:
            turn = group.turn(seen, beliefs, before.actions[rows])
        except Unfit as error:
            return str(error) or _UNFIT
        except Exception as error:
            return f"their turn cannot be computed together ({type(error).__name__})"
        if self._storage.exact_only and not turn.exact:
            cohort.pattern.group = Uncovered(_REORDERED)
            self._company.refused.append(cohort.pattern)
            return _REORDERED
        pending = Pending(cohort, rows, positions, turn)
        if not group.proven and len(sure := np.flatnonzero(~turn.doubtful)):
            some = np.unique(np.linspace(0, len(sure) - 1, _COMPARED).astype(int))
            if not all(self._agrees(pending, row, seen) for row in sure[some].tolist()):
                cohort.pattern.group = Uncovered("their turn differs from PyMDP's own")
                self._company.refused.append(cohort.pattern)
                return str(cohort.pattern.group)
            group.proven = True
        return pending

    def _agrees(self, pending: Pending, row: int, seen: np.ndarray) -> bool:
        """Whether PyMDP takes the same turn."""
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
        except Exception:  # PyMDP's own, which it raises again when the agent's turn comes
            return False
        finally:
            np.random.set_state(state)
        pairs = [
            *zip(own.beliefs, (each[row] for each in turn.beliefs), strict=True),
            (own.policies, turn.policies[row]),
            (energies, turn.energies[row]),
        ]
        near = all(
            mine.shape == theirs.shape and np.abs(mine - theirs).max() <= BOUND * 100
            for mine, theirs in pairs
        )
        return near and np.array_equal(own.action, turn.choice.actions[row])
