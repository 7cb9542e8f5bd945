"""What a report says in words: where memory goes that need not, on which evidence, what to do.

What is measured is cited as measured: savings are those of the passes' waterfall, and where only
the content of arrays speaks, no more is said than what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from memprof.profile.advice_agents import alike, growth, policies, views, zeros
from memprof.profile.facts import Facts
from memprof.profile.passes import recommended, shortest
from memprof.stats.lines import PROCESS_GRAIN_BYTES
from memprof.text import counted, format_seconds, format_size, listed
from memprof.values.instruments import ImportRow
from memprof.values.profile import Advice, Report, Variant

# What is less than a twentieth of the process without agents is not worth a change.
_WORTH_OF_PROCESS = 0.05
# What `passes` calls slower, and what is not worth as much time.
_SLOWER, _LITTLE = 1.1, 0.01
_MOST_PACKAGES = 4
# What PyMDP plots with, and what that brings along; see the pass `lean_imports`.
_PLOTTING = frozenset(
    (
        "PIL", "contourpy", "cycler", "dateutil", "fontTools", "kiwisolver", "matplotlib",
        "mpl_toolkits", "pandas", "pyparsing", "pytz", "scipy", "seaborn",
    )
)  # fmt: skip
_NEEDED = frozenset(("standard library", "memprof", "numpy", "pymdp", "jax", "jaxlib", "scipy"))


def advise(report: Report, offered: Sequence[str]) -> tuple[Advice, ...]:
    """All that is worth saying: what is open, then what the plan has fixed, each ranked by the
    bytes at stake for the scenario's agents.

    `offered` are the passes of the scenario's backend, in the order in which a plan applies them.
    """
    facts = Facts(report, offered)
    found = [advice for kind in _KINDS for advice in kind(facts)]
    return tuple(sorted(found, key=lambda each: (bool(each.solved_by), -each.stake_bytes)))


def _imports(facts: Facts) -> Iterator[Advice]:
    """Libraries that agents do not use, and those that the user's own model brings."""
    worth = _WORTH_OF_PROCESS * facts.before.per_agent.fixed_bytes
    rows = facts.before.imports
    plotting = [r for r in rows if r.asked_by == "pymdp" and r.package in _PLOTTING]
    if _bytes(plotting) >= worth:
        # The fixed cost decides alone: a pass that saves it may cost, or take, a little per agent.
        row = facts.kept("lean_imports") if facts.after is not None else None
        saved = row.saved_fixed_bytes if row is not None else None
        saves = saved is not None and saved > 0
        left = _bytes(r for r in facts.final.imports if r.package in _PLOTTING)
        fixed = f", {format_size(saved)} less fixed cost" if saves else ""
        yield from facts.advice(
            "imports",
            ("lean_imports", True) if saves else facts.choice(("lean_imports",)),
            _bytes(plotting),
            "PyMDP imports plotting libraries, which are part of the fixed cost.",
            _packages(plotting),
            "load them on first use",
            done=f"Fixed by lean_imports: {format_size(left)} remain{fixed}.",
            saves_bytes=saved if saves else None,
        )
    own = [r for r in rows if r.asked_by == "model" and r.package not in _NEEDED]
    heavy = [row for row in own if row.private_bytes >= worth]
    if heavy and facts.report.scenario.model.get("kind") == "factory":
        yield Advice(
            kind="imports",
            finding=f"The model's own module imports {listed([row.package for row in heavy])}, "
            "part of the fixed cost.",
            evidence=_packages(heavy),
            remedy="If agents do not need it, import it inside the function that does.",
            stake_bytes=_bytes(heavy),
        )


def _packages(rows: Sequence[ImportRow]) -> str:
    most = sorted(rows, key=lambda row: row.private_bytes, reverse=True)
    named = [f"{row.package} {format_size(row.private_bytes)}" for row in most[:_MOST_PACKAGES]]
    others = most[_MOST_PACKAGES:]
    named += [f"{len(others)} others {format_size(_bytes(others))}"] if others else []
    seconds = format_seconds(sum(row.seconds for row in rows))
    return f"Private memory of each package alone: {listed(named)}; {seconds} to load."


def _bytes(rows: Iterable[ImportRow]) -> int:
    return sum(row.private_bytes for row in rows)


