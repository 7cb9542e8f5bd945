"""Findings on what agents hold: alike, empty, loosely packed, ever more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.analysis.case import Case, listed
from memprof.evidence import ContentRow, GainRow
from memprof.results import Advice, Variant
from memprof.units import format_share, format_size

# What is less than a twentieth of an agent, all in all, is not worth a change.
_WORTH = 0.05
# Coordinates take about 16 bytes per entry that is not zero, place and value, in place of 8 for
# every entry: above this share of zeros they take less than half, which `sparse` asks for too.
_MOSTLY_ZEROS = 0.75
# The numbers of a policy list are this much of it, or less, when the rest is worth saving.
_LOOSE = 0.5
# The smallest block that allocators hand out.
_LEAST_GAIN_BYTES = 16
_MOST_NAMED = 3

_CHANGING = ("beliefs (qs)", "inference (q_pi, G, F)", "histories", "policies", "environment")
_MATRICES = ("A", "B", "learning (pA, pB, pD)", "learning (pA, pB)")
_HISTORIES = ("prev_actions", "prev_obs", "qs_hist", "q_pi_hist")
_HISTORY_STEPS = 32


def alike(case: Case) -> Iterator[Advice]:
    """Components of which agents hold copies."""
    copied = [row for row in case.before.contents if row.copies and row.component not in _CHANGING]
    rows = [row for row in copied if _copies_bytes(case, row) >= _worth(case)]
    by_pass: dict[tuple[str, bool], list[ContentRow]] = {}
    for row in sorted(rows, key=lambda row: _copies_bytes(case, row), reverse=True):
        passes = ("template", "mmap") if _is_learned(case, row) else ("share", "template", "mmap")
        solver = case.solver(passes) if case.is_gone(row.component) else ""
        name = solver or case.usable(passes)
        by_pass.setdefault((name, bool(solver)), []).append(row)
    for (name, solved), group in by_pass.items():
        if name:
            yield _alike(case, name, solved, group)


def _alike(case: Case, name: str, solved: bool, rows: Sequence[ContentRow]) -> Advice:
    names = listed([row.component for row in rows[:_MOST_NAMED]])
    everybody = all(row.alike == row.compared for row in rows)
    some = rows[0]
    who = f"all {some.compared}" if everybody else f"{some.alike} of {some.compared}"
    of = f" (of {case.agents:,}) that were compared" if some.compared < case.agents else ""
    copies = "; ".join(map(_copies, rows[:_MOST_NAMED]))
    how = {
        "share": "one read-only copy for all",
        "template": "agents rest as differences from one that has it",
    }.get(name, "agents rest in files, as differences from one that has it")
    return Advice(
        kind="alike",
        finding=f"{names} {'is' if len(rows) == 1 else 'are'} the same for {who} agents{of}.",
        evidence=f"Bit by bit, after their steps: {copies}.",
        remedy=_done(case, name) if solved else case.with_pass(name, how),
        solved_by=name if solved else "",
        stake_bytes=sum(_copies_bytes(case, row) for row in rows),
        saves_bytes=case.saved_bytes(name) if solved else None,
    )


def _copies(row: ContentRow) -> str:
    said = f"{row.copies} copies of {row.component}, {format_size(row.agent_bytes)} each"
    return f"{said}, {format_share(row.zeros or 0.0)} zeros" if _is_mostly_zeros(row) else said


def zeros(case: Case) -> Iterator[Advice]:
    """Matrices that are mostly zeros, and each agent's own: of what all have alike, sharing leaves
    the zeros of one."""
    by_pass: dict[tuple[str, bool], list[ContentRow]] = {}
    for row in case.before.contents:
        if row.component not in _MATRICES or not _is_mostly_zeros(row):
            continue
        if _is_one(case, row) or _zeros_bytes(case, row) < _worth(case):
            continue
        passes = ("sparse", "template", "mmap")
        solver = case.solver(passes) if case.is_gone(row.component) else ""
        by_pass.setdefault((solver or case.usable(passes), bool(solver)), []).append(row)
    for (name, solved), group in by_pass.items():
        if name:
            yield _zeros(case, name, solved, group)


def _zeros(case: Case, name: str, solved: bool, rows: Sequence[ContentRow]) -> Advice:
    empty = " and ".join(f"{format_share(row.zeros or 0.0)} of {row.component}" for row in rows)
    each = "; ".join(
        f"{format_size(row.number_bytes)} of numbers per agent in {row.component}" for row in rows
    )
    kept = "is not zero" if name == "sparse" else "differs from one agent's"
    return Advice(
        kind="zeros",
        finding=f"{empty} {'is' if len(rows) == 1 else 'are'} zeros.",
        evidence=f"{each}.",
        remedy=_done(case, name)
        if solved
        else case.with_pass(name, f"at rest, agents keep only what {kept}"),
        solved_by=name if solved else "",
        stake_bytes=sum(_zeros_bytes(case, row) for row in rows),
        saves_bytes=case.saved_bytes(name) if solved and name == "sparse" else None,
    )


def _is_mostly_zeros(row: ContentRow) -> bool:
    return row.zeros is not None and row.zeros >= _MOSTLY_ZEROS


def _is_one(case: Case, row: ContentRow) -> bool:
    """Whether sharing leaves one agent's for all."""
    return row.alike == row.compared > 1 and not _is_learned(case, row)


def _zeros_bytes(case: Case, row: ContentRow) -> float:
    each = case.private_each(row.component) or row.agent_bytes
    return (row.zeros or 0.0) * each * case.agents


