"""Which PyMDP is here: its agents, found by its modules, and its version. Nothing is imported."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
from functools import lru_cache
from pathlib import Path

from memprof.errors import UsageError

PACKAGE = "pymdp"
DISTRIBUTION = "inferactively-pymdp"
TRIED = ("0.0.7.1", "1.0.0", "1.0.1", "1.0.2", "1.0.3", "1.0.4")
"""Releases that `make versions` tries."""
SPAN = f"{TRIED[0]} to {TRIED[-1]}"


@lru_cache
def folder() -> Path | None:
    """Where the package is; None if it is not."""
    try:
        found = importlib.util.find_spec(PACKAGE)
    except ValueError:  # something without a specification goes by its name
        return None
    places = found.submodule_search_locations if found else None
    return next(map(Path, places), None) if places else None


@lru_cache
def package_of(backend: str) -> str:
    """The package whose module `agent` has the agents of a backend; empty if there are none.

    Up to 0.0.7.1 that is the NumPy agent's, from 1.0.0 on the JAX agent's, and `legacy` has the
    other.
    """
    home = folder()
    if home is None:
        return ""
    legacy = (home / "legacy" / "__init__.py").is_file()
    numpy = backend == "numpy"
    if legacy and numpy:
        return f"{PACKAGE}.legacy"
    there = (home / "agent.py").is_file()
    return PACKAGE if there and (legacy or _imports_jax(home / "agent.py")) is not numpy else ""


def agent_of(backend: str) -> str:
    """The class of a backend's agents, as users import it."""
    return f"{package_of(backend)}.agent.Agent"


def source_of(backend: str) -> Path:
    """The file of the class `Agent` of a backend that is here."""
    home = folder()
    assert home is not None
    return home.joinpath(*package_of(backend).split(".")[1:], "agent.py")


def _imports_jax(file: Path) -> bool:
    named = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            named |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named.add(node.module)
    return any(name.partition(".")[0] in ("jax", "equinox") for name in named)


@lru_cache
def digest() -> str:
    """Of the source that the NumPy agent runs: releases that have the same compute the same."""
    home = source_of("numpy").parent
    found = hashlib.blake2b(digest_size=16)
    for file in sorted((*home.glob("*.py"), *home.glob("algos/*.py"))):
        if file.name != "default_models.py":
            found.update(f"{file.relative_to(home)}\n".encode())
            found.update(file.read_bytes())
    return found.hexdigest()


@lru_cache
def version() -> str:
    """The version, with the commit if it was installed from one; "unknown" of a bare checkout."""
    from importlib import metadata  # takes half as long as `memprof --help`

    try:
        found = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    commit = str(origin.get("vcs_info", {}).get("commit_id", ""))
    return f"{found.version}+{commit[:9]}" if commit else found.version


def untried() -> str:
    """What to say of a version that memprof was not tried with; empty if it was."""
    return "" if version() in TRIED else f"PyMDP {version()}; memprof was tried with {SPAN}"


def missing(backend: str) -> tuple[str, str]:
    """Why there are no agents of a backend that memprof works with, and what to do; two empty texts
    if there are."""
    if not package_of("numpy") and not package_of("jax"):
        remedy = f"pip install {DISTRIBUTION} (the package called pymdp is something else)"
        return "PyMDP is not installed", remedy
    if not package_of(backend):
        title, last, other = (
            ("JAX agents, which came with 1.0.0", ">=1.0.0", "numpy")
            if backend == "jax"
            else ("NumPy agents", f"=={TRIED[-1]}", "jax")
        )
        remedy = f"pip install '{DISTRIBUTION}{last}' in an environment of its own"
        return f"PyMDP {version()} has no {title}", f"{remedy}, or use backend: {other}"
    if package_of(backend) == PACKAGE and release(version()) < release(TRIED[0]):
        problem = f"PyMDP {version()} is older than {TRIED[0]}, the oldest that memprof works with"
        return problem, f"pip install '{DISTRIBUTION}>={TRIED[0]}'"
    return "", ""


def require(backend: str) -> None:
    """Check that there are agents of a backend.

    Raises:
        UsageError: there are none that memprof works with.
    """
    problem, remedy = missing(backend)
    if problem:
        raise UsageError(f"{problem}: {remedy}")


def release(version: str) -> tuple[int, ...]:
    """Its numbers; those of an unknown version are above all."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else (10**6,)
