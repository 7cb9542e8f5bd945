"""`make figures`: what the plan that `optimize` takes by itself costs agents that learn.

`python -m tests.figures_default` prints the processor time per step, against plain PyMDP's, and
ends with 1 where it is above 1.25. Each population has a process of its own, since its heap is part
of what is measured; their rounds alternate, and the ratio is the median over pairs of rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from statistics import median
from time import process_time

import numpy as np

from memprof.text import format_size
from tests.conftest import ROOT

LIMIT, ROUNDS, AGENTS, BEFORE = 1.25, 9, 6, 3
SIZES = (10_000, 100_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 20_000_000)
CASES = [
    *(("A", "sparse", size) for size in SIZES),
    *(("B", "sparse", size) for size in SIZES),
    ("AB", "sparse", 5_000_000),
    ("A", "dense", 100_000),
    ("A", "dense", 5_000_000),
    ("AB", "dense", 5_000_000),
    ("", "dense", 5_000_000),
]


def arguments(learns: str, form: str, size: int) -> dict:
    """Of an agent that learns `size` bytes: a matrix of likelihoods, two of transitions."""
    from pymdp.legacy import utils

    matrices = max(1, ("A" in learns) + 2 * ("B" in learns))
    states = int((size / 8 / matrices) ** 0.5)
    A, B = utils.obj_array(1), utils.obj_array(1)
    A[0] = np.eye(states)
    B[0] = np.stack([np.eye(states), np.roll(np.eye(states), 1, axis=0)], axis=2)
    if form == "dense":
        A[0], B[0] = (0.9 * each + 0.1 / states for each in (A[0], B[0]))
    model = {"A": A, "B": B}
    return {**model, **{f"p{name}": utils.dirichlet_like(model[name]) for name in learns}}


def live(learns: str, form: str, size: int, optimised: bool) -> None:
    """A population whose rounds the standard input asks for: seconds per step to the output, and
    at the end bytes per agent and what was chosen."""
    from pymdp.legacy.agent import Agent

    from memprof import optimize

    made = (Agent(**arguments(learns, form, size)) for _ in range(AGENTS))
    population = optimize(made) if optimised else list(made)

    def step(agent, seed: int) -> None:
        np.random.seed(seed)
        observation = (int(np.random.randint(agent.num_obs[0])),)
        before = agent.qs
        agent.infer_states(observation)
        agent.infer_policies()
        agent.sample_action()
        if "A" in learns:
            agent.update_A(observation)
        if "B" in learns:
            agent.update_B(before)

    for number, line in enumerate(sys.stdin):
        if line == "memory\n":
            found = population.memory() if optimised else None
            answer = found and (found.typical_agent_bytes, population.because)
        else:
            start = process_time()
            for index in range(AGENTS):
                agent = population.activate(index) if optimised else nullcontext(population[index])
                with agent as active:
                    step(active, AGENTS * number + index)
            answer = (process_time() - start) / AGENTS
        print(json.dumps(answer), flush=True)


def started(case: tuple, optimised: bool) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.figures_default", json.dumps((*case, optimised))],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def asked(process: subprocess.Popen, what: str):
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def judge(case: tuple) -> bool:
    """Print one row of the table; whether the figure was reached."""
    with started(case, False) as plain, started(case, True) as optimised:
        pairs = [
            (asked(plain, "round"), asked(optimised, "round")) for _ in range(BEFORE + ROUNDS)
        ][BEFORE:]
        size, because = asked(optimised, "memory")
    ratio = median(after / before for before, after in pairs)
    before, after = (median(times) * 1e3 for times in zip(*pairs, strict=True))
    learns, form, learned = case
    print(
        f"| {form} {learns or 'nothing'} | {format_size(learned)} | {before:.2f} | {after:.2f} "
        f"| {ratio:.2f} | {format_size(size)} | {because} | {'yes' if ratio <= LIMIT else 'NO'} |",
        flush=True,
    )
    return ratio <= LIMIT


def main() -> int:
    print("| learns | bytes | plain, ms | optimised, ms | time | per agent | because | reached |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    reached = [judge(case) for case in CASES]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        live(*json.loads(sys.argv[1]))
    else:
        sys.exit(main())
