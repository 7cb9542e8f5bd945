"""Findings on the process, its passing needs, and the plan as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.profile.grounds import Grounds
from memprof.profile.passes import shortest
from memprof.stats.lines import PROCESS_GRAIN_BYTES
from memprof.text import format_seconds, format_share, format_size, listed
from memprof.values.evidence import ImportRow
from memprof.values.profile import Advice, Variant

# What is less than a twentieth of the process without agents is not worth a change.
_WORTH = 0.05
# What `plans` calls slower, and what is not worth as much time.
_SLOWER, _LITTLE = 1.1, 0.01
_MOST_NAMED = 4
# What PyMDP plots with, and what that brings along; see the pass `lean_imports`.
_PLOTTING = frozenset(
    (
        "PIL", "contourpy", "cycler", "dateutil", "fontTools", "kiwisolver", "matplotlib",
        "mpl_toolkits", "pandas", "pyparsing", "pytz", "scipy", "seaborn",
    )
)  # fmt: skip
_NEEDED = frozenset(("standard library", "memprof", "numpy", "pymdp", "jax", "jaxlib", "scipy"))


def imports(given: Grounds) -> Iterator[Advice]:
    """Libraries that agents do not use, and those that the user's own model brings."""
    rows = given.before.imports
    plotting = [r for r in rows if r.asked_by == "pymdp" and r.package in _PLOTTING]
    # The fixed cost decides alone: a pass that saves it may cost, or take, a little per agent.
    row = given.kept("lean_imports")
    saves = row is not None and given.after is not None and (row.saved_fixed_bytes or 0) > 0
    saved = row.saved_fixed_bytes if row is not None and saves else None
    solved = "lean_imports" if saves else given.solver(("lean_imports",))
    name = solved or given.usable(("lean_imports",))
    if name and _bytes(plotting) >= _worth(given):
        left = [r for r in given.final.imports if r.package in _PLOTTING]
        fixed = f", {format_size(saved)} less fixed cost" if saved else ""
        yield Advice(
            kind="imports",
            finding=f"{format_size(_bytes(plotting))} of the fixed cost is what PyMDP imports to "
            "plot.",
            evidence=_packages(plotting),
            remedy=f"Taken care of by {name}: {format_size(_bytes(left))} is left{fixed}."
            if solved
            else given.with_pass(name, "they load on first use"),
            solved_by=solved,
            stake_bytes=_bytes(plotting),
            saves_bytes=saved,
        )
    if given.report.scenario.model.get("kind") != "factory":
        return
    own = [row for row in rows if row.asked_by == "model" and row.package not in _NEEDED]
    heavy = [row for row in own if row.private_bytes >= _worth(given)]
    if heavy:
        yield Advice(
            kind="imports",
            finding=f"{format_size(_bytes(heavy))} of the fixed cost is what the model's own "
            f"module imports: {listed([row.package for row in heavy])}.",
            evidence=_packages(heavy),
            remedy="Import it inside the function that needs it, if agents do without.",
            stake_bytes=_bytes(heavy),
        )


def _packages(rows: Sequence[ImportRow]) -> str:
    most = sorted(rows, key=lambda row: row.private_bytes, reverse=True)
    named = [f"{row.package} {format_size(row.private_bytes)}" for row in most[:_MOST_NAMED]]
    others = most[_MOST_NAMED:]
    named += [f"{len(others)} others {format_size(_bytes(others))}"] if others else []
    seconds = format_seconds(sum(row.seconds for row in rows))
    return f"Private memory of each package alone: {listed(named)}; {seconds} to load."


def transient(given: Grounds) -> Iterator[Advice]:
    """What an operation needs in passing, where that is more than what all agents keep."""
    first, second = _transient(given.before), _transient(given.final)
    kept = max(PROCESS_GRAIN_BYTES, given.agents * max(0.0, given.final.per_agent.marginal_bytes))
    row = given.kept("pool") if given.solver(("pool",)) else None
    saved = row.saved_transient_bytes if row is not None else None
    if row is not None and saved is not None and saved > 0:
        yield Advice(
            kind="transient",
            finding=f"Building and stepping needs {format_size(first)} in passing.",
            evidence=_peak(given.before),
            remedy=f"Taken care of by pool: {format_size(saved)} less transient peak.",
            solved_by="pool",
            stake_bytes=saved,
            saves_bytes=saved,
        )
    elif second > kept:
        name = "" if "pool" in given.plan else given.usable(("pool",))
        if name:
            yield Advice(
                kind="transient",
                finding=f"Building and stepping needs {format_size(second)} in passing, more than "
                "all agents keep.",
                evidence=_peak(given.final),
                remedy=given.with_pass(name, "PyMDP computes without its large temporaries"),
                stake_bytes=second,
            )


