"""The view of a profile of several kinds of agents: each kind beside the others, and then alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from memprof.profile.next_step import next_step
from memprof.profile.shards_view import brief_shards, shards_section
from memprof.profile.view import (
    SAME,
    growth_lines,
    marginal_words,
    profile_view,
    reduction,
    reward_lines,
    world_lines,
)
from memprof.render import (
    Bars,
    BarSeries,
    Next,
    Section,
    Table,
    View,
    brief_advice,
    brief_warnings,
    budget_line,
    environment_section,
    figure_rows,
    warnings_section,
)
from memprof.text import counted, format_seconds, format_size
from memprof.values.figures import FIXED, PEAK, PROFILE, TOTAL, Figure
from memprof.values.profile import Advice, Report, Variant

_WHOLE: tuple[Figure[Variant], ...] = (FIXED, TOTAL, PEAK)


def view(report: Report) -> View:
    """Of whichever agents there are."""
    return _of_kinds(report) if report.kinds else profile_view(report)


def _of_kinds(report: Report) -> View:
    kinds = {found.name: each for found, each in zip(report.kinds, report.of_kinds(), strict=True)}
    scenario = report.scenario
    of_kinds = counted(len(scenario.kinds), "kind")
    title = (
        f"{scenario.name}: {counted(scenario.agents, 'agent')} of {of_kinds}, "
        f"{counted(scenario.steps, 'step')}"
    )
    sections = [
        _beside(report, kinds),
        *warnings_section(report.warnings),
        *shards_section(report.distributed),
        *(section for name, each in kinds.items() for section in _alone(name, each)),
        environment_section(report.environment),
    ]
    brief = (
        _brief(report, kinds),
        *brief_shards(report.distributed),
        *brief_advice(list(_advice(kinds))),
        *brief_warnings(report.warnings),
    )
    return View(title, headline(report), tuple(sections), _bars(kinds), _next(kinds), brief)


def headline(report: Report) -> str:
    """What an agent of each kind cost, what it costs now, and whether all still do the same."""
    said = []
    for found, each in zip(report.kinds, report.of_kinds(), strict=True):
        before, after = each.variants.before, each.variants.after
        cost = f"An agent of kind {found.name} costs {marginal_words(before)}"
        if after is not None and after.passes and each.equivalence.verdict in SAME:
            names = ", ".join(after.passes)
            cost += f"; with {names} {marginal_words(after)}: {reduction(before, after)}"
        said.append(cost)
    text = f"{'. '.join(said)}."
    after = report.variants.after
    if after is None or not after.passes:
        return text
    verdict = report.equivalence.verdict
    if verdict in SAME:
        return f"{text} All behave the same{SAME[verdict].removeprefix('It behaves the same')}"
    what = "behave differently" if verdict == "diverged" else "were not checked"
    return f"{text} Agents {what} with the passes: {report.equivalence.detail}."


def _brief(report: Report, kinds: dict[str, Report]) -> Section:
    """The figures that most people look for."""
    text = [*world_lines(report), *reward_lines(report)]
    text += [f"{name}: {line}" for name, each in kinds.items() for line in growth_lines(each)]
    text += [line for line in _budgets(kinds) if "EXCEEDED" in line]
    return Section("", tuple(text), (_costs(report, kinds), *_whole(report, "", _WHOLE)))


def _budgets(kinds: dict[str, Report]) -> Iterator[str]:
    for name, each in kinds.items():
        if each.budget is not None:
            yield f"{name}: {budget_line(each.budget)}"


def _costs(report: Report, kinds: dict[str, Report]) -> Table:
    """What agents of each kind cost, and the mean over all."""
    everybody = {**kinds, "all kinds": report}  # no kind has such a name
    variants = [[v for _, v in each.variants.named()] for each in kinds.values()]
    most = max(map(len, variants))
    variants.append(_of_all(report))
    rows = [
        (
            name,
            f"{each.scenario.agents:,}",
            *map(_cost, those),
            *["-"] * (most - len(those)),
            " \N{RIGHTWARDS ARROW} ".join(map(_step, those)),
        )
        for (name, each), those in zip(everybody.items(), variants, strict=True)
        if those
    ]
    columns = ("kind", "agents", *("before", "after")[:most], "time per step")
    return Table("marginal cost of an agent", columns, tuple(rows))


def _cost(variant: Variant) -> str:
    size = format_size(variant.per_agent.at_most_bytes)
    return size if variant.per_agent.resolved else f"at most {size}"


def _step(variant: Variant) -> str:
    return format_seconds(variant.step_seconds.median)


def _of_all(report: Report) -> list[Variant]:
    """The variants of which all kinds are known: others have no mean over all agents."""
    count = len(report.scenario.kinds)
    return [variant for _, variant in report.variants.named() if len(variant.kinds) == count]


def _whole(report: Report, title: str, figures: Sequence[Figure[Variant]]) -> Iterator[Table]:
    """What the process takes with all agents."""
    variants = _of_all(report)
    words = counted(report.scenario.agents, "agent")
    rows = tuple(figure_rows(figures, variants, agents=words))
    if variants:
        yield Table(title, ("", "before", "after")[: len(variants) + 1], rows)


def _beside(report: Report, kinds: dict[str, Report]) -> Section:
    text = [
        "Each kind was measured in the company of the others, its own number varied alone: what "
        "an agent costs is the slope of USS against the number of its kind, and for all kinds the "
        "mean over all agents.",
    ]
    text += [*world_lines(report), *reward_lines(report)]
    if report.equivalence.verdict != "not_checked":
        text.append(f"Equivalence: {report.equivalence.verdict}; {report.equivalence.detail}.")
    text += _budgets(kinds)
    ledgers = (_ledger(*each) for each in report.variants.named() if each[1] in _of_all(report))
    whole = _whole(report, "all agents", PROFILE)
    return Section("Kinds", tuple(text), (_costs(report, kinds), *whole, *ledgers))


def _ledger(name: str, variant: Variant) -> Table:
    """Where all agents' memory is."""
    rows = [
        (row.component, format_size(row.private_bytes), format_size(row.shared_bytes))
        for row in variant.ledger.rows
    ]
    rows.append(("unexplained", format_size(variant.ledger.unexplained_bytes), ""))
    return Table(f"ledger, {name}", ("", "agents alone", "shared"), tuple(rows))


