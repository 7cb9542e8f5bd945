"""`make figures`: what memprof says of each kind of agents in a population of two.

`python -m tests.figures_kinds` profiles two kinds of known size, ten times where each agent lives
alone and ten times where all meet in one world: agents that remember so many bytes, and agents
with real models of two sizes. The truth is measured without memprof: a process that builds agents
of one kind only and lets them live, and how it grows. Prints a row for each kind, and ends with 1
if a cost is more than 3 % off, or the truth is outside of more than one interval in 20.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from tests.alone import cost_alone
from tests.conftest import COMMAND, ROOT

RUNS = 10
WITHIN, COVERED = 0.03, 0.95
SIZES = {"remembers": (400_000, 60_000), "models": (70, 30)}
"""Of a large and of a small agent: bytes that it remembers; states that its model has."""
COUNTS = {"remembers": {400_000: 500, 60_000: 3_000}, "models": {70: 1_500, 30: 6_000}}
"""Agents of a truth: 200 MB, beside which what was free before them does not count."""

FACTORY = '''
"""Agents of PyMDP of known size, and a world in which they see nothing of each other."""
import numpy as np
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent


class Rememberer(Agent):
    pass


def model(states):
    A, B = utils.obj_array(1), utils.obj_array(1)
    moves = np.roll(np.eye(states), 1, axis=0)
    A[0], B[0] = np.eye(states), np.stack([np.eye(states), moves], axis=2)
    return A, B


def remembers(size):
    A, B = model(3)
    agent = Rememberer(A=A, B=B)
    agent.memory = np.random.random(size // 8)
    return agent


def models(size):
    A, B = model(size)
    return Agent(A=A, B=B)


class World:
    def __init__(self, agents):
        self.names = [*agents]

    def reset(self, seed=None):
        return dict.fromkeys(self.names, 0), {}

    def step(self, actions):
        none = dict.fromkeys(self.names, False)
        return dict.fromkeys(self.names, 1), dict.fromkeys(self.names, 0.0), none, none, {}
'''


def profile(folder: Path, make: str, place: str, seed: int) -> dict[str, dict]:
    """What memprof says of an agent of each kind."""
    name = f"{make}-{place}-{seed}"
    scenario = {
        "name": name,
        "kinds": [
            {
                "name": kind,
                "agents": agents,
                "model": {
                    "kind": "factory", "callable": f"factory:{make}", "params": {"size": size},
                },
            }
            for kind, agents, size in zip(("large", "small"), (6, 14), SIZES[make], strict=True)
        ],
        "steps": 2, "seed": seed, "passes": [], "repeats": 1, "instruments": [],
    }  # fmt: skip
    if place == "joint":
        scenario["world"] = {"callable": "factory:World"}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(scenario))
    subprocess.run(
        [*COMMAND, "profile", path, "--quiet", "--out", folder / "out"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    report = json.loads((folder / "out" / f"{name}.json").read_text())
    return {each["name"]: each["per_agent"] for each in report["variants"]["before"]["kinds"]}


def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="memprof-kinds-") as name,
        ThreadPoolExecutor(2) as crew,
    ):
        folder = Path(name)
        (folder / "factory.py").write_text(FACTORY)
        truths = {
            make: {
                kind: cost_alone(folder, make, size, COUNTS[make][size])
                for kind, size in zip(("large", "small"), sizes, strict=True)
            }
            for make, sizes in SIZES.items()
        }
        asked = list(product(SIZES, ("alone", "joint"), range(RUNS)))
        found = crew.map(lambda each: profile(folder, *each), asked)
        print("| agents | live | kind | truth | marginal cost | interval | off by | inside |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        errors, inside = [], 0
        for (make, place, _), kinds in zip(asked, found, strict=True):
            for kind, cost in kinds.items():
                known, marginal = truths[make][kind], cost["marginal_bytes"]
                low, high = cost["ci95_bytes"]
                errors.append(abs(marginal / known - 1))
                inside += low <= known <= high
                print(
                    f"| {make} | {place} | {kind} | {known:,.0f} | {marginal:,.0f} | {low:,.0f} to "
                    f"{high:,.0f} | {marginal / known - 1:+.2%} | "
                    f"{'yes' if low <= known <= high else 'NO'} |",
                    flush=True,
                )
    print(f"\nWorst: {max(errors):.2%}; the truth is inside {inside} of {len(errors)} intervals.")
    return 0 if max(errors) <= WITHIN and inside >= COVERED * len(errors) else 1


if __name__ == "__main__":
    sys.exit(main())