def _transient(variant: Variant) -> float:
    """Peak above the population at rest; 0 where it is not known."""
    return 0.0 if variant.peak_bytes is None else variant.peak_bytes - variant.rss_bytes


def _peak(variant: Variant) -> str:
    known = [each for each in variant.hotspots.operations if each.peak_bytes is not None]
    if not known:
        return "Peak of the resident set above what it is with all agents at rest."
    most = max(known, key=lambda each: each.peak_bytes or 0)
    return (
        f"Most of all in {most.operation}: {format_size(most.peak_bytes)} at its peak, of which it "
        f"keeps {format_size(max(0.0, most.retained_bytes_per_call or 0.0))}."
    )


def retracing(given: Grounds) -> Iterator[Advice]:
    """JAX agents whose every step is traced anew."""
    device, trend = given.before.device, given.before.trend
    eager = given.report.scenario.loop == "eager"
    if not (device.traces_per_step if device is not None else eager and trend.verdict == "leak"):
        return
    gained = max(0.0, trend.bytes_per_step or 0.0) * given.before.ledger.agents
    solved = given.solver(("jit", "share", "template"))
    yield Advice(
        kind="retracing",
        finding="Every step is traced, and remembered, anew.",
        evidence=f"The process gains {format_size(gained)} per step of all agents; one takes "
        f"{format_seconds(given.before.step_seconds.median)} per agent.",
        remedy=f"Taken care of by {solved}: one takes "
        f"{format_seconds(given.final.step_seconds.median)} per agent."
        if solved
        else given.with_pass("jit", "one compiled step; or loop: jit in the scenario"),
        solved_by=solved,
        stake_bytes=gained * given.steps,
    )


def shorter_plan(given: Grounds) -> Iterator[Advice]:
    """Passes at the end of the plan that save next to nothing per agent."""
    found = shortest(given.report)
    if found is None or not found.left:
        return
    others = [row for name in found.left if (row := given.kept(name))]
    saved = sum(max(0.0, row.saved_bytes_per_agent or 0.0) for row in others)
    yield Advice(
        kind="shorter_plan",
        finding=f"{listed(found.passes)} {'alone gives' if len(found.passes) == 1 else 'give'} "
        f"{format_share(found.share)} of the saving per agent.",
        evidence="; ".join(f"{row.name}: {row.detail}" for row in others) + ".",
        remedy=f"{given.option(found.passes)}, unless the rest is needed for what it does.",
        stake_bytes=saved * given.agents,
    )


def slow_passes(given: Grounds) -> Iterator[Advice]:
    """Passes that take much time for what they save, but for those that a shorter plan has not."""
    found = shortest(given.report)
    for row in given.report.passes:
        saved = row.saved_bytes_per_agent or 0.0
        if found is None or row.name not in found.passes or row.outcome != "saves":
            continue
        if row.saved_fixed_bytes or row.saved_transient_bytes or len(found.passes) == 1:
            continue
        if (row.step_time_ratio or 1.0) > _SLOWER and saved < _LITTLE * given.agent_bytes:
            yield Advice(
                kind="slow_pass",
                finding=f"{row.name} takes more time than it saves memory.",
                evidence=f"{row.step_time_ratio:.2f} times the time per step, for "
                f"{format_size(saved)} per agent.",
                remedy=f"{given.option([name for name in given.plan if name != row.name])}.",
                stake_bytes=max(0.0, saved) * given.agents,
            )


def few_agents(given: Grounds) -> Iterator[Advice]:
    """Populations that take next to nothing in a process that takes much."""
    cost = given.final.per_agent
    most = (cost.marginal_bytes if cost.resolved else cost.ci95_bytes[1]) * given.agents
    if most < _WORTH * cost.fixed_bytes:
        least = "" if cost.resolved else "at most "
        yield Advice(
            kind="few_agents",
            finding="The agents take next to nothing of their process.",
            evidence=f"{given.agents:,} agents take {least}{format_size(max(0.0, most))}, the "
            f"process without them {format_size(cost.fixed_bytes)}.",
            remedy="Run more of them in one process: memprof density SCENARIO says how many fit.",
        )


def _bytes(rows: Sequence[ImportRow]) -> int:
    return sum(row.private_bytes for row in rows)


def _worth(given: Grounds) -> float:
    return _WORTH * given.before.per_agent.fixed_bytes
