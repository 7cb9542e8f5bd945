"""Which source lines are the user's, PyMDP's or a model's, and how a report names them."""

from __future__ import annotations

import ast
import linecache
import sys
import sysconfig
import tracemalloc
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType

Place = tuple[str, int]
"""A source line: path and line number."""

UNKNOWN_FUNCTION = "[unknown]"

_STDLIB = sysconfig.get_path("stdlib")
_SITE = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))
# What PyMDP computes with: a line of theirs says less than the line that called them.
_LIBRARIES = (
    "numpy", "scipy",
    "jax", "jaxlib", "equinox", "jaxtyping", "mctx", "multimethod", "opt_einsum",
)  # fmt: skip


@cache
def is_library(path: str) -> bool:
    """Whether a file is the standard library's own, or one of the libraries PyMDP computes with."""
    for site in _SITE:
        if path.startswith(site + "/"):
            return Path(path).relative_to(site).parts[0] in _LIBRARIES
    return path.startswith((_STDLIB, "<"))


def short_path(path: str, folder: str) -> str:
    """The path relative to the import path or to the scenario's folder."""
    package_root = str(Path(__file__).parents[2])
    for root in (*_SITE, folder, package_root, *sys.path):
        if root and path.startswith(root.rstrip("/") + "/"):
            return path[len(root.rstrip("/")) + 1 :]
    return path


def place_of(traceback: tracemalloc.Traceback) -> Place:
    """The innermost traced line that is the user's, PyMDP's or a model's."""
    frames = list(reversed(traceback))  # innermost first
    frame = next((f for f in frames if not is_library(f.filename)), frames[-1])
    return frame.filename, frame.lineno


def running_place(innermost: FrameType) -> Place:
    """The innermost line on the stack that is the user's, PyMDP's or a model's."""
    frame: FrameType | None = innermost
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    found = frame or innermost
    return found.f_code.co_filename, found.f_lineno


@cache
def function_at(path: str, line: int) -> str:
    """The innermost function that a line is in, such as `Agent.__init__`; `<module>` in none, and
    `UNKNOWN_FUNCTION` where there is no source."""
    functions = _functions(path)
    if functions is None:
        return UNKNOWN_FUNCTION
    around = [(last - first, name) for first, last, name in functions if first <= line <= last]
    return min(around)[1] if around else "<module>"


@cache
def _functions(path: str) -> tuple[tuple[int, int, str], ...] | None:
    """First and last line of the body of every function of a file, with its qualified name."""
    source = "".join(linecache.getlines(path))
    if not source.strip():  # Python 3.13 has a line of an empty file
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # what others write is theirs to judge
            return tuple(_bodies(ast.parse(source), ""))
    except (SyntaxError, ValueError, RecursionError):
        return None


def _bodies(node: ast.AST, within: str) -> Iterator[tuple[int, int, str]]:
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{child.name}" if within else child.name
            if not isinstance(child, ast.ClassDef):
                yield child.body[0].lineno, child.end_lineno or child.lineno, name
        yield from _bodies(child, name)
