"""Pass `history`: what PyMDP appends to for ever, in compressed chunks that read back whole."""

from __future__ import annotations

from typing import Any

from memprof.passes.base import Pass
from memprof.store.flatten import NotStorable
from memprof.store.history import History

_HISTORIES = ("prev_actions", "prev_obs", "qs_hist", "q_pi_hist")


class Histories(Pass):
    """Replaces the lists of an agent's past by a `History`, which behaves as a list.

    PyMDP appends an array to `prev_actions` in every step (and to others with MMP and
    `save_belief_hist`) and reads a few at the end.
    """

    def rest(self, agent: Any, index: int) -> None:
        attributes = vars(agent)
        for name in _HISTORIES:
            entries = attributes.get(name)
            if type(entries) is list:
                entries = History(entries)
            elif type(entries) is not History:
                continue
            try:
                entries.pack()
            except NotStorable:
                continue  # entries of the user's own; they stay a list
            attributes[name] = entries
