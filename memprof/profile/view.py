"""The view of a profile that all formats for people share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from memprof.profile import pictures
from memprof.profile.details import device_section, instruments_section, passes_section
from memprof.profile.held import held_lines, largest_components
from memprof.profile.next_step import next_step
from memprof.profile.shards_view import brief_shards, shards_section
from memprof.render import (
    Picture,
    Section,
    Table,
    View,
    advice_section,
    brief_advice,
    brief_warnings,
    budget_line,
    environment_section,
    figure_rows,
    interval,
    warnings_section,
)
from memprof.text import counted, format_seconds, format_share, format_size, listed
from memprof.upstream.attributes import HISTORIES
from memprof.values.figures import PROFILE, PROFILE_BRIEF
from memprof.values.measurements import Ledger, LedgerRow
from memprof.values.profile import KindVariant, Report, Trend, Variant

_MOST_LINES = 8
_LITTLE = 0.01
_GROWS = {"leak": "grows", "clean": "steady"}
"""What a population that lives on does; whether that is a leak, a leak check says."""
_ONE_AGENT = {
    "marginal": "marginal cost",
    "held": "holds alone, mean",
    "typical": "holds alone, median",
    "components": "by component",
    "calls": "by line and call",
}
_OPERATIONS = {
    "build": "makes an agent",
    "optimise": "applies the passes to it",
    "environment": "is the agent's world",
    "activate": "turns the record of an agent at rest into the agent",
    "passivate": "turns it back",
    "reset": "is its next episode",
}
_OF_ALL_AT_ONCE = {
    "build": "makes all agents",
    "optimise": "applies the passes to them",
    "environment": "is their worlds",
    "activate": "turns records of agents at rest into agents",
    "passivate": "turns them back",
    "reset": "is their next episode",
    "compile and step": "is the first step, with programs that an earlier worker compiled, if they "
    "can be kept",
}
SAME = {
    "exact": "It behaves the same, bit for bit.",
    "bounded": "It behaves the same within the bound of its passes.",
}


def profile_view(report: Report) -> View:
    """What a person reads, in the order in which it matters."""
    sections = [
        _before_and_after(report),
        *passes_section(report),
        *advice_section(report.advice),
        *warnings_section(report.warnings),
        *shards_section(report.distributed),
        _ledger(report),
        _hotspots(report),
        instruments_section(list(report.variants.named())),
        *device_section(report),
        _trend(report),
        *_equivalence_section(report),
        environment_section(report.environment),
    ]
    scenario = report.scenario
    title = (
        f"{scenario.name}: {counted(scenario.agents, 'agent')}, {counted(scenario.steps, 'step')}"
    )
    picture = pictures.cost_bars(list(report.variants.named()))
    brief = (
        _brief(report),
        *brief_shards(report.distributed),
        *brief_advice(report.advice),
        *brief_warnings(report.warnings),
    )
    return View(title, headline(report), tuple(sections), picture, next_step(report), brief)


def _brief(report: Report) -> Section:
    """The figures that most people look for."""
    variants = [variant for _, variant in report.variants.named()]
    rows = tuple(figure_rows(PROFILE_BRIEF, variants, ends=False, agents=_all(report)))
    before = report.variants.before
    text = [
        *largest_components(before.ledger),
        *world_lines(report),
        *reward_lines(report),
        *growth_lines(report),
    ]
    if report.budget is not None and not report.budget.kept:
        text.append(budget_line(report.budget))
    return Section("", tuple(text), (Table("", _columns(variants), rows),))


def world_lines(report: Report) -> Iterator[str]:
    """What the world holds in which agents meet."""
    variant = report.variants.before
    if (world := variant.world) is None:
        return
    size, each = format_size(world.bytes), format_size(world.bytes_per_agent)
    if isinstance(variant, KindVariant):
        yield f"The world holds {size} with agents of all kinds, {each} for each {variant.name}."
        return
    grows, little = report.scenario.agents * world.bytes_per_agent, _LITTLE * world.bytes
    if abs(grows) < little:
        of_that = "whatever their number"
    elif world.fixed_bytes < -little:
        of_that = f"by {each} more for one more; that grows with their number"
    elif world.fixed_bytes < little:
        of_that = f"{each} for each agent"
    else:
        of_that = f"{format_size(world.fixed_bytes)} fixed and {each} for each agent"
    yield f"The world holds {size} with {_all(report)}: {of_that}."


def reward_lines(report: Report) -> Iterator[str]:
    """What worlds gave agents, before and after."""
    before, final = report.variants.before.rewards, report.variants.final.rewards
    if before is not None:
        after = "" if final is None or final == before else f", with passes {final.mean:.4g}"
        yield (
            f"Agents are given a reward of {before.mean:.4g} per step{after}: the mean of "
            f"{counted(before.count, 'reward')}."
        )


def _all(report: Report) -> str:
    return counted(report.scenario.agents, "agent")


def growth_lines(report: Report) -> Iterator[str]:
    """What a population that lives on gains, what does so, and what stops it."""
    before, final = report.variants.before, report.variants.final
    if before.trend.verdict != "leak":
        return
    kept = [row.attribute for row in before.gains if row.attribute.rpartition(".")[2] in HISTORIES]
    each = format_size(before.trend.bytes_per_step)
    left = "" if final is before else f" ({format_size(final.trend.bytes_per_step)} with passes)"
    said = f"Long-lived agents grow by {each} per step{left}"
    if kept and len(kept) == len(before.gains):
        yield (
            f"{said}: PyMDP keeps their history ({listed(kept)}). The pass history with "
            "--history-steps caps it."
        )
    else:
        yield f"{said}; memprof leak {report.named} --mode steps says where."


def _columns(variants: Sequence[Variant]) -> tuple[str, ...]:
    passes = variants[-1].passes
    after = passes[0] if len(passes) == 1 else counted(len(passes), "pass", "passes")
    return ("", "before", f"after ({after})")[: len(variants) + 1]


def headline(report: Report) -> str:
    """What an agent cost, what it costs now, and whether it still does the same."""
    before, after = report.variants.before, report.variants.after
    cost = f"An agent costs {marginal_words(before)}"
    if after is None:
        return f"{cost}."
    if not after.passes:
        return f"{cost}; auto kept no pass: none helps here within its limits."
    names = ", ".join(after.passes)
    match report.equivalence.verdict:
        case "exact" | "bounded":
            same = SAME[report.equivalence.verdict]
            return (
                f"{cost}; with {names} {marginal_words(after)}: {reduction(before, after)}. {same}"
            )
        case "diverged":
            return f"{cost}; with {names} agents behave differently, so no saving is claimed."
        case _:
            return f"{cost}; behaviour with {names} was not checked, so no saving is claimed."


def marginal_words(variant: Variant) -> str:
    cost = variant.per_agent
    if not cost.resolved:
        return f"at most {format_size(cost.ci95_bytes[1])} (below resolution)"
    low, high = map(format_size, cost.ci95_bytes)
    return f"{format_size(cost.marginal_bytes)} ({low} to {high})"


def reduction(before: Variant, after: Variant) -> str:
    """The reduction, and the least that both intervals allow to claim."""
    was, now = before.per_agent, after.per_agent
    if was.marginal_bytes <= 0:
        return "no reduction is certain"
    if not now.resolved:
        low, high = was.ci95_bytes[0], max(0.0, now.ci95_bytes[1])
        if low <= high:
            return "no reduction is certain"
        return f"at least {format_share(1 - high / low)} less"
    saved = 1 - now.marginal_bytes / was.marginal_bytes
    if saved < 0:
        certain = now.ci95_bytes[0] > was.ci95_bytes[1]
        return f"{-saved:.1%} more" if certain else "no difference is certain"
    times = was.marginal_bytes / now.marginal_bytes
    least = max(0.0, was.ci95_bytes[0]) / now.ci95_bytes[1]
    if least <= 1:
        return "no reduction is certain"
    return f"{format_share(saved)} less ({_times(times)} times, at least {_times(least)})"


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 100 else f"{factor:.3g}"


# ---------------------------------------------------------------- sections


def _before_and_after(report: Report) -> Section:
    named = list(report.variants.named())
    variants = [variant for _, variant in named]
    rows = tuple(figure_rows(PROFILE, variants, agents=_all(report)))
    text = []
    after = report.variants.after
    if after is not None and after.passes:
        if report.equivalence.verdict in ("exact", "bounded"):
            text.append(f"Reduction: {reduction(report.variants.before, after)}.")
        text.append(f"Equivalence: {_equivalence(report)}.")
    if report.budget is not None:
        text.append(budget_line(report.budget))
    workers = counted(report.variants.before.repeats, "fresh worker")
    text.append(
        f"Each variant ran in {workers}; marginal "
        "and fixed are the slope and the intercept of USS against the number of agents. Pages of "
        "files, mostly libraries, count only while no other process maps the same files: so fixed "
        "and total differ from run to run by up to their size."
    )
    if report.scenario.effort == "quick":
        text.append(
            "This is a first answer, at effort quick; --effort normal takes longer, narrows the "
            "intervals and adds the instruments."
        )
    text += reward_lines(report)
    timelines = ((name, variant.timeline) for name, variant in named if variant.timeline)
    drawn = [
        *pictures.component_bars(named),
        *(pictures.growth_chart(*each) for each in named),
        *(pictures.timeline_chart(*each) for each in timelines),
    ]
    return Section(
        "Before and after",
        tuple(text),
        (
            Table("", _columns(variants), rows),
            *(_one_agent(name, variant) for name, variant in named if variant.one_agent),
        ),
        pictures=_present(drawn),
    )


def _present(drawn: Iterable[Picture | None]) -> tuple[Picture, ...]:
    return tuple(each for each in drawn if each is not None)


def _one_agent(name: str, variant: Variant) -> Table:
    """What one agent is in each part of the report."""
    rows = tuple(
        (_ONE_AGENT[each.name], format_size(each.bytes), each.why) for each in variant.one_agent
    )
    return Table(f"one agent, {name}", ("figure", "bytes", "why it differs"), rows, "prose")


def _equivalence(report: Report) -> str:
    found = report.equivalence
    if found.verdict == "not_checked":
        return f"not checked ({found.detail})"
    scope = f"{counted(found.agents, 'agent')} x {counted(found.steps, 'step')}"
    if found.verdict == "exact":
        return f"exact: beliefs, policies and actions are bit-identical over {scope}"
    error, divergence = found.max_abs_belief_error, found.max_divergence_nats
    change = "not comparable" if error is None else f"{error:.3g}"
    agreement = format_share(found.action_agreement or 0.0)
    nats = "not finite" if divergence is None else f"{divergence:.3g} nats"
    return (
        f"{found.verdict}: actions agree in {agreement} over {scope}, largest "
        f"change of a belief {change}, largest divergence of a posterior {nats}; {found.detail}"
    )


def _equivalence_section(report: Report) -> Iterator[Section]:
    """The verdict in figures; none where there was nothing to compare."""
    found, after = report.equivalence, report.variants.after
    if found.verdict == "not_checked" or after is None or not after.passes:
        return
    agreement, error = found.action_agreement, found.max_abs_belief_error
    nats = found.max_divergence_nats
    rows = (
        ("verdict", found.verdict),
        ("compared", f"{counted(found.agents, 'agent')} x {counted(found.steps, 'step')}"),
        ("equal actions", "-" if agreement is None else format_share(agreement)),
        ("largest change of a belief", "not comparable" if error is None else f"{error:.3g}"),
        ("largest divergence", "not finite" if nats is None else f"{nats:.3g} nats"),
    )
    text = (
        "Both populations run on the same seeds. Exact means equal digests of all beliefs, "
        "posteriors over policies and actions at every step; otherwise values are compared one "
        "by one, and divergence is KL(after || before) of a posterior.",
    )
    yield Section("Equivalence", text, (Table("", ("", ""), rows),))


def _ledger(report: Report) -> Section:
    tables = tuple(_ledger_table(name, variant) for name, variant in report.variants.named())
    text = (
        "Nominal is what arrays and objects request, resident what the kernel has provided. "
        "Private bytes belong to one agent (resident, the mean over all agents), shared bytes to "
        "several (in total). The first agent's A and B are also its environment's and count as "
        "shared, so a further agent holds somewhat more than the mean. Share is of the growth of "
        "the process.",
        *world_lines(report),
    )
    drawn = [
        pictures.ledger_tree(name, variant.ledger) for name, variant in report.variants.named()
    ]
    return Section("Ledger", text, tables, pictures=_present(drawn))


def _ledger_table(name: str, variant: Variant) -> Table:
    ledger = variant.ledger
    rows = [_ledger_row(row, ledger) for row in ledger.rows if row.nominal_bytes]
    for label, size in (
        ("unexplained", ledger.unexplained_bytes),
        ("growth", ledger.growth_bytes),
    ):
        rows.append((label, "", format_size(size), "", "", _share(size, ledger)))
    columns = ("component", "nominal", "resident", "private each", "shared", "share")
    return Table(f"{name}, {counted(ledger.agents, 'agent')}", columns, tuple(rows))


def _ledger_row(row: LedgerRow, ledger: Ledger) -> tuple[str, ...]:
    known = row.private_resident_bytes is not None
    return (
        row.component,
        format_size(row.nominal_bytes),
        format_size(row.resident_bytes),
        format_size(row.private_bytes / ledger.agents if known else None),
        format_size(row.shared_resident_bytes),
        _share(row.resident_bytes, ledger),
    )


def _share(size: int | None, ledger: Ledger) -> str:
    return "-" if size is None or not ledger.growth_bytes else f"{size / ledger.growth_bytes:.1%}"


def _not_pymdps(report: Report) -> Iterator[str]:
    """What the operations are that are no methods of PyMDP's agent."""
    variants = [variant for _, variant in report.variants.named()]
    there = {each.operation for variant in variants for each in variant.hotspots.operations}
    together = any(variant.compile_seconds is not None for variant in variants)
    words = _OF_ALL_AT_ONCE if together else _OPERATIONS
    said = [f"{name} {what}" for name, what in words.items() if name in there]
    if said:
        yield f"Beside PyMDP's own operations: {'; '.join(said)}."


