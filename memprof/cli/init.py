"""`memprof init`: the files that a team starts with."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from memprof.errors import UsageError
from memprof.text import for_a_log, harmless, one_line

_STARTER = Path("scenarios/starter.yaml")
_REQUIREMENTS = Path("scenarios/requirements.txt")
_WORKFLOW = Path(".github/workflows/memprof.yml")

_Steps = tuple[tuple[str, str], ...]  # a command, and what it is for
_PROFILE: _Steps = (
    (f"memprof profile {_STARTER}", "shows where the memory goes; then edit the file"),
)
_LOCAL: _Steps = (
    *_PROFILE,
    ("memprof gate scenarios/*.yaml --update", "make the baseline, memprof-baseline.json"),
    ("git add scenarios memprof-baseline.json", ""),
    ('git commit -m "Memory baseline"', ""),
    ("memprof gate scenarios/*.yaml", "after a change: exit code 1 if something got worse"),
)
_GITHUB: _Steps = (
    *_PROFILE,
    ("git add scenarios .github", ""),
    ('git commit -m "Memory gate"', "then merge it into the default branch"),
    ("gh workflow run memprof.yml", "make the baseline there; or Actions > memprof > Run workflow"),
    ("git pull", "gets memprof-baseline.json; from now on every change is gated"),
)


def init_command(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The project's folder; created if missing."),
    ] = Path(),
    github: Annotated[
        bool, typer.Option("--github", help="Also write a workflow for GitHub Actions.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write a starter scenario and the steps that follow. Existing files are kept.

    Exit codes: 0 written; 2 all files exist already, or the folder cannot be used; 3 a file
    could not be written.
    """
    from memprof.cli.output import say
    from memprof.export.sinks import check_writable, write_files

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"DIR: expected a folder, found the file {folder}")
    texts = {folder / name: text for name, text in _texts(github).items()}
    kept = [] if force else [file for file in texts if os.path.lexists(file)]
    if len(kept) == len(texts):
        raise UsageError(
            f"already exists: {_listed(kept)}; nothing was written, --force overwrites"
        )
    new = {file: text for file, text in texts.items() if file not in kept}
    check_writable(new)
    write_files(new)
    lines = [f"Written: {_listed(new)}"]
    if kept:
        lines.append(f"Kept: {_listed(kept)}")
    if source := _installed_from():
        lines += [
            f"\nmemprof was installed from {source}, not from a package index;",
            f"say in {_REQUIREMENTS} where CI can install it from.",
        ]
    lines += ["\nNext:\n", _shown(_change_to(folder) + (_GITHUB if github else _LOCAL)), ""]
    say(for_a_log(harmless("\n".join(lines))))


def template(name: str) -> str:
    """A file that comes with memprof, to be written as it is."""
    from importlib import resources

    return (resources.files("memprof") / "templates" / name).read_text(encoding="utf-8")


def _texts(github: bool) -> dict[Path, str]:
    """What is written, by its place in the folder."""
    texts = {_STARTER: template("starter.yaml"), _REQUIREMENTS: _requirements()}
    return {**texts, _WORKFLOW: template("github.yml")} if github else texts


def _requirements() -> str:
    """The releases that decide on figures, as they are installed here."""
    from importlib import metadata

    from memprof.gate.differences import DECISIVE

    lines = ["# Figures depend on these releases: renew the baseline when you change one."]
    for package in DECISIVE:
        with contextlib.suppress(metadata.PackageNotFoundError):
            lines.append(f"{package}=={metadata.version(package)}")
    return "\n".join(lines) + "\n"


def _installed_from() -> str:
    """The folder or address that memprof was installed from (PEP 610); empty for an index."""
    from importlib import metadata

    origin = metadata.distribution("memprof-pymdp").read_text("direct_url.json")
    return str(json.loads(origin)["url"]) if origin else ""


def _listed(files: Iterable[Path]) -> str:
    return one_line(", ".join(map(str, files)))


def _change_to(folder: Path) -> _Steps:
    here = folder.resolve() == Path.cwd()
    return () if here else ((f"cd {shlex.quote(str(folder))}", ""),)


def _shown(steps: _Steps) -> str:
    width = max(len(command) for command, _ in steps)
    lines = (f"  {command:{width}}  {f'# {why}' if why else ''}" for command, why in steps)
    return "\n".join(line.rstrip() for line in lines)
