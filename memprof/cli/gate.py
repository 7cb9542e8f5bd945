"""`memprof gate`: what a team runs on every change.

What CI servers take from a gate: files in their formats, annotations and a summary.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memprof.cli import options
from memprof.errors import MemprofError, NotComparable, OutputError, UsageError
from memprof.text import cut
from memprof.values.gate import DEFAULT_BASELINE, GateReport

if TYPE_CHECKING:
    from memprof.gate.case import Case
    from memprof.gate.run import GateOutcome
    from memprof.values.gate import Baseline

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

    from memprof.cli.output import Output, Question, progress
    from memprof.gate import run
    from memprof.gate import run as checking
    from memprof.gate.case import Rules
    from memprof.launch.spawn import Limits

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
            outcome = run.update(cases, known, baseline, rules, observer, force=force)
        else:
            outcome = run.gate(cases, known, baseline, rules, observer)
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
    from memprof.export.json_text import MOST_BYTES, parse_baseline
    from memprof.text import read_text

    try:
        return parse_baseline(read_text(path, MOST_BYTES))
    except FileNotFoundError:
        return f"there is no baseline {cut(str(path), 200)}"
    except (OSError, ValueError) as error:
        return f"{cut(str(path), 200)}: {getattr(error, 'strerror', None) or error}"


def _with_baseline_written(outcome: GateOutcome, path: Path) -> GateOutcome:
    """The same if it could be written, or needed not; the report says what became of it."""
    from memprof.export.json_text import render_baseline
    from memprof.export.sinks import write_files

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
    from memprof.gate.case import case_of
    from memprof.scenario.file import load_scenario

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


if TYPE_CHECKING:
    from memprof.cli.output import Output

_SUMMARY = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True, slots=True)
class CiFormats:
    """What was asked for; the summary goes where GitHub says that it wants one."""

    junit: Path | None
    benchmark: Path | None
    bencher: Path | None
    github: bool

    def check(self, json: str | None) -> None:
        """See that annotations do not get into the JSON on standard output.

        Raises:
            UsageError: they would.
        """
        if self.github and json == "-":
            raise UsageError(
                "--github: prints annotations where --json - has the report; give --json a file"
            )

    def files(self) -> list[Path]:
        """Those that will be written."""
        return [each for each in (self.junit, self.benchmark, self.bencher) if each is not None]

    def deliver(
        self,
        output: Output,
        report: GateReport,
        failure: MemprofError | None,
    ) -> None:
        """Write and print all that was asked for, here and of `output`, and end as the gate did.

        Raises:
            MemprofError: `failure`, or else an `OutputError` if something could not be written.
        """
        try:
            self._announce(report)
        except OutputError as error:
            failure = failure or error
        output.deliver(report, failure, self._texts(report))

    def _texts(self, report: GateReport) -> dict[Path, str]:
        """What goes into each file."""
        from memprof.gate import ci

        renderers = (
            (self.junit, ci.junit),
            (self.benchmark, ci.benchmark_action),
            (self.bencher, ci.bencher),
        )
        return {path: render(report) for path, render in renderers if path is not None}

    def _announce(self, report: GateReport) -> None:
        """Print the annotations, and append the summary to GitHub's file."""
        from memprof.gate import ci

        if self.github:
            sys.stdout.write(ci.github_annotations(report))
            sys.stdout.flush()
        if path := os.environ.get(_SUMMARY):
            try:
                with Path(path).open("a", encoding="utf-8") as stream:
                    stream.write(ci.summary(report))
            except OSError as error:
                raise OutputError(f"cannot write {_SUMMARY}={path}: {error.strerror}") from None
