"""Whether counts of references tell, here, who holds an object: passes rest on it.

What belongs to one agent while it is active.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from memprof.errors import UsageError
from memprof.storage.agent_class import AgentClass
from memprof.storage.constants import Difference
from memprof.storage.flatten import Encoding, Handed
from memprof.storage.identity import Names, links
from memprof.storage.scratch import Loans, Scratch


@lru_cache
def check_references() -> None:
    """Try them on objects whose holders are known. Some Pythons count otherwise: 3.14 lends
    references that it does not count, free-threaded builds count some later.

    Raises:
        UsageError: an agent could be parted from what others hold of it.
    """
    wrong = [what for what, tells in _TRIALS.items() if not tells()]
    if wrong:
        raise UsageError(
            f"passes: {platform.python_implementation()} {platform.python_version()} does not tell "
            f"by counts of references who holds {', '.join(wrong)}, which passes take; "
            "use CPython 3.11, 3.12 or 3.13, or no passes"
        )


def _tells_attributes() -> bool:
    holders: tuple[Callable[[dict[str, Any]], Any], ...] = (
        lambda state: state["log"],
        lambda state: state["log"][0],
        lambda state: state["log"][1],
        lambda state: state["qs_hist"],
    )
    for holder in holders:
        state: dict[str, Any] = {"log": [[0.0], np.zeros(1)], "qs_hist": [[0.0]]}
        names = Names.of(state, ("qs_hist",))
        if links(state, names).whole:
            return False
        held = [holder(state)]
        if not links(state, names).whole:
            return False
        held.clear()
    return True


def _tells_dicts() -> bool:
    class Agent:
        def __init__(self) -> None:
            self.log: list[Any] = []

    agent, kind = Agent(), AgentClass(Agent)
    alone = not kind.is_kept(agent)
    held = [kind.state(agent)]
    kept = kind.is_kept(agent)
    held.clear()
    return alone and kept


def _tells_loans() -> bool:
    scratch = Scratch()
    loans = Loans(scratch)
    held = [loans.patched(np.zeros(2), Difference(np.array([0]), np.array([1.0])))]
    loans.end_unused()
    kept = not any(True for _ in scratch.buffers())
    held.clear()
    loans.end_unused()
    return kept and any(True for _ in scratch.buffers())


def _tells_handed() -> bool:
    handed, held = Handed(), [np.zeros(2)]
    handed.note(Encoding(held[0], ("a",), b""))
    handed.forget_unused()
    kept = bool(handed)
    held.clear()
    handed.forget_unused()
    return kept and not handed


_TRIALS: dict[str, Callable[[], bool]] = {
    "attributes": _tells_attributes,
    "the dict of an agent": _tells_dicts,
    "a buffer that was lent": _tells_loans,
    "an array that was handed out": _tells_handed,
}


@dataclass(frozen=True, slots=True)
class Activation:
    """One active agent: what was lent to it, and arrays whose encoding is known."""

    agent: Any
    loans: Loans
    handed: Handed

    def spare(self) -> None:
        """Give back what the agent has no more use for, though it stays active."""
        self.handed.forget_unused()
        self.loans.end_unused()

    def held(self) -> Iterator[Any]:
        """All that the active agent holds, for the ledger."""
        yield self.agent
        yield from self.loans.held()
        yield [(each.array, each.data) for each in self.handed.values()]

    def end(self) -> None:
        """Give back what was lent, once the agent holds it no longer."""
        self.handed.clear()
        self.loans.end()
