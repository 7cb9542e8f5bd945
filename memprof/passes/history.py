"""Pass `history`: what PyMDP appends to for ever, compressed and whole, or its last steps only."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from memprof.agent_keywords import history_problem
from memprof.errors import ScenarioError
from memprof.passes.base import Pass
from memprof.store.flatten import NotStorable
from memprof.store.history import History
from memprof.store.identity import held_by_user, held_elsewhere
from memprof.upstream.attributes import HISTORIES, LATEST


class Histories(Pass):
    """Replaces the lists of an agent's past by a `History`, which behaves as a list.

    PyMDP appends an array to `prev_actions` in every step (and to others with MMP and
    `save_belief_hist`) and reads a few at the end.

    Attributes:
        steps: entries that each history keeps; None for all of them.
    """

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps

    def rest(self, agent: Any, index: int) -> None:
        if self.steps is not None:
            problem = history_problem(self.steps, agent.inference_algo, agent.inference_horizon)
            if problem:
                raise ScenarioError("history_steps", problem)
        attributes = vars(agent)
        held = held_by_user(agent)
        for name in HISTORIES:
            entries = attributes.get(name)
            if type(entries) is list:
                if not entries or held_elsewhere(attributes, name, references=1):
                    continue  # whoever holds the list would not see what is appended
                entries = History(entries, self.steps)
            elif type(entries) is not History:
                continue
            elif self.steps is not None:
                entries.limit = self.steps  # one from a store may have another
            with suppress(NotStorable):  # entries of the user's own stay objects
                entries.pack({id(attributes.get(LATEST.get(name))), *held})
            attributes[name] = entries