def _hotspots(report: Report) -> Section:
    tables = []
    for name, variant in report.variants.named():
        rows = tuple(
            (
                each.operation,
                format_seconds(each.seconds_per_call),
                format_size(each.retained_bytes_per_call),
                format_size(each.peak_bytes),
            )
            for each in variant.hotspots.operations
        )
        columns = ("operation", "time", "retained", "transient peak")
        tables.append(Table(f"{name}, per call", columns, rows))
    for name, variant in report.variants.named():
        lines = held_lines(variant.hotspots.lines)[:_MOST_LINES]
        if lines:
            held = tuple((each.place, format_size(each.bytes), each.text) for each in lines)
            tables.append(
                Table(f"{name}, by line", ("line", "requested", "source"), held, "source")
            )
    text = (
        *_not_pymdps(report),
        "Time is from the clean workers; retained is the mean per call, transient peak the most "
        "that any call needed on top (traced heap). Lines show what one more agent requests, "
        "resident or not, by the line that allocated it: yours, the model's or PyMDP's; memprof's "
        "own are one row.",
    )
    drawn: tuple[Picture, ...] = (
        *pictures.hotspot_bars(list(report.variants.named())),
        *(
            pictures.flame(name, variant.hotspots.held_stacks, variant.hotspots.lines)
            for name, variant in report.variants.named()
            if variant.hotspots.held_stacks
        ),
    )
    return Section("Hotspots", text, tuple(tables), pictures=drawn)


