"""`make versions`: memprof beside every PyMDP that it works with, each in its own environment.

`python -m tests.versions [--agents N] [--short] [VERSION ...]` installs PyMDP and then memprof into
`.versions/VERSION`, runs the short suite there, profiles four scenarios, lets random agents live
under random passes, and opens the store that each version wrote with the last one. It prints a
table, and ends with 1 if something is not as it should be.

`--short` takes minutes: it puts PyMDP alone before that of this environment, and leaves out three
profiles and JAX.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memprof.text import format_size
from memprof.upstream.installed import DISTRIBUTION, TRIED
from tests.conftest import ROOT

FOLDER = ROOT / ".versions"
SCENARIOS = ("t-maze", "grid-10", "learning-10", "mmp")
SUITE = (
    "tests/unit/test_installed.py",
    "tests/integration/test_pool_known.py",
    "tests/integration/test_population.py",
    "tests/integration/test_reopen.py",
)
TOOLS = ("hypothesis>=6", "pytest>=8")
WRITE = """
import sys, memprof
from tests.integration.test_reopen import ARGUMENTS, PASSES, Forager
memprof.optimize([Forager(**ARGUMENTS)], PASSES, store=sys.argv[1]).close()
"""
READ = """
import sys, memprof
from tests.integration.test_reopen import Forager
memprof.reopen(sys.argv[1], Forager, readonly=True).close()
"""
DIGEST = "from memprof.upstream.installed import digest; print(digest())"


class Wrong(Exception):
    """Something is not as it should be; the message is the last that was said."""


@dataclass
class Version:
    """One PyMDP, in its environment or (`short`) over this one, and what was found of it, by
    column."""

    name: str
    short: bool
    cells: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return FOLDER / (f"{self.name}-short" if self.short else self.name)

    def look(self, column: str, found: Callable[[Version], str]) -> None:
        try:
            self.cells[column] = found(self)
        except Wrong as error:
            self.cells[column] = "WRONG"
            self.wrong.append(f"{self.name}, {column}: {error}")
        print(f"{self.name} {column}: {self.cells[column]}", file=sys.stderr, flush=True)

    def python(self, *arguments: str, ends_with: Sequence[int] = (0,)) -> str:
        """What the version's Python prints, of memprof as it is here."""
        if self.short:
            return run(sys.executable, *arguments, ends_with=ends_with, path=(self.home, ROOT))
        return run(self.home / "bin" / "python", *arguments, ends_with=ends_with, path=(ROOT,))


def run(*command: str | Path, ends_with: Sequence[int] = (0,), path: Sequence[Path] = ()) -> str:
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=own)
    said = done.stdout + done.stderr
    if done.returncode not in ends_with:
        raise Wrong(f"{' '.join(map(str, command))}\nended with {done.returncode}\n{said[-3000:]}")
    return said


def install(version: Version) -> str:
    """PyMDP first, then memprof, which must leave it as it is."""
    whole = version.home / ".installed"
    if not whole.exists():
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        release = f"{DISTRIBUTION}=={version.name}"
        if version.short:
            run(sys.executable, *pip, "--no-deps", "--target", version.home, release)
        else:
            run(sys.executable, "-m", "venv", version.home)
            version.python(*pip, release)
            version.python(*pip, "--editable", str(ROOT), *TOOLS)
        whole.touch()
    there = f"from importlib.metadata import version; print(version('{DISTRIBUTION}'))"
    if (found := version.python("-c", there).strip()) != version.name:
        raise Wrong(f"memprof's installation made it {found}")
    return "yes"


def suite(version: Version) -> str:
    said = version.python("-m", "pytest", "-p", "no:cacheprovider", *SUITE)
    return said.strip().splitlines()[-1].partition(" in ")[0]


