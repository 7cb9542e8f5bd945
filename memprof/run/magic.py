"""`%load_ext memprof`, then `%%memprof`: a cell of a notebook, watched, and the report under it."""

from __future__ import annotations

import html
import os
from functools import partial
from typing import Any

from memprof.errors import UsageError
from memprof.render import document, terminal, view_of
from memprof.run.run import report_of
from memprof.values.run import RunReport
from memprof.values.watch import CELL, Ended
from memprof.watching.cells import settle
from memprof.watching.observer import END, Observer

_FRAME = (
    '<iframe srcdoc="{page}" title="memprof" loading="lazy" '
    'style="width: 100%; height: 40em; border: 0"></iframe>'
)


def register(shell: Any) -> None:
    """Give the shell, IPython's, the magic."""
    shell.register_magic_function(partial(_asked, shell), magic_kind="cell", magic_name="memprof")


def _asked(shell: Any, line: str, cell: str) -> None:
    if line.strip():
        raise UsageError(f"%%memprof takes no options, found {line.strip()!r}")
    watch_cell(shell, cell)


def watch_cell(shell: Any, cell: str) -> None:
    """Run the cell as the notebook would, and show what its agents hold."""
    watching = Observer(os.getcwd())
    watching.start()
    try:
        first = "" if cell.startswith("%%") else "#\n"  # lines are counted as the cell shows them
        ran = shell.run_cell(first + cell)
        settle(shell)
        watching.try_to_look(END)
    finally:
        watching.stop()
    ended: Ended = "exit" if ran.success else "exception"
    _show(report_of((CELL,), int(not ran.success), ended, watching.watched()))


def _show(report: RunReport) -> None:
    """The page where there is room for one, and the screen where there is not."""
    from IPython.display import display

    view = view_of(report)
    screen = terminal.render_brief(view, width=80, color=False, room=terminal.SCREEN_LINES)
    page = _FRAME.format(page=html.escape(document.render(report)))
    forms = {"text/html": page, "text/plain": screen}
    display(forms, raw=True)  # type: ignore[no-untyped-call]
