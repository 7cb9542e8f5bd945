"""`memprof compare`: two reports of `memprof profile`, held against each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memprof.cli import options
from memprof.cli.report import read_report
from memprof.errors import UsageError

if TYPE_CHECKING:
    from memprof.values.profile import Report


def compare_command(
    was: Annotated[Path, typer.Argument(metavar="WAS.json", help="The report of the run before.")],
    now: Annotated[Path, typer.Argument(metavar="NOW.json", help="The report of the run now.")],
    tolerance: options.Tolerances = None,
    junit: options.Junit = None,
    benchmark_json: options.BenchmarkJson = None,
    bencher_json: options.BencherJson = None,
    github: options.Github = False,
    json: options.Json = None,
    out: options.Out = Path("reports"),
    quiet: options.Quiet = False,
) -> None:
    """Hold two reports of memprof profile against each other.

    Exit codes: 0 nothing is worse; 1 something is; 2 a file is no such report; 3 the figures are
    too noisy to tell, or from environments that cannot be compared.
    """
    given = options.tolerances(tolerance)
    before, after = _read(was), _read(now)

    from memprof.cli.gate import CiFormats
    from memprof.cli.output import Output, Question
    from memprof.gate.comparison import compare

    formats = CiFormats(junit, benchmark_json, bencher_json, github)
    formats.check(json)
    # A scenario's name is that of its files, but a report may come from elsewhere, with any name.
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", after.scenario["name"])
    output = Output(out, f"{name}-compare", json, quiet)
    output.check(Question("compare"), formats.files())
    outcome = compare(before, after, (str(was), str(now)), given)
    formats.deliver(output, outcome.report, outcome.failure)


def _read(path: Path) -> Report:
    from memprof.gate.regression import measured
    from memprof.values.profile import Report

    found = read_report(path)
    if not isinstance(found, Report):
        raise UsageError(
            f"{path}: expected a report of memprof profile, found one of kind {found.kind!r}"
        )
    if not measured(found) or not isinstance(found.scenario.get("name"), str):
        raise UsageError(
            f"{path}: has no raw samples of the population with its passes, or no scenario's name; "
            "measure it anew"
        )
    return found
