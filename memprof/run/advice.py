"""What a run's report says in words: where memory goes that need not, what shows it, what to do.

As in `profile.advice`, what is measured is cited as measured; a run does not try passes, so nothing
is solved, and savings are those that were measured beside the agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from memprof.profile.advice_agents import EFFECTS, HISTORY_STEPS
from memprof.run.agents_view import is_worth, known
from memprof.text import counted, format_seconds, format_size, listed
from memprof.values.profile import Advice
from memprof.values.run import RunReport
from memprof.values.watch import Kind
from memprof.values.watch_jax import Rollout

# What is less than a twentieth of an agent, or of what a rollout returns, is not worth a change.
_WORTH = 0.05
# What traces in so many steps, and in most of all, does so in every one.
_FEWEST_STEPS, _ALWAYS = 3, 0.8
_MOST_NAMED = 3
_ACT = "sample_action"
_HISTORIES = "histories"
# What a rollout of agents that learn returns of every step.
_LEARNED = tuple(f"info['{name}']" for name in ("A", "pA", "B", "pB"))


def advise(report: RunReport) -> tuple[Advice, ...]:
    """All that is worth saying, ranked by the bytes at stake."""
    found = [advice for kind in _KINDS for advice in kind(report)]
    return tuple(sorted(found, key=lambda each: -each.stake_bytes))


def _alike(report: RunReport) -> Iterator[Advice]:
    """Kinds of which agents hold copies, and a pass that was tried does without."""
    for kind in report.kinds:
        saving = known(kind)
        if saving is None or not is_worth(kind) or kind.equal_bytes < _WORTH * kind.per_agent.bytes:
            continue
        each = saving.each_of(kind.agents) or 0.0
        evidence = f"{counted(saving.agents, 'agent')} compared with the first, bit by bit"
        if saving.pass_name == "template":
            use = ""
            if saving.seconds_per_use is not None:
                use = f", and {format_seconds(saving.seconds_per_use)} per use"
            remedy = (
                f"Use memprof.optimize(agents) to {EFFECTS['template']}: "
                f"{format_size(saving.bytes_per_agent)} each{use}."
            )
            evidence = (
                f"{counted(saving.agents, 'agent')} encoded and decoded again came back the same, "
                "bit by bit"
            )
        else:
            remedy = (
                "Use the pass share in a scenario (memprof help jax), to hold once what they have "
                f"in common: {format_size(saving.bytes_per_agent)} each, and "
                f"{format_size(saving.once_bytes)} once."
            )
        yield Advice(
            kind="alike",
            finding=f"{kind.name}: {format_size(min(kind.equal_bytes, kind.per_agent.bytes))} of "
            f"{format_size(kind.per_agent.bytes)} is the same in {kind.agents:,} agents.",
            evidence=f"{evidence}.",
            remedy=remedy,
            stake_bytes=kind.equal_bytes * (kind.agents - 1),
            saves_bytes=(kind.per_agent.bytes - each) * kind.agents,
        )


def _histories(report: RunReport) -> Iterator[Advice]:
    """What PyMDP's NumPy agents keep of every step."""
    for kind in report.kinds:
        each = _held_each(kind, _HISTORIES)
        worth = each >= _WORTH * kind.per_agent.bytes or (each > 0 and _grows(report))
        if kind.backend == "numpy" and worth:
            steps = _calls(report) / max(1, sum(other.agents for other in report.kinds))
            yield Advice(
                kind="growth",
                finding=f"{kind.name}: {format_size(each)} of each agent are histories, and PyMDP "
                "adds to them in every step.",
                evidence=f"The ledger's row histories, with {steps:,.0f} calls of {_ACT} per "
                "agent.",
                remedy='Use memprof.optimize(agents, passes=["history"], '
                f"history_steps={HISTORY_STEPS}) to cap them.",
                stake_bytes=each * kind.agents,
            )


def _growth(report: RunReport) -> Iterator[Advice]:
    found = report.watched.growth
    if found is None or not _grows(report) or found.bytes_per_step is None:
        return
    sites, remedy = report.watched.sites, "memprof run --sites names the lines that keep it."
    if sites is not None and sites.lines:
        most = sites.lines[0]
        kept = f"{format_size(most.bytes_per_step)} of it at {most.where}"
        to = f", which is added to {most.added_to}" if most.added_to else ""
        remedy = f"See what needs {kept}{to}."
    yield Advice(
        kind="growth",
        finding=f"The process grows by {format_size(found.bytes_per_step)} in each step of "
        f"{counted(found.agents, 'agent')}.",
        evidence=f"Its private memory, from step {found.first_step:,} to {found.last_step:,}.",
        remedy=remedy,
        stake_bytes=found.bytes_per_step * (found.last_step - found.first_step),
    )


