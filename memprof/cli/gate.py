"""`memprof gate`: what a team runs on every change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memprof.cli import options
from memprof.errors import NotComparable, OutputError, UsageError
from memprof.text import cut
from memprof.tolerance import DEFAULT_BASELINE

if TYPE_CHECKING:
    from memprof.gate import Baseline
    from memprof.workflows.cases import Case
    from memprof.workflows.gate import GateOutcome

_MOST_CHECKS = 1000


def gate_command(
    scenarios: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SCENARIO]...",
            help="Scenario files (YAML); those of the baseline if none is given.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path, typer.Option(metavar="FILE", help="What the runs are held against.")
    ] = Path(DEFAULT_BASELINE),
    update: Annotated[
        bool, typer.Option("--update", help="Make the baseline; renew it where nothing is worse.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="With --update: renew it anyway.")] = False,
    tolerance: options.Tolerances = None,
    max_repeats: Annotated[
        int, typer.Option(help="Repeats at most, where fewer are too noisy to tell.")
    ] = 9,
    self_check: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Hold unchanged scenarios against themselves N times, and count false alarms.",
        ),
    ] = None,
    junit: options.Junit = None,
    benchmark_json: options.BenchmarkJson = None,
    bencher_json: options.BencherJson = None,
    github: options.Github = False,
    agents: options.Agents = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    passes: options.Passes = None,
    repeats: options.Repeats = None,
    effort: options.Effort = None,
    timeout: options.Timeout = 900.0,
    memory_limit: options.MemoryLimit = None,
    json: options.Json = None,
    out: options.Out = Path("reports"),
    quiet: options.Quiet = False,
) -> None:
    """Hold scenarios against what they cost when the baseline was made.

    Exit codes: 0 nothing is worse; 1 something is; 2 the command line or a scenario is wrong; 3 it
    could not be measured, or there is no baseline to hold it against; 130 interrupted.
    """
    _check_options(update, force, self_check, max_repeats)
    changed = options.overrides(
        agents=agents, steps=steps, seed=seed, passes=passes, repeats=repeats, effort=effort
    )
    limit = options.memory_limit(memory_limit)
    seconds = options.seconds("--timeout", timeout)
    known = _read(baseline)
    cases = _cases(scenarios or _files(known, baseline), changed, tolerance)

    from memprof.cli.ci_formats import CiFormats
    from memprof.cli.output import Output, Question
    from memprof.cli.progress import progress
    from memprof.worker.spawn import Limits
    from memprof.workflows import gate
    from memprof.workflows import self_check as checking
    from memprof.workflows.cases import Rules

    formats = CiFormats(junit, benchmark_json, bencher_json, github)
    formats.check(json)
    output = Output(out, "self-check" if self_check else "gate", json, quiet)
    question = Question("self_check" if self_check else "gate")
    output.check(question, [*formats.files(), *([baseline] if update else [])])
    rules = Rules(Limits(seconds, limit), max_repeats)
    with progress(quiet=quiet) as observer:
        if self_check:
            outcome = checking.self_check(cases, self_check, rules, observer)
        elif update:
            outcome = gate.update(cases, known, baseline, rules, observer, force=force)
        else:
            outcome = gate.gate(cases, known, baseline, rules, observer)
    outcome = _with_baseline_written(outcome, baseline)
    formats.deliver(output, outcome.report, outcome.failure)


def _check_options(update: bool, force: bool, self_check: int | None, max_repeats: int) -> None:
    if force and not update:
        raise UsageError("--force: lets --update replace anything; it needs --update")
    if update and self_check is not None:
        raise UsageError("--self-check: has no baseline to update; leave one of the two out")
    if self_check is not None and not 1 <= self_check <= _MOST_CHECKS:
        raise UsageError(f"--self-check: expected 1 to {_MOST_CHECKS}, found {self_check}")
    if max_repeats < 1:
        raise UsageError(f"--max-repeats: expected 1 or more, found {max_repeats}")


def _read(path: Path) -> Baseline | str:
    """The baseline, or why there is none."""
    from memprof.reading import read_text
    from memprof.reports.json_text import MOST_BYTES, parse_baseline

    try:
        return parse_baseline(read_text(path, MOST_BYTES))
    except FileNotFoundError:
        return f"there is no baseline {cut(str(path), 200)}"
    except (OSError, ValueError) as error:
        return f"{cut(str(path), 200)}: {getattr(error, 'strerror', None) or error}"


def _with_baseline_written(outcome: GateOutcome, path: Path) -> GateOutcome:
    """The same if it could be written, or needed not; the report says what became of it."""
    from memprof.reports.json_text import render_baseline
    from memprof.reports.sinks import write_files

    try:
        if outcome.baseline is not None:
            write_files({path: render_baseline(outcome.baseline)})
    except OutputError as error:
        return replace(outcome, report=replace(outcome.report, updated=()), failure=error)
    return outcome


def _files(known: Baseline | str, path: Path) -> list[Path]:
    """The scenario files that a baseline was made of."""
    entries = {} if isinstance(known, str) else known.scenarios
    if not entries:
        problem = known if isinstance(known, str) else f"{path} is empty"
        raise NotComparable(f"{problem}; name the scenarios, and --update to make one of them")
    return [path.parent / entry.file for entry in entries.values()]


def _cases(files: Sequence[Path], changed: dict[str, Any], tolerance: str | None) -> list[Case]:
    from memprof.scenario_file import load_scenario
    from memprof.workflows.cases import case_of

    given = options.tolerances(tolerance)
    cases = [case_of(load_scenario(file, changed), given) for file in files]
    twice = [name for name, count in Counter(each.name for each in cases).items() if count > 1]
    if twice:
        where = ", ".join(each.file for each in cases if each.name == twice[0])
        raise UsageError(
            f"two scenarios have the name {twice[0]!r} ({where}); a baseline knows them by name, "
            "give each its own"
        )
    return cases
