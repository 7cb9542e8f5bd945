"""The one thing to do after a profile, and how passes come into a user's program."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.catalogue.backends import OF_PROGRAMS
from memprof.catalogue.passes import OPTIONS, PASSES, passes_with
from memprof.profile.passes import Prefix, recommended, shortest
from memprof.render import Next
from memprof.text import format_size, listed, one_line
from memprof.values.profile import Report
from memprof.values.report import ScenarioFields

_MOST_WIDTH = 74


def next_step(report: Report) -> Next:
    """What to do with what was found: apply the passes that matter, leave out the one that breaks
    its claim, or look for some."""
    after, scenario = report.variants.after, report.scenario
    if not report.complete:
        return Next("Run it again: this run was cut short, and these are its results so far.")
    if after is None or not scenario.passes:
        broken = "The budget is exceeded. " if _breaks_budget(report) else ""
        return Next(f"{broken}Let memprof find the passes that help this scenario:", _auto(report))
    if report.equivalence.verdict == "diverged":
        return _without_the_broken(report)
    if report.equivalence.verdict == "not_checked":
        return Next(
            "Make runs comparable first: draw all random numbers of the model and its environment "
            "from np.random, and run it again."
        )
    if _breaks_budget(report):
        return _within_budget(report)
    if not after.passes:
        return Next("There is nothing to apply: no pass helps here.")
    found = recommended(report)
    return _apply(report, found) if found is not None else _no_saving_per_agent(report)


def _auto(report: Report) -> str:
    return f"memprof profile {report.named} --passes auto"


def _apply(report: Report, found: Prefix) -> Next:
    """The passes that matter, and how they come into the user's own program."""
    names, one = listed(found.passes), len(found.passes) == 1
    gives, fewest = f"{found.gives} of this", shortest(report)
    if fewest is not None and len(fewest.passes) < len(found.passes):
        stays = "stays" if one else "stay"
        gives = f"{fewest.gives} of this, and {names} {stays} within the budget"
    elif not found.left:
        gives = f"{names} {'gives' if one else 'give'} all of this"
    return applied(report.scenario, found.passes, gives)


def applied(scenario: ScenarioFields, passes: Sequence[str], gives: str) -> Next:
    """How `passes`, of which `gives` says what they are good for, come into the user's program."""
    them = "it" if len(passes) == 1 else "them"
    foreign = [name for name in passes if name not in PASSES]  # of another memprof
    if scenario.backend != OF_PROGRAMS or foreign or all(PASSES[name].early for name in passes):
        return Next(f"{gives}; with {them}, in the scenario:", _passes_line(passes))
    usable = [name for name in passes if not PASSES[name].early]
    early = [name for name in passes if PASSES[name].early]
    code = _code(scenario, usable)
    if not early:
        return Next(f"{gives}; apply {them} with these two lines:", code)
    return Next(
        f"{gives}. In your own program, apply {listed(usable)} with these two lines; "
        f"{listed(early)} acts before PyMDP is imported, so it works only in a scenario:",
        code,
    )


def _code(scenario: ScenarioFields, names: Sequence[str]) -> str:
    """Two lines of the public API, the second one broken where it is too long."""
    arguments = ["agents", f"passes=[{', '.join(map(_quoted, names))}]"]
    for option in OPTIONS.values():
        value = scenario.options.get(option.name)
        if value is not None and {*passes_with(option).get(OF_PROGRAMS, ())} & {*names}:
            shown = f"[{', '.join(map(_quoted, value))}]" if isinstance(value, tuple) else value
            arguments.append(f"{option.name}={shown}")
    call = f"population = optimize({', '.join(arguments)})"
    if len(call) > _MOST_WIDTH:
        call = "\n".join(["population = optimize(", *(f"    {a}," for a in arguments), ")"])
    return f"from memprof import optimize\n{call}"


def _without_the_broken(report: Report) -> Next:
    broken = [row.name for row in report.passes if row.kept and row.outcome == "diverged"]
    after = report.variants.after
    others = [name for name in (after.passes if after else ()) if broken and name not in broken]
    if not broken:
        return Next(
            "Agents behave differently with these passes. Let memprof choose:", _auto(report)
        )
    them = "it" if len(broken) == 1 else "them"
    return Next(
        f"Leave out {listed(broken)}: agents behave differently with {them}. In the scenario:",
        _passes_line(others),
    )


def _within_budget(report: Report) -> Next:
    assert report.budget is not None
    limit = format_size(report.budget.limit_bytes)
    if report.scenario.passes != ("auto",):
        return Next(
            f"The budget of {limit} is exceeded. See whether other passes help:", _auto(report)
        )
    ledger = report.variants.final.ledger
    most = max((row.component for row in ledger.rows), key=ledger.private_each, default="")
    size = format_size(ledger.private_each(most))
    return Next(
        f"The budget of {limit} is exceeded, and no pass helps further. The largest part of an "
        f"agent is {most}, {size}: make it smaller, or raise the budget."
    )


def _no_saving_per_agent(report: Report) -> Next:
    """Passes after which an agent costs as much as before may save something for the process."""
    useful = [
        row.name
        for row in report.passes
        if row.kept
        and row.outcome in ("saves", "faster")
        and ((row.saved_fixed_bytes or 0) > 0 or (row.saved_transient_bytes or 0) > 0)
    ]
    if not useful:
        return Next("There is nothing to apply: no saving per agent is certain here.")
    found = "; ".join(f"{row.name}: {row.detail}" for row in report.passes if row.name in useful)
    return Next(
        f"No saving per agent is certain. The process itself gets smaller with {found}. In the "
        "scenario:",
        _passes_line(useful),
    )


def _breaks_budget(report: Report) -> bool:
    return report.budget is not None and not report.budget.kept


def _passes_line(names: Sequence[str]) -> str:
    return f"passes: [{', '.join(map(one_line, names))}]"


def _quoted(name: str) -> str:
    return f'"{one_line(name)}"'
