"""Findings on what agents hold: alike, empty, loosely packed, ever more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.profile.grounds import Grounds
from memprof.text import format_share, format_size, listed
from memprof.values.evidence import ContentRow, GainRow
from memprof.values.profile import Advice, Variant

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


def alike(given: Grounds) -> Iterator[Advice]:
    """Components of which agents hold copies."""
    copied = [row for row in given.before.contents if row.copies and row.component not in _CHANGING]
    rows = [row for row in copied if _copies_bytes(given, row) >= _worth(given)]
    by_pass: dict[tuple[str, bool, int], list[ContentRow]] = {}
    for row in sorted(rows, key=lambda row: _copies_bytes(given, row), reverse=True):
        passes = ("template", "mmap") if _is_learned(given, row) else ("share", "template", "mmap")
        solver = given.solver(passes) if given.is_gone(row.component) else ""
        name = solver or given.usable(passes)
        by_pass.setdefault((name, bool(solver), row.alike), []).append(row)
    for (name, solved, _), group in by_pass.items():
        if name:
            yield _alike(given, name, solved, group)


def _alike(given: Grounds, name: str, solved: bool, rows: Sequence[ContentRow]) -> Advice:
    names = listed([row.component for row in rows[:_MOST_NAMED]])
    some = rows[0]
    who = (
        f"all {some.compared}"
        if some.alike == some.compared
        else f"{some.alike} of {some.compared}"
    )
    of = f" (of {given.agents:,}) that were compared" if some.compared < given.agents else ""
    copies = "; ".join(map(_copies, rows[:_MOST_NAMED]))
    how = {
        "share": "one read-only copy for all",
        "template": "agents rest as differences from one that has it",
    }.get(name, "agents rest in files, as differences from one that has it")
    return Advice(
        kind="alike",
        finding=f"{names} {'is' if len(rows) == 1 else 'are'} the same for {who} agents{of}.",
        evidence=f"Bit by bit, after their steps: {copies}.",
        remedy=_done(given, name) if solved else given.with_pass(name, how),
        solved_by=name if solved else "",
        stake_bytes=sum(_copies_bytes(given, row) for row in rows),
        saves_bytes=given.saved_bytes(name) if solved else None,
    )


def _copies(row: ContentRow) -> str:
    said = f"{row.copies} copies of {row.component}, {format_size(row.agent_bytes)} each"
    return f"{said}, {format_share(row.zeros or 0.0)} zeros" if _is_mostly_zeros(row) else said


def zeros(given: Grounds) -> Iterator[Advice]:
    """Matrices that are mostly zeros, and each agent's own: of what all have alike, sharing leaves
    the zeros of one."""
    by_pass: dict[tuple[str, bool], list[ContentRow]] = {}
    for row in given.before.contents:
        if row.component not in _MATRICES or not _is_mostly_zeros(row):
            continue
        if _is_one(given, row) or _zeros_bytes(given, row) < _worth(given):
            continue
        passes = ("sparse", "template", "mmap")
        solver = given.solver(passes) if given.is_gone(row.component) else ""
        by_pass.setdefault((solver or given.usable(passes), bool(solver)), []).append(row)
    for (name, solved), group in by_pass.items():
        if name:
            yield _zeros(given, name, solved, group)


def _zeros(given: Grounds, name: str, solved: bool, rows: Sequence[ContentRow]) -> Advice:
    empty = " and ".join(f"{format_share(row.zeros or 0.0)} of {row.component}" for row in rows)
    each = "; ".join(
        f"{format_size(row.number_bytes)} of numbers per agent in {row.component}" for row in rows
    )
    kept = "is not zero" if name == "sparse" else "differs from one agent's"
    return Advice(
        kind="zeros",
        finding=f"{empty} {'is' if len(rows) == 1 else 'are'} zeros.",
        evidence=f"{each}.",
        remedy=_done(given, name)
        if solved
        else given.with_pass(name, f"at rest, agents keep only what {kept}"),
        solved_by=name if solved else "",
        stake_bytes=sum(_zeros_bytes(given, row) for row in rows),
        saves_bytes=given.saved_bytes(name) if solved and name == "sparse" else None,
    )


def _is_mostly_zeros(row: ContentRow) -> bool:
    return row.zeros is not None and row.zeros >= _MOSTLY_ZEROS


def _is_one(given: Grounds, row: ContentRow) -> bool:
    """Whether sharing leaves one agent's for all."""
    return row.alike == row.compared > 1 and not _is_learned(given, row)


def _zeros_bytes(given: Grounds, row: ContentRow) -> float:
    each = given.private_each(row.component) or row.agent_bytes
    return (row.zeros or 0.0) * each * given.agents


def views(given: Grounds) -> Iterator[Advice]:
    """Views of parts of larger arrays, which stay whole for them."""
    passes = ("share", "template", "mmap")
    for row in given.before.contents:
        each = given.private_each(row.component) * row.pinned_bytes / max(1, row.agent_bytes)
        if each * given.agents < _worth(given):
            continue
        solved = given.solver(passes) if given.is_gone(row.component) else ""
        yield Advice(
            kind="views",
            finding=f"{row.component} keeps {format_size(each)} that it does not show.",
            evidence=f"{format_size(row.number_bytes)} of numbers in views of larger arrays, which "
            f"stay whole for them: {format_size(row.agent_bytes)} in the first agent.",
            remedy=_done(given, solved)
            if solved
            else "Copy the view where the agent is built, with .copy(); the rest goes then.",
            solved_by=solved,
            stake_bytes=each * given.agents,
        )


