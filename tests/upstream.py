"""`python -m tests.upstream PATH`: PyMDP's own legacy tests, from a checkout, with every agent put
to rest and woken after each call of a method, once for each storage.

The tests keep their agents: an agent's attributes are those of the active agent of a population.
After each call the block ends, in which that agent is stored, and the next one begins. As a plugin
of pytest (`-p tests.upstream`) this does so under the plan that the environment names.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
VARIABLE = "MEMPROF_UPSTREAM"
_SMALL = {"working_set": 1}  # bytes: none stays but the one in use
PLANS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "template": (["template"], {}),
    "mmap": (["mmap"], {}),
    "working_set": (["template", "working_set"], _SMALL),
    "share, template": (["share", "template"], {}),
    "pool": (["pool"], {}),
    "history, pool, template": (["history", "pool", "template"], {}),
    "history, pool, mmap": (["history", "pool", "mmap"], {}),
    "history, pool, mmap, working_set": (["history", "pool", "mmap", "working_set"], _SMALL),
}


class Sleepers:
    """Agents whose attributes are those of active agents of populations, one for each class."""

    def __init__(self, passes: list[str], options: dict[str, Any]) -> None:
        self.round_trips = 0
        self._plan = passes, options
        self._populations: dict[type, Any] = {}
        self._blocks: weakref.WeakKeyDictionary[Any, tuple[int, Any]] = weakref.WeakKeyDictionary()
        self._busy: set[int] = set()

    def wrapped(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """`method`, after whose outermost call the agent rests and is woken."""

        @functools.wraps(method)
        def call(agent: Any, *arguments: Any, **keywords: Any) -> Any:
            if id(agent) in self._busy:
                return method(agent, *arguments, **keywords)
            self._busy.add(id(agent))
            try:
                return method(agent, *arguments, **keywords)
            finally:
                self._busy.discard(id(agent))
                self.rest_and_wake(agent)

        return call

    def rest_and_wake(self, agent: Any) -> None:
        """End the block in which the agent is active, and begin another."""
        population = self._population(type(agent))
        if agent in self._blocks:
            index, block = self._blocks.pop(agent)
            block.__exit__(None, None, None)
        else:
            body = object.__new__(type(agent))
            body.__dict__ = agent.__dict__
            index = population.add(body)
        if population.working_set() is not None:
            population.flush()
        block = population.activate(index)
        agent.__dict__ = block.__enter__().__dict__
        self._blocks[agent] = index, block
        self.round_trips += 1

    def _population(self, kind: type) -> Any:
        if kind not in self._populations:
            import memprof

            passes, options = self._plan
            self._populations[kind] = memprof.optimize([], passes, **options)
        return self._populations[kind]


def pytest_configure(config: Any) -> None:
    """Patch PyMDP's agent before any test module is imported."""
    from pymdp.legacy.agent import Agent

    if VARIABLE not in os.environ:
        return
    sleepers = Sleepers(*json.loads(os.environ[VARIABLE]))
    for name, method in list(vars(Agent).items()):
        if callable(method) and (name == "__init__" or not name.startswith("__")):
            setattr(Agent, name, sleepers.wrapped(method))
    config.memprof_sleepers = sleepers


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Say how often agents came to rest."""
    sleepers = getattr(config, "memprof_sleepers", None)
    if sleepers is not None:
        terminalreporter.write_line(f"round trips: {sleepers.round_trips}")


def legacy_tests(checkout: Path) -> list[Path]:
    """The test files that build legacy agents."""
    files = sorted((checkout / "test").glob("test_*.py"))
    return [file for file in files if "pymdp.legacy.agent" in file.read_text()]


def run(checkout: Path, plan: tuple[list[str], dict[str, Any]] | None) -> tuple[str, list[str]]:
    """One session of pytest, with plain agents if there is no plan: its summary, and what failed.

    The checkout's own PyMDP goes with its tests.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(checkout), str(ROOT))),
        "MPLBACKEND": "agg",
        "JAX_PLATFORMS": "cpu",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONWARNINGS": "ignore",
    }
    if plan is not None:
        environment[VARIABLE] = json.dumps(plan)
    files = [str(file.relative_to(checkout)) for file in legacy_tests(checkout)]
    plugins = ["-p", "tests.upstream", "-p", "no:cacheprovider"]
    options = ["-q", "-o", "addopts=", "--disable-warnings", "--tb=line", "-rfE"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, *files],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    counted = re.findall(r"^.*\b(?:passed|failed|error)\b.* in .*$", done.stdout, re.MULTILINE)
    trips = re.findall(r"round trips: (\d+)", done.stdout)
    failed = re.findall(r"^(?:FAILED|ERROR) .*$", done.stdout, re.MULTILINE)
    if not counted:
        return f"pytest ended with {done.returncode}", [(done.stdout + done.stderr)[-2000:]]
    summary = counted[-1].strip("= ").rsplit(" in ", 1)[0]
    return f"{summary}; {trips[-1] if trips else 'no'} round trips", failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of infer-actively/pymdp")
    parser.add_argument("--plan", choices=PLANS, action="append", help="default: all")
    wanted = parser.parse_args()
    checkout = wanted.checkout.resolve()
    if not legacy_tests(checkout):
        parser.error(f"{checkout}: no tests of legacy agents in test/")
    summary, plainly = run(checkout, None)
    print(f"plain: {summary}", *plainly, sep="\n  ", flush=True)
    worse = False
    for name in wanted.plan or PLANS:
        summary, failed = run(checkout, PLANS[name])
        new = [line for line in failed if line.split(" - ")[0] not in "\n".join(plainly)]
        print(f"{name}: {summary}", *new, sep="\n  ", flush=True)
        worse = worse or bool(new)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