def profile(scenario: str) -> Callable[[Version], str]:
    def profiled(version: Version) -> str:
        asked = ("--passes", "pool,template", "--effort", "quick", "--repeats", "1")
        out = version.home / "reports"
        version.python(
            *("-P", "-m", "memprof", "profile", f"scenarios/{scenario}.yaml", "--quiet"),
            *(*asked, "--instruments", "none", "--out", str(out)),
        )
        report = json.loads((out / f"{scenario}.json").read_text())
        named = report["environment"]["versions"][DISTRIBUTION]
        verdict = report["equivalence"]["verdict"]
        if (named, verdict) != (version.name, "exact"):
            raise Wrong(f"a report of PyMDP {named}, behaviour {verdict}")
        before, after = (
            format_size(report["variants"][name]["per_agent"]["marginal_bytes"])
            for name in ("before", "after")
        )
        return f"{verdict}, {before} to {after}"

    return profiled


def random_agents(count: int) -> Callable[[Version], str]:
    def lived(version: Version) -> str:
        said = version.python("-m", "tests.property_agents", "--count", str(count))
        return said.strip().splitlines()[-1].replace(" random agents", "")

    return lived


def jax(version: Version) -> str:
    """A profile of JAX agents where there are any; what to install where there are none."""
    asked = ("--passes", "share", "--effort", "quick", "--repeats", "1", "--agents", "4")
    said = version.python(
        *("-P", "-m", "memprof", "profile", "scenarios/grid-10-jax.yaml", *asked, "--steps", "3"),
        *("--instruments", "none", "--out", str(version.home / "reports")),
        ends_with=(0, 2),
    )
    if "has no JAX agents" in said and f"pip install '{DISTRIBUTION}>=1.0.0'" in said:
        return "says what to install"
    if "It behaves the same" not in " ".join(said.split()):
        raise Wrong(said[-3000:])
    return "same"


def stores(last: Version) -> Callable[[Version], str]:
    """The last version opens the store of this one, or refuses it, as their sources have it."""

    def opened(version: Version) -> str:
        store = version.home / "store"
        shutil.rmtree(store, ignore_errors=True)
        version.python("-c", WRITE, str(store))
        version.python("-c", READ, str(store))
        same = version.python("-c", DIGEST) == last.python("-c", DIGEST)
        said = last.python("-c", READ, str(store), ends_with=(0 if same else 1,))
        if not same and f"holds agents of PyMDP {version.name}, found {last.name}" not in said:
            raise Wrong(said[-3000:])
        return "opened" if same else "refused"

    return opened


def compared(last: Version) -> Callable[[Version], str]:
    """Figures of this version and of the last one are not compared."""

    def refused(version: Version) -> str:
        files = [str(each.home / "reports" / f"{SCENARIOS[0]}.json") for each in (version, last)]
        if version is last:
            return "-"
        said = version.python("-P", "-m", "memprof", "compare", *files, ends_with=(3,))
        expected = f"{DISTRIBUTION}: {version.name}, now {last.name}"
        if expected not in " ".join(said.split()):
            raise Wrong(said[-3000:])
        return "refused"

    return refused


def table(versions: Sequence[Version]) -> str:
    columns = ["PyMDP", *dict.fromkeys(name for each in versions for name in each.cells)]
    rows = [[each.name, *(each.cells.get(name, "") for name in columns[1:])] for each in versions]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", default=TRIED)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--short", action="store_true")
    wanted = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    versions = [Version(name, wanted.short) for name in wanted.versions]
    for version in versions:
        version.look("install", install)
        if version.wrong:
            continue
        version.look("tests", suite)
        for scenario in SCENARIOS[:1] if wanted.short else SCENARIOS:
            version.look(scenario, profile(scenario))
        version.look("random agents", random_agents(wanted.agents))
        if not wanted.short:
            version.look("JAX", jax)
    last = versions[-1]
    for version in versions if "tests" in last.cells else ():
        version.look(f"store opened by {last.name}", stores(last))
        version.look(f"compared with {last.name}", compared(last))
    print(table(versions))
    wrong = [problem for each in versions for problem in each.wrong]
    print(*wrong, sep="\n\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