def _alone(name: str, report: Report) -> Iterator[Section]:
    """All that is known of one kind."""
    own = profile_view(report)
    first, *others = [each for each in own.sections if not each.reference]
    yield _titled(first, name, own.headline)
    for each in others:
        yield _titled(each, name)


def _titled(section: Section, name: str, *said: str) -> Section:
    """A section of one kind's view among those of all."""
    title = f"{name}: {section.title[:1].lower()}{section.title[1:]}"
    return dataclasses.replace(section, title=title, text=(*said, *section.text))


def _advice(kinds: dict[str, Report]) -> Iterator[Advice]:
    for name, report in kinds.items():
        for each in report.advice:
            yield replace(each, finding=f"{name}: {each.finding}")


def _bars(kinds: dict[str, Report]) -> Bars:
    """What agents cost, before and after; the upper end where it is below resolution."""
    before = [each.variants.before.per_agent.at_most_bytes for each in kinds.values()]
    series = [BarSeries("before", tuple(max(0.0, cost) for cost in before), "before")]
    afters = [each.variants.after for each in kinds.values()]
    if any(after is not None and after.passes for after in afters):
        costs = [None if a is None else max(0.0, a.per_agent.at_most_bytes) for a in afters]
        series.append(BarSeries("after", tuple(costs), "after"))
    alt = ", ".join(f"{n} {format_size(cost)}" for n, cost in zip(kinds, before, strict=True))
    return Bars.visible("memory per agent (USS)", alt, "bytes", list(kinds), series)


def _next(kinds: dict[str, Report]) -> Next | None:
    """What to do about the kind that costs most in all."""
    broken = [each for each in kinds.values() if each.budget is not None and not each.budget.kept]
    most = max(
        broken or kinds.values(),
        key=lambda each: each.scenario.agents * each.variants.before.per_agent.marginal_bytes,
    )
    return next_step(most)
