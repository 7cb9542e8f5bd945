"""Advice on what agents hold: alike, empty, loosely packed, ever more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.profile.facts import Facts
from memprof.text import counted, format_share, format_size, listed
from memprof.upstream.attributes import HISTORIES
from memprof.values.instruments import ContentRow, GainRow
from memprof.values.profile import Advice

# Coordinates take about 16 bytes per entry that is not zero, place and value, in place of 8 for
# every entry: above this share of zeros they take less than half, which `sparse` asks for too.
_MOSTLY_ZEROS = 0.75
# The numbers of a policy list are this much of it, or less, when the rest is worth saving.
_LOOSE = 0.5
# The smallest block that allocators hand out.
_LEAST_GAIN_BYTES = 16
_MOST_NAMED = 3
HISTORY_STEPS = 32

_CHANGING = ("beliefs (qs)", "inference (q_pi, G, F)", "histories", "policies", "environment")
_MATRICES = ("A", "B", "learning (pA, pB, pD)", "learning (pA, pB)")
_DIFFERENCES = "keep agents at rest as differences from one of them"
EFFECTS = {
    "share": "keep one read-only copy for all agents",
    "template": _DIFFERENCES,
    "mmap": f"{_DIFFERENCES}, in files",
    "sparse": "store only nonzero entries while agents rest",
}


def alike(facts: Facts) -> Iterator[Advice]:
    """Components of which agents hold copies."""

    def stake(row: ContentRow) -> float:
        return facts.held_bytes(row) * row.copies / max(1, row.compared - 1) * (facts.agents - 1)

    groups: dict[tuple[tuple[str, bool], int], list[ContentRow]] = {}
    for row in sorted(facts.before.contents, key=stake, reverse=True):
        if row.copies and row.component not in _CHANGING and stake(row) >= facts.worth_bytes:
            learned = _is_learned(facts, row)
            passes = ("template", "mmap") if learned else ("share", "template", "mmap")
            choice = facts.choice(passes, gone=facts.is_gone(row.component))
            groups.setdefault((choice, row.alike), []).append(row)
    for (choice, alike), rows in groups.items():
        compared, named = rows[0].compared, rows[:_MOST_NAMED]
        who = f"all {compared}" if alike == compared else f"{alike} of {compared}"
        of = f" compared (of {facts.agents:,})" if compared < facts.agents else ""
        names = listed([row.component for row in named])
        yield from facts.advice(
            "alike",
            choice,
            sum(map(stake, rows)),
            f"{names} {_is(rows)} the same for {who} agents{of}.",
            f"Compared bit by bit after their steps: {'; '.join(map(_copies, named))}.",
            EFFECTS.get(choice[0], ""),
            saves_bytes=facts.saved_bytes(choice[0]),
        )


def _copies(row: ContentRow) -> str:
    said = f"{row.copies} copies of {row.component}, {format_size(row.agent_bytes)} requested each"
    return f"{said}, {format_share(row.zeros or 0.0)} zeros" if _is_mostly_zeros(row) else said


def zeros(facts: Facts) -> Iterator[Advice]:
    """Matrices that are mostly zeros, and each agent's own: of what all have alike, sharing leaves
    the zeros of one."""

    def stake(row: ContentRow) -> float:
        return (row.zeros or 0.0) * facts.held_bytes(row) * facts.agents

    groups: dict[tuple[str, bool], list[ContentRow]] = {}
    for row in facts.before.contents:
        shared = row.alike == row.compared > 1 and not _is_learned(facts, row)
        worth = row.component in _MATRICES and stake(row) >= facts.worth_bytes
        if worth and _is_mostly_zeros(row) and not shared:
            passes = ("sparse", "template", "mmap")
            choice = facts.choice(passes, gone=facts.is_gone(row.component))
            groups.setdefault(choice, []).append(row)
    for choice, rows in groups.items():
        empty = " and ".join(f"{format_share(row.zeros or 0.0)} of {row.component}" for row in rows)
        each = "; ".join(
            f"{format_size(row.number_bytes)} of numbers per agent in {row.component}"
            for row in rows
        )
        yield from facts.advice(
            "zeros",
            choice,
            sum(map(stake, rows)),
            f"{empty} {_is(rows)} zeros.",
            f"{each}.",
            EFFECTS.get(choice[0], ""),
            saves_bytes=facts.saved_bytes("sparse") if choice[0] == "sparse" else None,
        )


def views(facts: Facts) -> Iterator[Advice]:
    """Views of parts of larger arrays, which stay whole for them."""
    for row in facts.before.contents:
        held = facts.before.ledger.held_each(row.component)
        each = held * row.pinned_bytes / max(1, row.agent_bytes)
        if each * facts.agents < facts.worth_bytes:
            continue
        passes = ("share", "template", "mmap")
        solved = facts.solver(passes) if facts.is_gone(row.component) else ""
        yield Advice(
            kind="views",
            finding=f"{row.component} pins {format_size(each)} that it does not use.",
            evidence=f"{format_size(row.number_bytes)} of numbers are views of larger arrays that "
            f"stay in memory as a whole: {format_size(row.agent_bytes)} in the first "
            "agent.",
            remedy=facts.done(solved)
            if solved
            else "Copy the view with .copy() where the agent is built, to free the rest.",
            solved_by=solved,
            stake_bytes=each * facts.agents,
        )


def policies(facts: Facts) -> Iterator[Advice]:
    """Policy lists, of an array for each policy."""
    each = facts.before.ledger.private_each("policies")
    for row in facts.before.contents:
        loose = row.number_bytes <= _LOOSE * row.agent_bytes or row.copies
        if row.component == "policies" and loose and each * facts.agents >= facts.worth_bytes:
            same = f", the same for {row.alike} of {row.compared} agents" if row.copies else ""
            passes = ("policies", "share", "template", "mmap")
            choice = facts.choice(passes, gone=facts.is_gone("policies"))
            yield from facts.advice(
                "policies",
                choice,
                each * facts.agents,
                f"{format_share(each / facts.agent_bytes)} of an agent is its list of policies.",
                f"{format_size(row.agent_bytes)} for {format_size(row.number_bytes)} of numbers, "
                f"with an array for each policy{same}.",
                "keep it as one compact array for all agents",
                saves_bytes=facts.saved_bytes("policies") if choice[0] == "policies" else None,
            )


def growth(facts: Facts) -> Iterator[Advice]:
    """Attributes that hold more after every step; and growth that no attribute accounts for."""
    rows = [row for row in facts.before.gains if row.bytes_per_step >= _LEAST_GAIN_BYTES]
    yield from (_growing(facts, row) for row in rows[:_MOST_NAMED])
    trend, held = facts.before.trend, sum(row.bytes_per_step for row in rows)
    retraces = facts.before.device is not None and facts.before.device.traces_per_step
    gained = trend.bytes_per_step or 0.0
    # Allocators round up: what attributes hold may take up to twice its nominal bytes.
    if trend.verdict == "leak" and gained > 2 * held + _LEAST_GAIN_BYTES and not retraces:
        rest = f", of which attributes hold {format_size(held)}" if held else ""
        yield Advice(
            kind="growth",
            finding=f"An agent gains {format_size(gained)} per step{rest}.",
            evidence=f"The live heap, from step {trend.first_step} to {trend.last_step}.",
            remedy=f"memprof leak {facts.report.named} --mode steps names the line.",
            stake_bytes=(gained - held) * facts.agents * facts.steps,
        )


def _growing(facts: Facts, row: GainRow) -> Advice:
    owner, _, attribute = row.attribute.rpartition(".")
    is_history = attribute in HISTORIES
    was, now = (
        sum(each.bytes_per_step for each in variant.gains)
        for variant in (facts.before, facts.final)
    )
    # Growth is read of itself, whatever a short life saves; if it was read with the passes.
    instruments = facts.after.instruments if facts.after is not None else ()
    was_read = any(each.name == "pympler" and not each.failure for each in instruments)
    ended_by = [each for each in ("history", "template", "mmap") if each in facts.plan]
    horizon = facts.report.scenario.agent.get("inference_horizon")
    steps = max(HISTORY_STEPS, int(horizon or 1) + 1)  # more than PyMDP's MMP reads back
    solved = ended_by[0] if is_history and ended_by and was_read and now <= 0.1 * was else ""
    if solved:
        row_of_pass = facts.kept(solved)
        short = row_of_pass is not None and row_of_pass.outcome == "no_effect"
        remedy = f"Fixed by {solved}"
        remedy += f" ({format_size(now)} per step remain)." if now >= 1 else "."
        remedy += (
            f" It pays off in runs of more than {counted(facts.steps, 'step')}." if short else ""
        )
        if facts.report.scenario.options.get("history_steps") is None:
            if "history" in facts.plan:
                remedy += " Set --history-steps to cap it."
            elif name := facts.usable(("history",)):
                rest = "the rest" if solved in facts.recommended else "it"
                remedy += f" {facts.use(name, f'cap {rest}', f' --history-steps {steps}')}"
    elif is_history and (name := facts.usable(("history",))):
        remedy = facts.use(name, "cap it", f" --history-steps {steps}")
    else:
        remedy = (
            f"Cap {row.attribute} where it grows, for example with collections.deque and maxlen; "
            f"memprof leak {facts.report.named} --mode steps names the line."
        )
    heap = facts.before.trend.bytes_per_step
    said = f"; the heap gains {format_size(heap)}" if heap is not None else ""
    return Advice(
        kind="growth",
        finding=f"{row.attribute} grows by {format_size(row.bytes_per_step)} per agent and step.",
        evidence=f"Objects that {owner or 'an agent'} holds, over "
        f"{counted(row.steps, 'further step')} of {counted(row.agents, 'agent')}{said}.",
        remedy=remedy,
        solved_by=solved,
        stake_bytes=row.bytes_per_step * facts.agents * facts.steps,
    )


def _is_mostly_zeros(row: ContentRow) -> bool:
    return row.zeros is not None and row.zeros >= _MOSTLY_ZEROS


def _is_learned(facts: Facts, row: ContentRow) -> bool:
    """Whether every update makes the component an agent's own again."""
    learning = facts.report.scenario.learning
    return row.component in learning or row.component.startswith("learning")


def _is(rows: Sequence[ContentRow]) -> str:
    return "is" if len(rows) == 1 else "are"