def policies(given: Grounds) -> Iterator[Advice]:
    """Policy lists, of an array for each policy."""
    for row in given.before.contents:
        each = given.private_each("policies")
        if row.component != "policies" or each * given.agents < _worth(given):
            continue
        if row.number_bytes > _LOOSE * row.agent_bytes and not row.copies:
            continue
        names = ("policies", "share", "template", "mmap")
        solved = given.solver(names) if given.is_gone("policies") else ""
        name = solved or given.usable(names)
        if not name:
            continue
        same = f", the same for {row.alike} of {row.compared} agents" if row.copies else ""
        share = format_share(each / given.agent_bytes)
        yield Advice(
            kind="policies",
            finding=f"{share} of an agent is its list of policies.",
            evidence=f"{format_size(row.agent_bytes)} for {format_size(row.number_bytes)} of "
            f"numbers, in an array for each policy{same}.",
            remedy=_done(given, name)
            if solved
            else given.with_pass(name, "one compact array for all agents"),
            solved_by=solved,
            stake_bytes=each * given.agents,
            saves_bytes=given.saved_bytes(name) if solved == "policies" else None,
        )


def growth(given: Grounds) -> Iterator[Advice]:
    """Attributes that hold more after every step; and growth that no attribute accounts for."""
    rows = [row for row in given.before.gains if row.bytes_per_step >= _LEAST_GAIN_BYTES]
    for row in rows[:_MOST_NAMED]:
        yield _growing(given, row)
    trend, held = given.before.trend, sum(row.bytes_per_step for row in rows)
    retraces = given.before.device is not None and given.before.device.traces_per_step
    gained = trend.bytes_per_step or 0.0
    # Allocators round up: what attributes hold may take up to twice its nominal bytes.
    if trend.verdict == "leak" and gained > 2 * held + _LEAST_GAIN_BYTES and not retraces:
        rest = f", of which attributes hold {format_size(held)}" if held else ""
        yield Advice(
            kind="growth",
            finding=f"An agent gains {format_size(gained)} per step{rest}.",
            evidence=f"The live heap, from step {trend.first_step} to {trend.last_step}.",
            remedy="memprof leak SCENARIO --mode steps names the line.",
            stake_bytes=(gained - held) * given.agents * given.steps,
        )


def _growing(given: Grounds, row: GainRow) -> Advice:
    owner, _, attribute = row.attribute.rpartition(".")
    is_history = attribute in _HISTORIES
    passes = ("history", "template", "mmap") if is_history else ()
    now = _gained(given.final)
    solved = _growth_ended_by(given, passes) if now <= 0.1 * _gained(given.before) else ""
    heap = given.before.trend.bytes_per_step
    said = f"; the heap gains {format_size(heap)}" if heap is not None else ""
    bound = (
        f"Bound {row.attribute} where it grows, say as a collections.deque with a maxlen; "
        "memprof leak SCENARIO --mode steps names the line."
    )
    if is_history and (name := given.usable(("history",))):
        bound = given.with_pass(
            name, "it grows no more", f" --history-steps {_history_steps(given)}"
        )
    if solved:
        left = f", {format_size(now)} is left" if now >= 1 else ""
        kept = " --history-steps bounds it for good." if _is_unbounded(given) and is_history else ""
        lives = ""
        if (found := given.kept(solved)) is not None and found.outcome == "no_effect":
            lives = f" It pays off in lives longer than these {given.steps} steps."
        bound = f"Taken care of by {solved}{left}.{lives}{kept}"
    return Advice(
        kind="growth",
        finding=f"{row.attribute} grows by {format_size(row.bytes_per_step)} per agent and step.",
        evidence=f"Objects that {owner or 'an agent'} holds, over {row.steps} further steps of "
        f"{row.agents} agents{said}.",
        remedy=bound,
        solved_by=solved,
        stake_bytes=row.bytes_per_step * given.agents * given.steps,
    )


def _growth_ended_by(given: Grounds, names: Sequence[str]) -> str:
    """The first of these passes in the plan; growth is read of itself, whatever a short life
    saves. Empty where it was not read with the passes."""
    was_read = given.after is not None and any(
        each.name == "pympler" and not each.failure for each in given.after.instruments
    )
    return next((name for name in names if name in given.plan and was_read), "")


def _gained(variant: Variant) -> float:
    return sum(each.bytes_per_step for each in variant.gains)


def _is_unbounded(given: Grounds) -> bool:
    return given.report.scenario.options.get("history_steps") is None


def _history_steps(given: Grounds) -> int:
    """Steps of the past to keep: more than PyMDP's MMP reads back."""
    horizon = given.report.scenario.agent.get("inference_horizon")
    return max(_HISTORY_STEPS, int(horizon or 1) + 1)


def _is_learned(given: Grounds, row: ContentRow) -> bool:
    """Whether every update makes the component an agent's own again."""
    learning = given.report.scenario.learning
    return row.component in learning or row.component.startswith("learning")


def _worth(given: Grounds) -> float:
    return _WORTH * given.agent_bytes * given.agents


def _copies_bytes(given: Grounds, row: ContentRow) -> float:
    """What copies of a component take in the whole population."""
    each = given.private_each(row.component) or row.agent_bytes
    return each * row.copies / max(1, row.compared - 1) * (given.agents - 1)


def _done(given: Grounds, name: str) -> str:
    saved = given.kept(name)
    if saved is None or saved.saved_bytes_per_agent is None:
        return f"Taken care of by {name}."
    each = format_size(saved.saved_bytes_per_agent)
    return f"Taken care of by {name}, which saves {each} per agent in all."
