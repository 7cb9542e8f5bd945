"""`memprof top`: a living process, and its agents where it is watched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memprof.cli.options import within
from memprof.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memprof.render import View
    from memprof.top.process import Process
    from memprof.values.top import Seen

_SHORTEST = 0.1
_MOST_PID = 2**22


def _interval(text: str) -> float:
    """Seconds between two readings."""
    from memprof.text import A_DAY, cut, parse_seconds

    try:
        return parse_seconds(text, _SHORTEST, A_DAY)
    except ValueError as error:
        raise UsageError(f"--interval: {error}, found {cut(text, 40)!r}") from None


def top_command(
    pid: Annotated[
        int | None,
        typer.Argument(
            metavar="PID",
            help="The process; without, list those that are watched.",
            callback=within(1, _MOST_PID),
            show_default=False,
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(metavar="TIME", parser=_interval, help="Between two readings.")
    ] = "2 s",  # type: ignore[assignment]
    once: Annotated[bool, typer.Option("--once", help="Read it once.")] = False,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Read once, write it here; - is stdout."),
    ] = None,
) -> None:
    """Show a living process, again and again until it ends: its memory, and what its agents hold
    where it is watched, by memprof run or memprof.watch. On no terminal, show it once.

    Exit codes: 0 fine, also when the process ends; 2 the command line is wrong, or there is no such
    process; 130 interrupted. More: memprof help watch.
    """  # fmt: skip
    from memprof.export.sinks import check_writable
    from memprof.top.follow import see, see_all
    from memprof.top.process import Process
    from memprof.top.view import listing, top_view

    if json_file not in (None, "-"):
        check_writable([Path(json_file)])
    if pid is None:
        found = see_all()
        if json_file is not None:
            _write(json_file, found)
        elif found:
            _show(listing(found))
        else:
            raise UsageError(
                "memprof top: expected a PID, as no process of yours is watched; one that is "
                "starts with memprof run, or uses memprof.watch"
            )
        return
    process = Process(pid)
    if json_file is not None:
        _write(json_file, see(process))
    elif once or not sys.stdout.isatty():
        _show(top_view(see(process)))
    else:
        _follow(process, interval)


def _show(view: View) -> None:
    from memprof.cli.output import say
    from memprof.render import terminal
    from memprof.text import for_a_log

    say(for_a_log(terminal.render_for(sys.stdout, view, full=False)))


def _write(file: str, found: Seen | Sequence[Seen]) -> None:
    import msgspec

    from memprof.cli.output import say
    from memprof.export.sinks import write_files

    text = msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n"
    if file == "-":
        say(text)
    else:
        write_files({Path(file): text})


def _follow(process: Process, seconds: float) -> None:
    """On a terminal, in place."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from memprof.render import terminal
    from memprof.top.follow import follow
    from memprof.top.view import top_view

    console = Console(file=sys.stdout)
    with Live(console=console, auto_refresh=False) as shown:
        for seen in follow(process, seconds):
            color = not console.no_color
            text = terminal.render_brief(top_view(seen), width=console.width, color=color)
            shown.update(Text.from_ansi(text), refresh=True)
    console.print(f"{process.pid} has ended.", highlight=False)
