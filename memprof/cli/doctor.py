"""`memprof doctor`: whether this machine can measure, and what would improve its figures."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memprof.errors import MeasurementError, MemprofError

if TYPE_CHECKING:
    from memprof.values.instruments import Calibration


def doctor_command(
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write the checks here; - is stdout."),
    ] = None,
) -> None:
    """Check what makes figures on this machine less reliable, and what to do about it.

    Exit codes: 0 memprof can measure here; 2 the command line is wrong; 3 it cannot.
    """
    from memprof.cli.output import say
    from memprof.doctor.checks import check_machine
    from memprof.doctor.view import doctor_view, headline
    from memprof.export.sinks import check_writable, write_files
    from memprof.render import terminal
    from memprof.text import for_a_log

    if json_file not in (None, "-"):
        check_writable([Path(json_file)])
    checks = check_machine(_tried())
    text = json.dumps([asdict(each) for each in checks], indent=1) + "\n"
    if json_file == "-":
        say(text)
    else:
        if json_file is not None:
            write_files({Path(json_file): text})
        say(for_a_log(terminal.render_for(sys.stdout, doctor_view(checks))))
    if any(each.state == "broken" for each in checks):
        raise MeasurementError(headline(checks))


def _tried() -> Calibration | MemprofError:
    """What a worker found of its readings, or why there is none."""
    from memprof.launch.spawn import run_worker
    from memprof.posix import Limits
    from memprof.scenario import load_default
    from memprof.values.requests import TryReadings

    try:
        request = TryReadings(load_default("leak").spec(()))
        return run_worker(request, Limits(timeout_seconds=120), lambda mark: None).value
    except MemprofError as error:
        return error
