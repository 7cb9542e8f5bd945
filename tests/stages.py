"""One script of what a user does with agents, played by plain agents and by populations."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import memprof
from memprof.errors import MemprofError
from tests.observed import Picture, picture, picture_of_agent

SAME, REFUSED, UNTOLD, SILENT, LOST = "same", "refused", "untold", "silent", "lost"
"""Outcomes: as plain agents; refused with a remedy, or without one; different without a word; an
agent or its contents are gone."""

WRONG = (UNTOLD, SILENT, LOST)

Script = Callable[["Stage"], None]


@dataclass(frozen=True)
class Plan:
    """How a population is made; with `reopens`, its store is closed and opened again before every
    use of an agent."""

    passes: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    reopens: bool = False


PLANS = {
    "share": Plan(("share",)),
    "template": Plan(("template",)),
    "auto": Plan(("history", "pool", "template")),
    "mmap": Plan(("mmap",)),
    "store": Plan(("mmap",), reopens=True),
    "working set": Plan(("history", "pool", "template", "working_set"), {"working_set": 8192}),
    "no template": Plan(("share", "policies", "history", "sparse", "pool")),
}


class Stage:
    """Plain agents, in a list. A script takes them over, uses them one by one and notes what it
    sees.

    Attributes:
        phase: what was tried last: `taking`, `waking`, `use` or `rest`.
        holds_on: the script holds something of an agent from one use to the next, which `reopen`
            cannot connect with the agents of the store: it is not opened again meanwhile.
    """

    holds_on = False

    def __init__(self) -> None:
        self.seen: list[Picture] = []
        self.count = 0
        self.phase = "use"

    def take(self, agents: Sequence[Any]) -> None:
        """From now on the agents are used through `use` only."""
        self.count = len(agents)
        self._agents = list(agents)

    @contextlib.contextmanager
    def use(self, index: int) -> Iterator[Any]:
        """The agent number `index`."""
        yield self._agents[index]

    def note(self, *values: Any) -> None:
        """Remember what can be seen of `values`."""
        self.seen.append(picture(values))

    def attempt(self, function: Callable[[], Any]) -> None:
        """Note what `function` returns, or what it raises with plain agents too."""
        try:
            value = function()
        except Exception as error:
            if _is_refusal(error):
                raise
            value = type(error).__qualname__
        self.note(value)

    def look_at(self, agent: Any) -> None:
        """Remember what can be seen of an agent."""
        self.seen.append(picture_of_agent(agent))

    def play(self, script: Script) -> None:
        """The whole script; at its end all agents are looked at."""
        with contextlib.redirect_stdout(io.StringIO()):  # PyMDP's MMP prints
            script(self)
            self.look()

    def look(self) -> None:
        for index in range(self.count):
            with self.use(index) as agent:
                self.look_at(agent)

    def close(self) -> None:
        """Let go of the agents."""


class Populated(Stage):
    """Agents in a population under a plan."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        super().__init__()
        self.plan = plan
        self.before: list[Picture] = []
        self._store = folder / "store"
        self._population: Any = None
        self._active = 0

    def take(self, agents: Sequence[Any]) -> None:
        self.before = [picture_of_agent(agent) for agent in agents]
        self._kind = type(agents[0])
        store = {"store": self._store} if self.plan.reopens else {}
        self.phase = "taking"
        self._given = agents
        self._population = memprof.optimize(agents, self.plan.passes, **self.plan.options, **store)
        del self._given
        self.count = len(agents)
        self.phase = "use"

    @contextlib.contextmanager
    def use(self, index: int) -> Iterator[Any]:
        outer, self.phase = self.phase, "rest"
        if self.plan.reopens and not self.holds_on and not self._active:
            self._population.close()
            self.phase = "waking"
            self._population = memprof.reopen(self._store, self._kind)
        self.phase = "waking"
        with self._population.activate(index) as agent:
            self.phase = "use"
            self._active += 1
            try:
                yield agent
            finally:
                self._active -= 1
            del agent
            self.phase = "rest"
        self.phase = outer

    def close(self) -> None:
        if self._population is not None:
            with contextlib.suppress(MemprofError):
                self._population.close()

    def taken_back(self) -> str | None:
        """What became of the agents of a refused take-over; None if they are as they were."""
        for before, agent in zip(self.before, self._given, strict=True):
            try:
                if picture_of_agent(agent) == before:
                    continue
            except AttributeError:
                return LOST
            return LOST if not vars(agent) else SILENT
        return None


def judge(script: Script, plan: Plan) -> tuple[str, str]:
    """The outcome of a script under a plan, with what happened in words."""
    plain = Stage()
    plain.play(script)
    with tempfile.TemporaryDirectory(prefix="memprof-quirk-") as folder:
        stage = Populated(plan, Path(folder))
        try:
            stage.play(script)
        except Exception as error:
            return _failed(plain, stage, error)
        finally:
            stage.close()
    return _compared(plain, stage)


def _compared(plain: Stage, stage: Stage) -> tuple[str, str]:
    if len(stage.seen) > len(plain.seen):
        return SILENT, "more was seen"
    for number, (expected, found) in enumerate(zip(plain.seen, stage.seen, strict=False)):
        if not expected.shows(found):
            return SILENT, f"look {number}: {expected.difference(found)}"
    return SAME, ""


def _failed(plain: Stage, stage: Populated, error: Exception) -> tuple[str, str]:
    """What an error that plain agents do not raise means."""
    words = f"{stage.phase}: {type(error).__name__}: {_text(error)[:300]}"
    if stage.phase == "waking":
        return LOST, words
    outcome, difference = _compared(plain, stage)
    if outcome == SILENT:
        return outcome, difference
    if stage.phase == "taking":
        outcome = stage.taken_back()
        if outcome is not None:
            return outcome, f"agents changed by a refused take-over; {words}"
    else:
        error.__traceback__ = None  # whose frames hold agents
        try:
            stage.look()
        except Exception as later:
            if stage.phase == "waking":
                return LOST, f"{words}; then {type(later).__name__}: {later}"
    if not _is_refusal(error):
        return SILENT, words
    return (REFUSED if _REMEDY.search(_text(error)) else UNTOLD), words


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, MemprofError) or bool(_OURS.search(_text(error)))


def _text(error: Exception) -> str:
    return "\n".join((str(error), *getattr(error, "__notes__", ())))


_OURS = re.compile(r"\bread-only\b|\bpopulation\b|\bmemprof\b|StoredAgent")
_REMEDY = re.compile(
    r"\b(use|leave|delete|replace|copy|give|hand|keep|put|take|make|set|open|write|assign|remove)\b",
    re.IGNORECASE,
)


def table(scripts: dict[str, Script], plans: dict[str, Plan] = PLANS) -> bool:
    """Print the outcomes of all scripts under all plans; whether none is wrong."""
    outcomes = (SAME, REFUSED, *WRONG)
    counts = {name: dict.fromkeys(outcomes, 0) for name in plans}
    for name, script in scripts.items():
        for which, plan in plans.items():
            outcome, words = judge(script, plan)
            counts[which][outcome] += 1
            if outcome in WRONG:
                print(f"{outcome}: {name} under {which}: {words}", file=sys.stderr, flush=True)
    print(f"| plan | {' | '.join(outcomes)} |")
    print("|---" * (len(outcomes) + 1) + "|")
    for which, count in counts.items():
        print(f"| {which} | {' | '.join(str(count[outcome]) for outcome in outcomes)} |")
    return not any(count[wrong] for count in counts.values() for wrong in WRONG)
