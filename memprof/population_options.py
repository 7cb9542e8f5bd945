"""What `optimize` and `reopen` are given, checked: each mistake with the option's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memprof.errors import UsageError, nearest
from memprof.passes.catalogue import PASSES
from memprof.store.agent_class import is_stored
from memprof.units import parse_size


def budget_of(working_set: Any) -> int | None:
    """Bytes of the option `working_set`; None where it is not given."""
    if working_set is None:
        return None
    try:
        budget = 0 if isinstance(working_set, bool) else parse_size(working_set)
    except ValueError as error:
        raise UsageError(f"working_set: {error}, found {working_set!r}") from None
    if budget < 1:
        raise UsageError(f"working_set: expected a size above 0, found {working_set!r}")
    return budget


def check_requirements(names: Sequence[str]) -> None:
    """Whether each pass has the passes before it that it needs."""
    for position, name in enumerate(names):
        needed = PASSES[name].requires_one
        if needed and not {*needed} & {*names[:position]}:
            either = " or ".join(map(repr, needed))
            raise UsageError(f"passes: {name!r} needs {either} before it")


def check_steps(history_steps: Any) -> None:
    """Whether the option `history_steps` is a number of steps."""
    if type(history_steps) is not int or history_steps < 1:
        raise UsageError(
            f"history_steps: expected a whole number, 1 or more; found {history_steps!r}"
        )


def check_names(field: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Whether all names of an option are known."""
    for name in names:
        if name not in known:
            raise UsageError(f"{field}: {name!r} is none of them; {nearest(name, known)}")


def check_agent(agent: Any) -> None:
    """Whether it is an agent of PyMDP's NumPy backend that nobody has stored."""
    from pymdp.legacy.agent import Agent

    if is_stored(agent):
        raise UsageError(
            "agents: this one was taken over already, by this population or another; is it there "
            "twice?"
        )
    if not isinstance(agent, Agent):
        raise UsageError(
            f"agents: expected PyMDP agents (pymdp.legacy.agent.Agent), found "
            f"{type(agent).__module__}.{type(agent).__qualname__}"
        )


def check_agent_class(kind: Any) -> None:
    """Whether it is a class of such agents."""
    from pymdp.legacy.agent import Agent

    if not isinstance(kind, type) or not issubclass(kind, Agent):
        raise UsageError(
            "agent_class: expected the class of the agents (pymdp.legacy.agent.Agent or a "
            f"subclass), found {kind!r}"
        )
