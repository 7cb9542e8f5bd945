"""Cells of a notebook: code that is in no file."""

from __future__ import annotations

import linecache
import re
import sys
from typing import Any

# How IPython's own names of code begin where it cannot tell them apart otherwise.
_NUMBERED = re.compile(r"ipython-input-(\d+)-")


def cell_of(path: str) -> str | None:
    """`cell N` for the path of a cell's code, numbered as in `In [N]`; None for any other. Lines of
    it are found under this name, too."""
    shell = _shell()
    number = None if shell is None else _number_of(path, shell)
    if number is None:
        return None
    name = f"cell {number}"
    if (source := linecache.cache.get(path)) and len(source) == 4:
        size, _, lines, _ = source
        linecache.cache[name] = size, None, lines, name  # with no time: there is no file to ask
    return name


def _shell() -> Any:
    """IPython's, where this process is a notebook's."""
    ipython = sys.modules.get("IPython")
    ask = getattr(ipython, "get_ipython", None)
    return None if ask is None else ask()


def _number_of(path: str, shell: Any) -> int | None:
    label = getattr(shell.compile, "format_code_name", lambda _: None)(path)
    found = re.search(r"\d+", label[1]) if label else _NUMBERED.search(path)
    return min(int(found[found.lastindex or 0]), _newest(shell)) if found else None


def settle(shell: Any) -> None:
    """What a magic has run is of the magic's own cell. IPython 9 takes it for the next one's, and
    would do so as long as that one runs."""
    numbers = getattr(shell.compile, "_filename_map", {})
    for path, number in [*numbers.items()]:
        numbers[path] = min(number, _newest(shell))


def _newest(shell: Any) -> int:
    return len(shell.history_manager.input_hist_raw) - 1
