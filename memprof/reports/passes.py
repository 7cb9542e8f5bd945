"""The section on passes: what each one added, and what `auto` left out."""

from __future__ import annotations

from memprof.reports.common import working_set_line
from memprof.reports.page import Section, Table
from memprof.reports.profile_pictures import passes_waterfall
from memprof.results import PassResult, Report
from memprof.units import format_size

_NOTHING_CLAIMED = ("diverged", "failed", "not_checked")


def passes_section(report: Report) -> Section:
    """The waterfall from before to after, then the passes that are not in the plan."""
    kept = [each for each in report.passes if each.kept]
    left = [each for each in report.passes if not each.kept]
    before = format_size(report.variants.before.per_agent.marginal_bytes)
    columns = ("", "claim", "per agent", "saved", "time", "outcome")
    rows = (("before", "", before, "", "", ""), *(_row(each) for each in kept))
    tables, text = [], []
    if kept:
        tables.append(Table("", columns, rows))
        text.append(
            "Each row is the plan up to this pass, and what the pass adds to the plan before it: "
            "what an agent costs, what it saved, the time per step as a factor."
        )
    text += [f"{each.name}: {each.detail}." for each in kept]
    after = report.variants.after
    if after is not None and after.working_set is not None:
        text.append(working_set_line(after.working_set))
    if left:
        names = ("pass", "outcome", "why")
        reasons = tuple((each.name, _outcome(each), each.detail) for each in left)
        tables.append(Table("left out by auto", names, reasons, "prose"))
        text.append(
            "auto tries the passes that claim to be exact, but for the order of sums at most, and "
            "keeps those that help, behave as they claim and stay within max_slowdown "
            f"({report.scenario['max_slowdown']:g}) of the time per step before."
        )
    drawn = passes_waterfall(report)
    return Section("Passes", tuple(text), tuple(tables), pictures=(drawn,) if drawn else ())


def _row(found: PassResult) -> tuple[str, ...]:
    return (
        found.name,
        found.claim,
        _per_agent(found),
        _saved(found),
        "-" if found.step_time_ratio is None else f"{found.step_time_ratio:.2f} x",
        _outcome(found),
    )


def _per_agent(found: PassResult) -> str:
    """The marginal cost after the pass; its upper end where it cannot be told from zero."""
    if found.ci95_bytes is not None and found.ci95_bytes[0] <= 0:
        return f"< {format_size(found.ci95_bytes[1])}"
    return format_size(found.marginal_bytes)


def _saved(found: PassResult) -> str:
    if found.outcome in _NOTHING_CLAIMED:
        return "-"
    if found.saved_bytes_per_agent is None:
        return "below resolution"
    if (
        found.ci95_bytes is not None
        and found.ci95_bytes[0] <= 0
        and found.marginal_bytes is not None
    ):
        unsure = found.ci95_bytes[1] - found.marginal_bytes
        return f"> {format_size(max(0.0, found.saved_bytes_per_agent - unsure))}"
    return format_size(found.saved_bytes_per_agent)


def _outcome(found: PassResult) -> str:
    return found.outcome.replace("_", " ")
