"""The view of a leak check that all formats for people share: what grows, where it is allocated,
what retains it, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memprof.leak.sites_view import of_active_agents, sites_section
from memprof.leak.trend_view import trend_section
from memprof.leak.verdict import seldom
from memprof.leak.words import WHILE, grown, grows_in_memory
from memprof.render import (
    Next,
    Section,
    View,
    brief_warnings,
    environment_section,
    warnings_section,
)
from memprof.stats import growth
from memprof.text import counted, format_size
from memprof.values.counts import COUNTS
from memprof.values.leak import MODES, Leak, LeakReport


def leak_view(report: LeakReport) -> View:
    """What a person reads of a leak check, in the order in which it matters."""
    leak = report.leak
    trend, todo = trend_section(leak, report.also), remedies(leak)
    sites = [*sites_section(leak, report.environment)]
    sections = [
        trend,
        *warnings_section(report.warnings),
        *(trend_section(each, (leak,), explained=False) for each in report.also),
        *sites,
        *([Section("What else to do", todo[1:])] if todo[1:] else []),
        environment_section(report.environment),
    ]
    looked = {each.mode: _life(each) for each in (leak, *report.also)}
    lives = ", and of ".join(looked[mode] for mode in MODES if mode in looked)
    title = f"{report.scenario.name}: {counted(leak.agents, 'agent')}, cycles of {lives}"
    said, repeats = headline(leak, report.also), report.scenario.repeats
    said += "".join(
        f" Not checked: what grows {WHILE[each.mode]} ({each.reason.removesuffix('.')})."
        for each in report.unchecked
    )
    if leak.repeats < repeats:
        said = f"After {leak.repeats} of {counted(repeats, 'repeat')}: {said}"
    picture = trend.charts[0] if trend.charts else None
    brief = (
        replace(trend, title="", text=(), charts=trend.charts[:1]),
        *(
            replace(each, text=of_active_agents(leak), charts=(), tables=each.tables[:1])
            for each in sites
        ),
        *brief_warnings(report.warnings),
    )
    return View(title, said, tuple(sections), picture, Next(todo[0]) if todo else None, brief)


def _life(leak: Leak) -> str:
    """What a cycle is."""
    steps = "step" if leak.steps == 1 else "steps"
    if leak.mode == "lifecycle":
        return f"build, {leak.steps} {steps} and release"
    return f"{leak.steps} more {steps}"


def headline(leak: Leak, also: Sequence[Leak] = ()) -> str:
    """The verdict in one sentence; `also` are those of other modes, which say no worse."""
    match leak.verdict:
        case "leak":
            first = f"; first at {leak.sites[0].where}" if leak.sites else ""
            of_memory = ""
            if grows_in_memory(leak):
                low, high = map(format_size, leak.ci95_bytes)
                each = format_size(leak.bytes_per_agent)
                of_memory = f" ({low} to {high}), {each} per agent and cycle"
            return f"LEAK: {grown(leak)} per cycle{of_memory}{first}."
        case "clean":
            while_ = f" {WHILE[leak.mode]} or keep running" if also else ""
            return f"Clean: nothing grows{while_}{_would_have_been_found((leak, *also))}."
        case _:
            needed = (
                f"; {counted(leak.cycles_needed, 'cycle')} would decide"
                if leak.cycles_needed
                else ""
            )
            while_ = f" {WHILE[leak.mode]}" if also else ""
            return f"Inconclusive{while_}: {leak.detail.removesuffix('.')}{needed}."


def _would_have_been_found(clean: Sequence[Leak]) -> str:
    """The smallest leak, of the heap; and what is not in the heap has to leak to be found."""
    floor = growth.highest([each.floor_bytes for each in clean])
    if floor is None:
        return ""
    said = f"; a leak of {format_size(floor)} per cycle would have been found"
    pages = [each.floor for leak in clean for each in leak.signals if each.name == "process"]
    mapped = growth.highest(pages)
    if not pages or (mapped is not None and mapped <= floor):
        return said
    least = "none" if mapped is None else format_size(mapped)
    return f"{said} ({least} of directly mapped memory)"


def remedies(leak: Leak) -> tuple[str, ...]:
    """What to do about the first site, and about others of which the cause is known."""
    if leak.verdict == "leak":
        known = [f"{site.cause.says} {site.cause.remedy}" for site in leak.sites if site.cause]
        first = [] if leak.sites and leak.sites[0].cause else [_remedy(leak)]
        return tuple(dict.fromkeys((*first, *known)))
    if leak.verdict == "inconclusive" and leak.cycles_needed:
        return (f"Run it again with --cycles {leak.cycles_needed}.",)
    return ()


def _remedy(leak: Leak) -> str:
    """Where to begin with any other leak."""
    if not leak.sites:
        when = "Look for what happens only in some cycles" if seldom(leak) else "Narrow it down"
        return (
            f"{when}: use fewer agents, or leave out parts of the model, the environment and the "
            "plan, until the check is clean."
        )
    site = leak.sites[0]
    if site.counted is not None:
        return COUNTS[site.counted].remedy
    if not site.kept_by:
        return f"Start at {site.where}: its allocations outlive the cycle."
    end = "Bound it" if leak.mode == "steps" else "Release it with the agents, or cap it"
    return f"{site.where} is retained by {site.kept_by[-1]}. {end}."