def _transient(facts: Facts) -> Iterator[Advice]:
    """What an operation needs for a moment, where that is more than what all agents keep."""
    first, second = _peak(facts.before), _peak(facts.final)
    kept = max(PROCESS_GRAIN_BYTES, facts.agents * facts.final.per_agent.marginal_bytes)
    row = facts.kept("pool") if facts.solver(("pool",)) else None
    saved = row.saved_transient_bytes or 0.0 if row is not None else 0.0
    needs = "Building and stepping needs"
    if saved > 0:
        yield Advice(
            kind="transient",
            finding=f"{needs} {format_size(first)} temporarily.",
            evidence=_peak_of(facts.before),
            remedy=f"Fixed by pool: {format_size(saved)} less transient peak.",
            solved_by="pool",
            stake_bytes=saved,
            saves_bytes=saved,
        )
    elif second > kept and "pool" not in facts.plan:
        yield from facts.advice(
            "transient",
            (facts.usable(("pool",)), False),
            second,
            f"{needs} {format_size(second)} temporarily, more than all agents retain.",
            _peak_of(facts.final),
            "compute without PyMDP's large temporaries",
        )


def _peak(variant: Variant) -> float:
    """Peak above the population at rest; 0 where it is not known."""
    return 0.0 if variant.peak_bytes is None else variant.peak_bytes - variant.rss_bytes


def _peak_of(variant: Variant) -> str:
    known = [each for each in variant.hotspots.operations if each.peak_bytes is not None]
    if not known:
        return "Peak of the resident set above its size with all agents at rest."
    most = max(known, key=lambda each: each.peak_bytes or 0)
    return (
        f"Most in {most.operation}: a peak of {format_size(most.peak_bytes)}, of which it retains "
        f"{format_size(max(0.0, most.retained_bytes_per_call or 0.0))}."
    )


def _retracing(facts: Facts) -> Iterator[Advice]:
    """JAX agents whose every step is traced anew."""
    device, trend = facts.before.device, facts.before.trend
    eager = facts.report.scenario.loop == "eager"
    if not (device.traces_per_step if device is not None else eager and trend.verdict == "leak"):
        return
    gained = max(0.0, trend.bytes_per_step or 0.0) * facts.before.ledger.agents
    was, now = (format_seconds(v.step_seconds.median) for v in (facts.before, facts.final))
    solved = facts.solver(("jit", "share", "template"))
    yield from facts.advice(
        "retracing",
        (solved, True) if solved else ("jit", False),
        gained * facts.steps,
        "JAX retraces every step, and caches every trace.",
        f"The process gains {format_size(gained)} per step of all agents; a step takes {was} per "
        "agent.",
        "compile the step once, or set loop: jit in the scenario",
        done=f"Fixed by {solved}: a step takes {now} per agent.",
    )


def _slow_passes(facts: Facts) -> Iterator[Advice]:
    """Passes that take much time for what they save, but for those that what to do next has not,
    and those without which the budget is exceeded."""
    found, needed = recommended(facts.report), shortest(facts.report)
    for row in facts.report.passes:
        saved = row.saved_bytes_per_agent or 0.0
        if found is None or needed is None or row.outcome != "saves":
            continue
        if row.name not in found.passes or row.name not in needed.passes:
            continue
        if row.saved_fixed_bytes or row.saved_transient_bytes or len(found.passes) == 1:
            continue
        if (row.step_time_ratio or 1.0) > _SLOWER and saved < _LITTLE * facts.agent_bytes:
            rest = [name for name in found.passes if name != row.name]
            yield Advice(
                kind="slow_pass",
                finding=f"{row.name} takes more time than its saving is worth.",
                evidence=f"{row.step_time_ratio:.2f} times the time per step, for "
                f"{format_size(saved)} per agent.",
                remedy=f"Use {facts.option(rest)}.",
                stake_bytes=max(0.0, saved) * facts.agents,
            )


def _few_agents(facts: Facts) -> Iterator[Advice]:
    """Populations that take next to nothing in a process that takes much."""
    cost = facts.final.per_agent
    most = cost.at_most_bytes * facts.agents
    if most < _WORTH_OF_PROCESS * cost.fixed_bytes:
        least, takes = "" if cost.resolved else "at most ", "takes" if facts.agents == 1 else "take"
        yield Advice(
            kind="few_agents",
            finding="The agents use almost none of their process's memory.",
            evidence=f"{counted(facts.agents, 'agent')} {takes} {least}"
            f"{format_size(max(0.0, most))}, the process without them "
            f"{format_size(cost.fixed_bytes)}.",
            remedy="Run more of them in one process: "
            f"memprof density {facts.report.named} says how many fit.",
        )


_KINDS: tuple[Callable[[Facts], Iterator[Advice]], ...] = (
    _retracing, alike, _imports, zeros, views, policies, growth, _transient,
    _slow_passes, _few_agents,
)  # fmt: skip
