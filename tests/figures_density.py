"""`make figures`: what density has to reach, measured by memprof itself on shipped scenarios.

`python -m tests.figures_density [NAME ...]` prints a table, and ends with 1 if a figure is missed.
`make million` is the population of a million.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.conftest import COMMAND, SCENARIOS

PLAN = "history,pool,template"
Row = tuple[str, str, bool]


def density(scenario: str, *options: object) -> dict[str, Any]:
    """The report of `memprof density`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        subprocess.run(
            [
                *[*COMMAND, "density", SCENARIOS / f"{scenario}.yaml", "--quiet"],
                *["--json", file, "--out", folder, *map(str, options)],
            ],
            check=True,
        )
        found: dict[str, Any] = json.loads(file.read_text())
    return found


def per_gib(scenario: str, least: float, *options: object) -> Iterator[Row]:
    """Agents per GiB against the plain population's, at the unfavourable ends of both intervals."""
    report = density(scenario, "--passes", PLAN, *options)
    assert report["equivalence"]["verdict"] == "exact", report["equivalence"]
    before, after = (report["variants"][name]["per_agent"] for name in ("before", "after"))
    ratio = before["marginal_bytes"] / after["marginal_bytes"]
    sure = before["ci95_bytes"][0] / after["ci95_bytes"][1]
    yield (
        f"{scenario}: {before['marginal_bytes']:,.0f} B to {after['marginal_bytes']:,.0f} B "
        f"({after['ci95_bytes'][0]:,.0f} to {after['ci95_bytes'][1]:,.0f})",
        f"{ratio:,.0f} times the agents per GiB, at least {sure:,.0f}; asked {least:,.0f}",
        sure >= least,
    )


def verified(scenario: str, *options: object) -> Iterator[Row]:
    """The capacity of 2 GiB, predicted from 100 agents, against where the limit is met."""
    report = density(scenario, "--memory-limit", "2GiB", "--verify", "--repeats", 1, *options)
    for capacity in report["density"]["capacity"]:
        room, found = capacity["room"], capacity["verification"]
        off = found["found"] / room["expected"] - 1
        held = found["ended"] == "memory" and found["found"] >= room["agents"]
        yield (
            f"{scenario}, {capacity['variant']}: {room['agents']:,} promised, "
            f"{room['expected']:,} by the line",
            f"{found['found']:,} lived ({off:+.1%}; asked within 5 %)",
            held and abs(off) <= 0.05,
        )


FIGURES: dict[str, Callable[[], Iterator[Row]]] = {
    "per GiB, grid-29": lambda: per_gib("grid-29", 10_000, "--steps", 5, "--agents", 1000),
    "per GiB, learning-29": lambda: per_gib(
        "learning-29", 5_000, "--max-agents", 20, "--agents", 300, "--repeats", 1
    ),
    "capacity, grid-29": lambda: verified("grid-29", "--passes", "none", "--steps", 3),
    "capacity, grid-10": lambda: verified("grid-10", "--passes", "none", "--steps", 3),
    "capacity, learning-10": lambda: verified("learning-10", "--passes", "none", "--steps", 3),
    "capacity, private-mazes": lambda: verified("private-mazes", "--passes", "none", "--steps", 3),
    "capacity, dense-random": lambda: verified("dense-random", "--passes", "pool", "--steps", 3),
}


def main() -> int:
    """Measure the named figures, or all; 1 if one is missed."""
    missed = False
    for name in sys.argv[1:] or FIGURES:
        for what, found, kept in FIGURES[name]():
            missed |= not kept
            print(f"{'ok  ' if kept else 'MISS'}  {name}: {what}: {found}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
