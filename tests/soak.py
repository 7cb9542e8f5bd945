"""`make soak`: how often a leak check raises a false alarm, and how often it finds its floor.

`python -m tests.soak alarms [RUNS [FIRST]]` checks clean populations, one `memprof leak` per run:
shipped scenarios and passes, in both modes where nothing leaks, some under other allocators.
`python -m tests.soak floor [RUNS]` checks the two smallest planted leaks so often each. A table as
it goes; ends with 1 if a figure is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from tests.conftest import COMMAND, SCENARIOS
from tests.environments import environments

BOUNDED = ("--history-steps", 8)
FEW = ("--agents", 3, "--steps", 2)  # large agents, or slow ones
ENVIRONMENTS = {each.name: each for each in environments()}
VERDICTS = {0: "clean", 1: "leak", 3: "inconclusive"}


@dataclass(frozen=True, slots=True)
class Check:
    """One `memprof leak` on a shipped scenario."""

    scenario: str
    mode: str
    options: tuple[object, ...] = ()
    allocator: str = "glibc"

    def run(self, seed: int) -> tuple[str, dict]:
        """The verdict, and the report's `leak`."""
        variables = {**os.environ, **ENVIRONMENTS[self.allocator].variables}
        with tempfile.TemporaryDirectory(prefix="memprof-soak-") as folder:
            report = Path(folder) / "report.json"
            done = subprocess.run(
                [
                    *COMMAND, "leak", str(SCENARIOS / f"{self.scenario}.yaml"), "-q",
                    "--mode", self.mode, "--seed", str(seed), "--out", folder,
                    "--json", str(report), *map(str, self.options),
                ],
                check=False, capture_output=True, text=True, env=variables,
            )  # fmt: skip
            if done.returncode not in VERDICTS or not report.exists():
                raise SystemExit(f"{self}: {done.stderr}")
            return VERDICTS[done.returncode], json.loads(report.read_text())["leak"]


def _clean() -> list[Check]:
    small = ["grid-5", "grid-10", "t-maze", "factory", "learning-10", "inductive", "dense-random"]
    large = ["grid-29", "learning-29", "private-mazes", "sophisticated", "mmp", "learning-all"]
    jax = ["grid-10-jax", "learning-10-jax", "t-maze-jax"]
    numpy_passes = [
        "share", "policies", "template", "belief", "float32", "sparse", "pool", "mmap", "gc",
        "lean_imports", "pool,template",
    ]  # fmt: skip
    jax_passes = ["jit", "share", "jit,share,template", "jit,share,belief,template"]
    few = ("--agents", 20, "--steps", 5)
    checks = [Check(name, "lifecycle", few) for name in (*small, *jax)]
    checks += [Check(name, "lifecycle", FEW) for name in (*large, "grid-29-jax")]
    checks += [Check("deep-policy", "lifecycle", ("--agents", 1, "--steps", 1))]
    checks += [Check("grid-5", "lifecycle", ("--passes", each, *few)) for each in numpy_passes]
    checks += [Check("grid-10-jax", "lifecycle", ("--passes", each, *few)) for each in jax_passes]
    checks += [Check("leaks/saturating-cache", "lifecycle")]
    # A NumPy agent that lives on leaks its history, unless that is bounded.
    held = ("--passes", "history", *BOUNDED)
    checks += [Check(name, "steps", (*held, *few)) for name in small]
    checks += [Check(name, "steps", (*held, *FEW)) for name in ("sophisticated", "mmp")]
    checks += [
        Check("grid-5", "steps", ("--passes", f"history,{each}", *BOUNDED, *few))
        for each in numpy_passes
    ]
    checks += [Check(name, "steps", few) for name in jax]
    checks += [Check("grid-10-jax", "steps", ("--passes", each, *few)) for each in jax_passes]
    others = ("jemalloc", "tcmalloc", "PYTHONMALLOC=malloc", "PYTHONMALLOC=debug")
    checks += [
        Check(name, mode, options, other)
        for other in others
        for name, mode, options in (
            ("grid-5", "lifecycle", few),
            ("t-maze", "lifecycle", few),
            ("grid-5", "lifecycle", ("--passes", "pool,template", *few)),
            ("grid-10", "steps", (*held, *few)),
            ("grid-10-jax", "lifecycle", few),
            ("grid-10-jax", "steps", few),
        )
    ]
    return checks


CLEAN = _clean()
FLOOR = (
    Check("leaks/small-object", "lifecycle"),
    Check("leaks/native-buffer", "lifecycle"),
)


def alarms(runs: int = 200, first: int = 1) -> int:
    """Runs on clean populations that did not say so, from run number `first` on: no false alarm is
    allowed."""
    found = {"clean": 0, "leak": 0, "inconclusive": 0}
    for number, check in islice(enumerate(cycle(CLEAN)), first - 1, runs):
        verdict, leak = _timed(number + 1, check, seed=number // len(CLEAN))
        found[verdict] += 1
        if verdict != "clean":
            print(f"    {leak['detail']}; {leak['bytes_per_cycle']:,.0f} B per cycle", flush=True)
    print(f"{runs - first + 1} runs on clean populations: {found}; allowed: no leak")
    return int(found["leak"] > 0)


def floor(runs: int = 40) -> int:
    """Runs on the smallest planted leaks: at most one in 40 may miss."""
    missed = False
    for check in FLOOR:
        hits = 0
        for number in range(runs):
            verdict, leak = _timed(number + 1, check, seed=number)
            hits += verdict == "leak"
        print(f"{check.scenario}: found in {hits} of {runs} runs, {leak['sites'][0]}")
        missed |= hits < runs - runs // 40
    return int(missed)


def _timed(number: int, check: Check, seed: int) -> tuple[str, dict]:
    start = time.monotonic()
    verdict, leak = check.run(seed)
    seen = "-" if leak["floor_bytes"] is None else f"{leak['floor_bytes']:,.0f} B"
    print(
        f"{number}. {check.scenario} {check.mode} {' '.join(map(str, check.options))} "
        f"{check.allocator}: {verdict}, "
        f"floor {seen}, {time.monotonic() - start:.0f} s",
        flush=True,
    )
    return verdict, leak


def main(arguments: list[str]) -> int:
    names = {"alarms": alarms, "floor": floor}
    if not arguments:
        return alarms() | floor()
    return names[arguments[0]](*map(int, arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