def _retracing(report: RunReport) -> Iterator[Advice]:
    """Lines at which JAX traces in every step."""
    compiling, steps = report.watched.compiling, _calls(report)
    lines = [
        line
        for line in (compiling.lines if compiling is not None else ())
        if line.steps >= max(_FEWEST_STEPS, _ALWAYS * steps)
    ]
    if compiling is not None and lines:
        each = "; ".join(
            f"{line.place}: {line.traces:,} traces, "
            f"in {min(line.steps, steps):,} of {steps:,} steps"
            for line in lines[:_MOST_NAMED]
        )
        yield Advice(
            kind="retracing",
            finding="JAX traces anew in every step, and caches every trace.",
            evidence=f"{each}. In all {counted(compiling.compilations, 'program')} in "
            f"{format_seconds(compiling.seconds)}.",
            remedy="Put the calls of a step, or the rollout, into a function under jax.jit, and "
            "call that.",
        )


def _rollouts(report: RunReport) -> Iterator[Advice]:
    """What rollouts return of all steps that the last one has too."""
    for each in report.watched.rollouts:
        learned = [part for part in each.parts if part.name in _LEARNED]
        size = sum(part.bytes for part in learned)
        if size >= max(1.0, _WORTH * each.bytes_per_call):
            yield Advice(
                kind="rollout",
                finding=f"rollout returns {listed([part.name for part in learned])} of every "
                "agent and step.",
                evidence=f"{format_size(size)} of {format_size(each.bytes_per_call)} in "
                f"{'each of ' * (each.calls > 1)}{counted(each.calls, 'call')}{_at(each)}.",
                remedy="Keep of info what you need, and let the rest go: last['agent'] has what "
                "was learned in the end.",
                stake_bytes=float(size * each.calls),
            )


def _at(rollout: Rollout) -> str:
    return "" if rollout.at is None else f" at {rollout.at.place}"


def _transient(report: RunReport) -> Iterator[Advice]:
    """Calls that need more for a moment than all agents hold."""
    held = sum(kind.per_agent.bytes * kind.agents for kind in report.kinds)
    for use in report.watched.operations:
        if report.kinds and (use.peak_bytes or 0) > held:
            yield Advice(
                kind="transient",
                finding=f"{use.operation} allocates {format_size(use.peak_bytes)} at once, more "
                "than all agents hold.",
                evidence=f"The largest of {counted(use.peaks, 'call')} that were traced; agents "
                f"hold {format_size(held)}.",
                remedy='Use memprof.optimize(agents, passes=["pool"]) to compute without PyMDP\'s '
                "large temporaries.",
                stake_bytes=float(use.peak_bytes or 0),
            )


def _few_agents(report: RunReport) -> Iterator[Advice]:
    """Agents that take next to nothing in a process that takes much."""
    held = sum(kind.per_agent.bytes * kind.agents for kind in report.kinds)
    peak = report.watched.peak_bytes
    if report.kinds and peak is not None and held < _WORTH * (peak - held):
        agents = sum(kind.agents for kind in report.kinds)
        yield Advice(
            kind="few_agents",
            finding="The agents use almost none of their process's memory.",
            evidence=f"{counted(agents, 'agent')} {'takes' if agents == 1 else 'take'} "
            f"{format_size(held)} of the {format_size(peak)} that the process took at most (RSS).",
            remedy="Run more of them in one process: memprof density says how many fit.",
        )


def _grows(report: RunReport) -> bool:
    growth = report.watched.growth
    return growth is not None and growth.verdict == "leak"


def _held_each(kind: Kind, component: str) -> float:
    rows = [row for row in kind.ledger.rows if row.component == component]
    return sum(row.private_bytes for row in rows) / kind.ledger.agents


def _calls(report: RunReport) -> int:
    """Of the operation that ends a step."""
    return sum(use.calls for use in report.watched.operations if use.operation == _ACT)


_KINDS: tuple[Callable[[RunReport], Iterator[Advice]], ...] = (
    _alike, _histories, _growth, _retracing, _rollouts, _transient, _few_agents,
)  # fmt: skip
