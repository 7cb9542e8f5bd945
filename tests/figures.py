"""`make figures`: what the passes have to reach, measured by memprof itself on shipped scenarios.

`python -m tests.figures [NAME ...]` profiles each scenario before and after its plan, interleaved
and repeated, prints a table, and ends with 1 if a figure is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.conftest import COMMAND, SCENARIOS

PLAN = "history,pool,template"


@dataclass(frozen=True, slots=True)
class Figure:
    """Largest marginal cost after (bytes, or a share of before) and largest time per step."""

    scenario: str
    per_agent: float
    time: float
    plan: str = PLAN
    share: bool = False
    verdict: str = "exact"
    fields: tuple[tuple[str, object], ...] = ()
    options: tuple[object, ...] = ()
    repeats: int = 2


FIGURES = {
    "grid-29": Figure("grid-29", 512, 0.9),
    "grid-29, all active": Figure("grid-29", 16_000, 0.9, "share,policies,history,pool"),
    "grid-5": Figure("grid-5", 512, 1.1, options=("--agents", 200)),
    "deep-policy": Figure(
        "deep-policy", 60_000, 1.05, "template", options=("--agents", 8, "--steps", 20), repeats=1
    ),
    "deep-policy, keep": Figure(
        "deep-policy",
        1000,
        1.05,
        "template",
        fields=(("keep", ["qs", "action"]),),
        options=("--agents", 8, "--steps", 20),
        repeats=1,
    ),
    "learning-29": Figure("learning-29", 4000, 1.25, options=("--steps", 100)),
    "t-maze": Figure("t-maze", 0.02, 1.15, share=True, options=("--agents", 100)),
    "mmp": Figure("mmp", 0.05, 1.1, share=True, options=("--agents", 20, "--steps", 30)),
    "private-mazes": Figure("private-mazes", 64_000, 1.5),
    "dense-random": Figure("dense-random", 1.0, 1.05, "pool", share=True),
    "dense-random, float32": Figure(
        "dense-random", 0.52, 1.05, "float32,pool", share=True, verdict="bounded"
    ),
}


def measure(figure: Figure) -> dict:
    """The report of `memprof profile` on the scenario with the figure's plan."""
    with tempfile.TemporaryDirectory(dir=SCENARIOS, prefix=".figure-") as folder:
        path = SCENARIOS / f"{figure.scenario}.yaml"
        if figure.fields:
            fields = {**yaml.safe_load(path.read_text()), **dict(figure.fields)}
            fields["passes"] = figure.plan.split(",")
            path = Path(folder) / path.name
            path.write_text(yaml.safe_dump(fields))
        done = subprocess.run(
            [
                *COMMAND, "profile", path, "--quiet", "--out", folder, "--passes", figure.plan,
                "--instruments", "none", "--repeats", str(figure.repeats),
                *map(str, figure.options),
            ],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads((Path(folder) / f"{figure.scenario}.json").read_text())


def judge(name: str, figure: Figure, report: dict) -> bool:
    """Print one row of the table; whether the figure was reached."""
    before, after = (report["variants"][which] for which in ("before", "after"))
    was, now = (variant["per_agent"]["marginal_bytes"] for variant in (before, after))
    low, high = after["per_agent"]["ci95_bytes"]
    limit = figure.per_agent * was if figure.share else figure.per_agent
    time = after["step_seconds"]["median"] / before["step_seconds"]["median"]
    verdict = report["equivalence"]["verdict"]
    same = figure.per_agent == 1.0 and low <= limit  # no more than before: within the interval
    reached = (
        (now <= limit or same) and time <= figure.time and verdict in (figure.verdict, "exact")
    )
    print(
        f"| {name} | {was:,.0f} | {now:,.0f} ({low:,.0f} to {high:,.0f}) | {limit:,.0f} "
        f"| {time:.2f} | {figure.time} | {verdict} | {'yes' if reached else 'NO'} |",
        flush=True,
    )
    return reached


def main(names: list[str]) -> int:
    print("| scenario | before, B | after, B | limit, B | time | limit | verdict | reached |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    chosen = names or list(FIGURES)
    reached = [judge(name, FIGURES[name], measure(FIGURES[name])) for name in chosen]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