def _trend(report: Report) -> Section:
    rows = tuple((name, *_trend_row(variant.trend)) for name, variant in report.variants.named())
    columns = ("", "verdict", "per agent and step", "95 % interval", "floor", "steps")
    text = (
        *growth_lines(report),
        "Bytes that an agent gains per further step: the slope of the live heap (malloc and "
        "Python's small objects) after garbage collection, with the whole population alive. It is "
        "judged as in memprof leak, which runs longer and says where the growth is.",
    )
    drawn = [pictures.trend_chart(name, variant) for name, variant in report.variants.named()]
    return Section("Trend", text, (Table("", columns, rows),), pictures=_present(drawn))


def _trend_row(trend: Trend) -> tuple[str, ...]:
    steps = f"{trend.first_step} to {trend.last_step}"
    if trend.verdict == "inconclusive" and trend.bytes_per_step is None:
        return "inconclusive", "-", "-", "-", "the heap cannot be read here"
    if trend.bytes_per_step is None:
        return "not measured", "-", "-", "-", f"{steps}, too slow"
    return (
        _GROWS.get(str(trend.verdict), str(trend.verdict)),
        format_size(trend.bytes_per_step, signed=True),
        interval(trend.ci95_bytes, format_size),
        format_size(trend.floor_bytes),
        steps,
    )