def policies(case: Case) -> Iterator[Advice]:
    """Policy lists, of an array for each policy."""
    for row in case.before.contents:
        each = case.private_each("policies")
        if row.component != "policies" or each * case.agents < _worth(case):
            continue
        if row.number_bytes > _LOOSE * row.agent_bytes and not row.copies:
            continue
        names = ("policies", "share", "template", "mmap")
        solved = case.solver(names) if case.is_gone("policies") else ""
        name = solved or case.usable(names)
        if not name:
            continue
        same = f", the same for {row.alike} of {row.compared} agents" if row.copies else ""
        yield Advice(
            kind="policies",
            finding=f"{format_share(each / case.agent_bytes)} of an agent is its list of policies.",
            evidence=f"{format_size(row.agent_bytes)} for {format_size(row.number_bytes)} of "
            f"numbers, in an array for each policy{same}.",
            remedy=_done(case, name)
            if solved
            else case.with_pass(name, "one compact array for all agents"),
            solved_by=solved,
            stake_bytes=each * case.agents,
            saves_bytes=case.saved_bytes(name) if solved == "policies" else None,
        )


def growth(case: Case) -> Iterator[Advice]:
    """Attributes that hold more after every step; and growth that no attribute accounts for."""
    rows = [row for row in case.before.gains if row.bytes_per_step >= _LEAST_GAIN_BYTES]
    for row in rows[:_MOST_NAMED]:
        yield _growing(case, row)
    trend, held = case.before.trend, sum(row.bytes_per_step for row in rows)
    retraces = case.before.device is not None and case.before.device.traces_per_step
    gained = trend.bytes_per_step or 0.0
    # Allocators round up: what attributes hold may take up to twice its nominal bytes.
    if trend.verdict == "leak" and gained > 2 * held + _LEAST_GAIN_BYTES and not retraces:
        rest = f", of which attributes hold {format_size(held)}" if held else ""
        yield Advice(
            kind="growth",
            finding=f"An agent gains {format_size(gained)} per step{rest}.",
            evidence=f"The live heap, from step {trend.first_step} to {trend.last_step}.",
            remedy="memprof leak SCENARIO --mode steps names the line.",
            stake_bytes=(gained - held) * case.agents * case.steps,
        )


def _growing(case: Case, row: GainRow) -> Advice:
    owner, _, attribute = row.attribute.rpartition(".")
    is_history = attribute in _HISTORIES
    passes = ("history", "template", "mmap") if is_history else ()
    now = _gained(case.final)
    solved = _growth_ended_by(case, passes) if now <= 0.1 * _gained(case.before) else ""
    heap = case.before.trend.bytes_per_step
    said = f"; the heap gains {format_size(heap)}" if heap is not None else ""
    bound = (
        f"Bound {row.attribute} where it grows, say as a collections.deque with a maxlen; "
        "memprof leak SCENARIO --mode steps names the line."
    )
    if is_history and (name := case.usable(("history",))):
        bound = case.with_pass(name, "it grows no more", f" --history-steps {_history_steps(case)}")
    if solved:
        left = f", {format_size(now)} is left" if now >= 1 else ""
        kept = " --history-steps bounds it for good." if _is_unbounded(case) and is_history else ""
        lives = ""
        if (found := case.kept(solved)) is not None and found.outcome == "no_effect":
            lives = f" It pays off in lives longer than these {case.steps} steps."
        bound = f"Taken care of by {solved}{left}.{lives}{kept}"
    return Advice(
        kind="growth",
        finding=f"{row.attribute} grows by {format_size(row.bytes_per_step)} per agent and step.",
        evidence=f"Objects that {owner or 'an agent'} holds, over {row.steps} further steps of "
        f"{row.agents} agents{said}.",
        remedy=bound,
        solved_by=solved,
        stake_bytes=row.bytes_per_step * case.agents * case.steps,
    )


def _growth_ended_by(case: Case, names: Sequence[str]) -> str:
    """The first of these passes in the plan; growth is read of itself, whatever a short life
    saves. Empty where it was not read with the passes."""
    was_read = case.after is not None and any(
        each.name == "pympler" and not each.failure for each in case.after.instruments
    )
    return next((name for name in names if name in case.plan and was_read), "")


def _gained(variant: Variant) -> float:
    return sum(each.bytes_per_step for each in variant.gains)


def _is_unbounded(case: Case) -> bool:
    return case.report.scenario.get("history_steps") is None


def _history_steps(case: Case) -> int:
    """Steps of the past to keep: more than PyMDP's MMP reads back."""
    agent = case.report.scenario.get("agent") or {}
    return max(_HISTORY_STEPS, int(agent.get("inference_horizon") or 1) + 1)


def _is_learned(case: Case, row: ContentRow) -> bool:
    """Whether every update makes the component an agent's own again."""
    learning = case.report.scenario.get("learning") or ()
    return row.component in learning or row.component.startswith("learning")


def _worth(case: Case) -> float:
    return _WORTH * case.agent_bytes * case.agents


def _copies_bytes(case: Case, row: ContentRow) -> float:
    """What copies of a component take in the whole population."""
    each = case.private_each(row.component) or row.agent_bytes
    return each * row.copies / max(1, row.compared - 1) * (case.agents - 1)


def _done(case: Case, name: str) -> str:
    saved = case.kept(name)
    if saved is None or saved.saved_bytes_per_agent is None:
        return f"Taken care of by {name}."
    each = format_size(saved.saved_bytes_per_agent)
    return f"Taken care of by {name}, which saves {each} per agent in all."
