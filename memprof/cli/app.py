"""The command: its root, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer

from memprof.cli import catalogue, compare, density, gate, init, leak, profile, report
from memprof.errors import MemprofError
from memprof.text import for_a_log

app = typer.Typer(
    name="memprof",
    help="Profile, optimise and benchmark the memory of populations of PyMDP agents.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("profile")(profile.profile_command)
app.command("leak")(leak.leak_command)
app.command("density")(density.density_command)
app.command("gate")(gate.gate_command)
app.command("compare")(compare.compare_command)
app.command("report")(report.report_command)
app.command("init")(init.init_command)
app.command("models")(catalogue.models_command)
app.command("instruments")(catalogue.instruments_command)
app.command("passes")(catalogue.passes_command)
app.command("formats")(catalogue.formats_command)
app.command("schema")(catalogue.schema_command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"memprof {metadata.version('memprof-pymdp')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Profile, optimise and benchmark the memory of populations of PyMDP agents."""


def main() -> None:
    """Run the command. Reported errors end with their exit code; a bug keeps its traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except MemprofError as error:
        detail = f"\n{error.detail.rstrip()}\n" if error.detail else ""
        print(for_a_log(f"memprof: {error}\n{detail}"), end="", file=sys.stderr)
        sys.exit(error.exit_code)


def _terminate(number: int, frame: Any) -> None:
    """End as on Ctrl-C, so that workers and temporary files go too."""
    raise KeyboardInterrupt
