"""`memprof gate`, which a team runs on every change, and `memprof compare`, the same for two saved
reports."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from memprof.cli.options import (
    FIELDS,
    Destination,
    Overrides,
    Verdicts,
    WorkerLimits,
    takes,
    within,
)
from memprof.errors import NotComparable, OutputError, UsageError
from memprof.text import cut

if TYPE_CHECKING:
    from memprof.gate.case import Case
    from memprof.gate.run import GateOutcome
    from memprof.launch.runner import Observer
    from memprof.values.gate import Baseline
    from memprof.values.profile import Report

_REPLACED = ("agents", "steps", "seed", "passes", "repeats", "effort")


@takes(**{name: FIELDS[name] for name in _REPLACED})
def gate_command(
    scenarios: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SCENARIO",
            help="Scenario files (YAML); else the baseline's.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[Path, typer.Option(metavar="FILE", help="Baseline.")] = Path(
        "memprof-baseline.json"
    ),
    update: Annotated[
        bool,
        typer.Option("--update", help="Write the baseline, unless it got worse."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --update: write it in any case.")
    ] = False,
    max_repeats: Annotated[int, typer.Option(help="Most repeats if inconclusive.")] = 9,
    self_check: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=within(1, 1000),
            help="Count false alarms in N unchanged runs.",
        ),
    ] = None,
    *,
    verdicts: Verdicts,
    changed: Overrides,
    workers: WorkerLimits,
    to: Destination,
) -> None:
    """Compare the costs of scenarios with the baseline.

    Exit codes: 0 nothing is worse; 1 something is; 2 the command line or a scenario is wrong; 3
    inconclusive, not measured, or there is no baseline to compare with; 130 interrupted. More:
    memprof help ci.
    """
    if force and not update:
        raise UsageError("--force: only works with --update; add it")
    if update and self_check is not None:
        raise UsageError("--self-check: cannot be combined with --update; remove one of the two")
    if max_repeats < 1:
        raise UsageError(f"--max-repeats: expected 1 or more, found {max_repeats}")
    known = _read(baseline)
    cases = _cases(scenarios or _files(known, baseline), changed, verdicts)

    from memprof.cli.output import Output, Question
    from memprof.gate import run
    from memprof.gate.case import Rules

    def measure(observer: Observer) -> GateOutcome:
        rules = Rules(workers.limits(), max_repeats)
        if self_check:
            return run.self_check(cases, self_check, rules, observer)
        if update:
            outcome = run.update(cases, known, baseline, rules, observer, force=force)
            return _with_baseline_written(outcome, baseline)
        if isinstance(known, str):
            raise NotComparable(_remedy(known, baseline))
        return run.gate(cases, known, baseline, rules, observer)

    kind = "self_check" if self_check else "gate"
    output = Output(kind.replace("_", "-"), to, verdicts, [baseline] if update else [])
    output.answer(Question(kind), measure)


def _read(path: Path) -> Baseline | str:
    """The baseline, or why there is none."""
    from memprof.export.json_text import MOST_BYTES, parse_baseline
    from memprof.text import read_text

    named = cut(str(path), 200)
    try:
        return parse_baseline(read_text(path, MOST_BYTES))
    except FileNotFoundError:
        return f"there is no baseline {named}"
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        if not os.path.exists(path):  # Path.exists raises where a name is too long
            return f"there is no baseline {named} ({problem})"
        return f"{named}: {problem}"


def _remedy(problem: str, path: Path) -> str:
    if os.path.exists(path):
        return (
            f"{problem}; restore the file, or replace it: run this command again with --update "
            "--force"
        )
    return (
        f"{problem} to compare with; make one: run this command again with --update, and commit "
        "the file"
    )


def _with_baseline_written(outcome: GateOutcome, path: Path) -> GateOutcome:
    """The same if it could be written, or needed not; the report says what became of it."""
    from memprof.export.json_text import render_baseline
    from memprof.export.sinks import write_files

    try:
        if outcome.baseline is not None:
            write_files({path: render_baseline(outcome.baseline)})
    except OutputError as error:
        return dataclasses.replace(
            outcome, report=replace(outcome.report, updated=()), failure=error
        )
    return outcome


def _files(known: Baseline | str, path: Path) -> list[Path]:
    """The scenario files that a baseline was made of; one has as many entries as kinds."""
    entries = {} if isinstance(known, str) else known.scenarios
    if not entries:
        problem = known if isinstance(known, str) else f"{path} is empty"
        raise NotComparable(f"{problem}; name the scenarios, and add --update to make one")
    return [path.parent / file for file in dict.fromkeys(each.file for each in entries.values())]


def _cases(files: Sequence[Path], changed: Overrides, verdicts: Verdicts) -> list[Case]:
    from memprof.gate.case import case_of
    from memprof.scenario import load_scenario

    given = verdicts.tolerances()
    loaded = [load_scenario(file, changed) for file in files]
    cases = [case_of(each, given) for whole in loaded for each in whole.kinds or [whole]]
    twice = [name for name, count in Counter(each.name for each in cases).items() if count > 1]
    if twice:
        where = ", ".join(each.file for each in cases if each.name == twice[0])
        raise UsageError(
            f"two scenarios are named {twice[0]!r} ({where}); a baseline identifies them by name, "
            "so give each its own"
        )
    return cases


@takes()
def compare_command(
    was: Annotated[Path, typer.Argument(metavar="WAS.json", help="The report of the earlier run.")],
    now: Annotated[Path, typer.Argument(metavar="NOW.json", help="The report of the later run.")],
    *,
    verdicts: Verdicts,
    to: Destination,
) -> None:
    """Compare two reports of memprof profile.

    Exit codes: 0 nothing is worse; 1 something is; 2 a file is not such a report; 3 inconclusive:
    the figures are too noisy, or from environments that cannot be compared. More: memprof help ci.
    """
    given = verdicts.tolerances()
    before, after = _measured(was), _measured(now)

    from memprof.cli.output import Output, Question
    from memprof.gate.run import compare_reports

    # A scenario's name is that of its files, but a report may come from elsewhere, with any name.
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", after.scenario.name)
    Output(f"{name}-compare", to, verdicts).answer(
        Question("compare"),
        lambda observer: compare_reports(before, after, (str(was), str(now)), given),
    )


def _measured(path: Path) -> Report:
    from memprof.cli.report import read_report
    from memprof.gate.judge import measured
    from memprof.values.profile import Report

    found = read_report(path)
    if not isinstance(found, Report):
        raise UsageError(
            f"{path}: expected a report of memprof profile, found one of kind {found.kind!r}"
        )
    if not all(map(measured, [*found.of_kinds()] or [found])):
        raise UsageError(
            f"{path}: has no raw samples of the population with its passes; measure it again"
        )
    return found
