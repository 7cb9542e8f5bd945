"""Turns that several agents take together, from when they are begun until they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from memprof.optimise.group import Turn
from memprof.populations import Behaviour
from memprof.populations.seeds import Onwards, each_below
from memprof.storage.cohorts import Cohort, Columns


@dataclass(slots=True)
class Pending:
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
    together: list[Pending]
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


def in_turn(
    together: list[Pending],
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
        yield from each_alone((positions[at] for at in np.flatnonzero(alone).tolist()), onwards)
        return
    waiting = np.flatnonzero((place >= 0) | alone)
    ends = np.flatnonzero(np.diff(np.where(alone, -2 - np.arange(len(place)), place)[waiting])) + 1
    for run in np.split(waiting, ends):
        if len(run) and alone[run[0]]:
            yield positions[run[0]]
        elif len(run):
            together[place[run[0]]].turn.choice.draw(row[run], each_below)


def each_alone(positions: Iterable[int], onwards: Onwards | None) -> Iterator[int]:
    """These positions one after the other, with random numbers that go on as they do there."""
    for position in positions:
        if onwards is not None:
            onwards.go_on(position)
        yield position


def _draw_apart(pending: Pending, onwards: Onwards) -> None:
    """Let agents draw, each from random numbers of its own."""
    choice = pending.turn.choice
    rows = np.flatnonzero(choice.draws & ~pending.turn.doubtful)
    places = pending.positions[rows]
    if not len(rows):
        return
    if choice.among_equals:
        choice.draw(rows, lambda limits: onwards.below(places, limits))
        return
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        onwards.go_on(place)
        choice.draw(np.array([row]), each_below)


def stored(pending: Pending, before: int) -> int:
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
