"""The root command, and where the others are: each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True)
class _Entry:
    """Where a command is, in this package, as `module:function`; and its `module:class`, where that
    is one of its own. The list shows the first sentence of what it says of itself, or `short`."""

    function: str
    short: str | None = None
    kind: str | None = None


_ENTRIES = {
    "profile": _Entry("profile:profile_command"),
    "leak": _Entry("leak:leak_command", "Check whether a population leaks, and where."),
    "density": _Entry("density:density_command"),
    "run": _Entry("run:run_command", kind="run:RunCommand"),
    "top": _Entry("top:top_command", "Follow a living process and its agents."),
    "gate": _Entry("gate:gate_command"),
    "compare": _Entry("gate:compare_command"),
    "report": _Entry("report:report_command", "Show a saved report, or write it in other formats."),
    "init": _Entry("init:init_command"),
    "doctor": _Entry("doctor:doctor_command", "Check what makes figures here less reliable."),
    "help": _Entry("help:help_command", "Show a page of the documentation."),
    "models": _Entry("lists:models_command"),
    "instruments": _Entry("lists:instruments_command"),
    "passes": _Entry("lists:passes_command"),
    "formats": _Entry("lists:formats_command"),
    "schema": _Entry("lists:schema_command"),
}


class _Commands(Mapping[str, Any]):
    """By name, in the order of `memprof --help`."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _command(name, _ENTRIES[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_ENTRIES)

    def __len__(self) -> int:
        return len(_ENTRIES)


def _command(name: str, entry: _Entry) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    kind = TyperCommand if entry.kind is None else _found(entry.kind)
    alone.command(name, cls=kind, short_help=entry.short)(_found(entry.function))
    return typer.main.get_command(alone)


def _found(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(f"memprof.cli.{module}"), name)


class _Root(TyperGroup):
    """`memprof`."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how | {"commands": _Commands()})

    def list_commands(self, ctx: Any) -> list[str]:
        return [*_ENTRIES]


app = typer.Typer(
    cls=_Root,
    name="memprof",
    help="Profile, optimise and benchmark the memory of populations of PyMDP agents.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
    pretty_exceptions_enable=False,
)


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
