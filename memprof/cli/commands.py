"""The command's root, and the commands below it."""

from __future__ import annotations

from typing import Annotated

import typer

from memprof.cli import compare, density, gate, init, leak, lists, profile, report

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
app.command("models")(lists.models_command)
app.command("instruments")(lists.instruments_command)
app.command("passes")(lists.passes_command)
app.command("formats")(lists.formats_command)
app.command("schema")(lists.schema_command)


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
