"""`memprof help`: the pages of docs/ on the terminal, and what `--help` says of a command."""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Annotated, Any

import typer

_PAGES = files("memprof") / "docs"


def help_command(
    context: typer.Context,
    topic: Annotated[
        str | None, typer.Argument(metavar="TOPIC", help="A docs page or a command, such as leaks.")
    ] = None,
) -> None:
    """Show a page of the documentation, or a command's options; without TOPIC, list the pages.

    Exit codes: 0 fine; 2 there is no such page or command.
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from memprof.errors import UsageError, unknown

    pages = {
        page.name.removesuffix(".md"): page.read_text(encoding="utf-8")
        for page in sorted(_PAGES.iterdir(), key=lambda page: page.name)
        if page.name.endswith(".md")
    }
    commands: dict[str, Any] = getattr(context.find_root().command, "commands", {})
    if topic in commands and topic not in pages:
        info = typer.Context(commands[topic], info_name=topic, parent=context.find_root())
        print(commands[topic].get_help(info))
        return
    console = Console(file=sys.stdout)
    if topic is None:
        width = max(map(len, pages))
        for name, text in pages.items():
            title = text.partition("\n")[0].lstrip("# ")
            console.print(f"{name:{width}}  {title}", markup=False, highlight=False)
        console.print("\nmemprof help TOPIC shows a page; memprof COMMAND --help lists options.")
        return
    if topic not in pages:
        raise UsageError(unknown("topic", topic, {*pages, *commands}))
    page = Markdown(pages[topic], hyperlinks=False)
    if console.is_terminal:
        with console.pager(styles=True):
            console.print(page)
    else:
        console.print(page)
