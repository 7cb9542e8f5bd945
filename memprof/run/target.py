"""What the user wants run: a script, a notebook or a module; and whether it is there."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from memprof.errors import UsageError
from memprof.text import raised

SITES, NO_SITES = "sites", "-"
"""Words for the program's process: whether it is to trace the lines that keep memory."""


@dataclass(frozen=True, slots=True)
class Program:
    """What the user wants run: a script, a notebook, or a module, with its own arguments."""

    target: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False

    @property
    def kind(self) -> Literal["script", "notebook", "module"]:
        """How it is run."""
        if self.is_module:
            return "module"
        return "notebook" if self.target.endswith(".ipynb") else "script"

    @property
    def words(self) -> tuple[str, ...]:
        """As on Python's command line."""
        return (*(("-m",) if self.is_module else ()), self.target, *self.arguments)

    @property
    def subject(self) -> str:
        """The same without its arguments."""
        return f"-m {self.target}" if self.is_module else self.target

    @property
    def name(self) -> str:
        """For files of it."""
        if self.is_module:
            return self.target
        return Path(self.target).resolve().stem or "program"

    def check(self) -> None:
        """See that it is there, before a process is.

        Raises:
            UsageError: it is not.
        """
        if self.is_module:
            _check_module(self.target)
            return
        path = Path(self.target)
        if path.is_dir() and not (path / "__main__.py").is_file():
            raise UsageError(f"{self.target}: is a folder without __main__.py; name a script")
        if not path.exists() and self.target.startswith("-"):
            raise UsageError(
                f"{self.target}: memprof run has no such option; those of the program come after it"
            )
        if not path.exists():
            raise UsageError(
                f"{self.target}: there is no such file. memprof run takes a script, a notebook, or "
                "-m and a module"
            )
        if self.kind == "notebook":
            _check_notebook(path, self.arguments)


def _check_module(name: str) -> None:
    """Nothing of the program is imported here; so only its outermost package is looked for."""
    from importlib.machinery import PathFinder

    top = name.partition(".")[0]
    where = [os.getcwd(), *sys.path]
    if top not in sys.builtin_module_names and PathFinder.find_spec(top, where) is None:
        raise UsageError(f"-m {name}: there is no module {top!r} here or among what is installed")


def _check_notebook(path: Path, arguments: tuple[str, ...]) -> None:
    if arguments:
        raise UsageError(f"{path}: a notebook takes no arguments, found {' '.join(arguments)!r}")
    absent = [name for name in ("nbclient", "ipykernel") if find_spec(name) is None]
    if absent:
        raise UsageError(
            f"{path}: a notebook needs {' and '.join(absent)}: pip install "
            "'memprof-pymdp[notebook]', or the packages themselves"
        )
    try:
        found = read_notebook(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # whatever a reader makes of it
        raise UsageError(f"{path}: is no notebook that can be read: {raised(error)}") from None
    about = found.metadata
    language = str(
        about.get("language_info", {}).get("name")
        or about.get("kernelspec", {}).get("language")
        or "python"
    )
    if language.lower() not in ("python", "ipython"):
        raise UsageError(f"{path}: is of {language}; memprof runs notebooks of Python")
    if not any(cell.cell_type == "code" and cell.source.strip() for cell in found.cells):
        raise UsageError(f"{path}: has no cell with code")


def read_notebook(path: Path) -> Any:
    """Of whichever version, as one of nbformat 4.

    Raises:
        OSError: there is nothing to read.
        Exception: of nbformat's, or of the standard library's: it is no notebook.
    """
    import nbformat

    with warnings.catch_warnings(action="ignore"):  # of cells without ids, in older files
        found = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(found)
    return found
