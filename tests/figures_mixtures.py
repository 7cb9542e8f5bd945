"""`make figures`: what memprof says of populations in which two sizes of agents are mixed.

`python -m tests.figures_mixtures` has a tenth to nine tenths of large agents among small ones, in
four orders: spread evenly, all large ones first, all small ones first, and by chance. The truth is
measured without memprof: a process that builds agents of one size only, and how it grows. Prints a
row for each population, and ends with 1 if a marginal cost is more than 3 % off, or the truth is
outside of more than one interval in 20.
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

AGENTS, LARGE, SMALL = 20, 1_000_000, 50_000
ORDERS = ("even", "large first", "small first", "chance")
WITHIN, COVERED = 0.03, 0.95

FACTORY = '''
"""Agents of PyMDP that remember so many bytes, the first `large` of `agents` in some order."""
import random

import numpy as np
from pymdp.legacy import utils
from pymdp.legacy.agent import Agent


class Rememberer(Agent):
    pass


def agent_of(size):
    A, B = utils.obj_array(1), utils.obj_array(1)
    A[0], B[0] = np.eye(3), np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=0)], axis=2)
    agent = Rememberer(A=A, B=B)
    agent.memory = np.random.random(size // 8)
    return agent


def make(agent, agents, large, order, sizes):
    number = agent % agents
    if order == "even":
        is_large = (number + 1) * large // agents > number * large // agents
    elif order == "large first":
        is_large = agent < large
    elif order == "small first":
        is_large = agent >= agents - large
    else:
        is_large = random.Random(large).sample(range(agents), agents).index(number) < large
    return agent_of(sizes[is_large])
'''


def profile(folder: Path, large: int, order: str) -> dict:
    """What memprof says of one agent of a mixture."""
    name = f"{large}-{order.replace(' ', '-')}"
    params = {"agents": AGENTS, "large": large, "order": order, "sizes": [SMALL, LARGE]}
    scenario = {
        "name": name,
        "model": {"kind": "factory", "callable": "factory:make", "params": params},
        "agents": AGENTS, "steps": 2, "passes": [], "repeats": 1, "instruments": [],
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(scenario))
    subprocess.run(
        [*COMMAND, "profile", path, "--quiet", "--out", folder / "out"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    report = json.loads((folder / "out" / f"{name}.json").read_text())
    return report["variants"]["before"]["per_agent"]


def main() -> int:
    mixtures = list(product(range(AGENTS // 10, AGENTS, AGENTS // 10), ORDERS))
    with (
        tempfile.TemporaryDirectory(prefix="memprof-mixtures-") as name,
        ThreadPoolExecutor(2) as crew,
    ):
        folder = Path(name)
        (folder / "factory.py").write_text(FACTORY)
        small, large = (
            cost_alone(folder, "agent_of", size, 2 * 10**8 // size) for size in (SMALL, LARGE)
        )
        print(f"Alone, a small agent costs {small:,.0f} bytes, a large one {large:,.0f}.\n")
        print("| large | order | truth | marginal cost | interval | off by | inside |")
        print("|---|---|---|---|---|---|---|", flush=True)
        errors, inside = [], 0
        found = crew.map(lambda mixture: profile(folder, *mixture), mixtures)
        for (count, order), cost in zip(mixtures, found, strict=True):
            share = count / AGENTS
            mean = share * large + (1 - share) * small
            (low, high), marginal = cost["ci95_bytes"], cost["marginal_bytes"]
            errors.append(abs(marginal / mean - 1))
            is_inside = low <= mean <= high
            inside += is_inside
            print(
                f"| {share:.0%} | {order} | {mean:,.0f} | {marginal:,.0f} | {low:,.0f} to "
                f"{high:,.0f} | {marginal / mean - 1:+.2%} | {'yes' if is_inside else 'NO'} |",
                flush=True,
            )
    print(f"\nWorst: {max(errors):.2%}; the truth is inside {inside} of {len(errors)} intervals.")
    return 0 if max(errors) <= WITHIN and inside >= COVERED * len(errors) else 1


if __name__ == "__main__":
    sys.exit(main())
