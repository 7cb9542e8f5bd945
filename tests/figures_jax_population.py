"""What `memprof.optimize` has to reach for JAX agents of the user's own program.

`python -m tests.figures_jax_population [rollout] [act] [turns]` prints a table, and ends with 1 if
a figure is missed. A peak is that of a process of its own, above what it holds after its imports
(Linux). What is compared in time runs in turn.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

MB = 10**6
STEPS = 100
ROUNDS = 5

# What is measured, PyMDP's figure, memprof's, the limit, and whether it is reached; None without.
Row = tuple[str, str, str, str, bool | None]


def rollout() -> Iterator[Row]:
    """T-maze agents that learn A: PyMDP's rollout, and that of a population."""
    bytes_of: dict[tuple[str, str, int], int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for agents in (1, 1000, 10_000):
            for who in ("pymdp", "memprof"):
                file = Path(folder) / f"{who}-{agents}.npz"
                command = [sys.executable, "-P", "-m", __spec__.name, "one", who, str(agents)]
                subprocess.run([*command, str(file)], check=True)
                with np.load(file) as numbers:
                    for name in ("built", "peak", "held"):
                        bytes_of[name, who, agents] = int(numbers[name])
        found = [np.load(Path(folder) / f"{who}-1000.npz") for who in ("pymdp", "memprof")]
        same = np.array_equal(*(each["action"] for each in found))
        counts = [name for name in found[0] if name.startswith("pA")]
        off = max(np.abs(found[0][name] - found[1][name]).max() for name in counts)
    what = "t-maze that learns A, rollout of 100 steps"

    def row(name: str, agents: int, words: str, beyond: int = 0, limit: str = "") -> Row:
        before, after = (
            bytes_of[name, who, agents] - (bytes_of[name, who, beyond] if beyond else 0)
            for who in ("pymdp", "memprof")
        )
        reached = after <= before / 10 if limit else None
        return f"{what}: {words}", f"{before / MB:,.0f} MB", f"{after / MB:,.0f} MB", limit, reached

    yield row("peak", 1000, "peak of 1,000 agents above imports", limit="a tenth")
    yield row("built", 1000, "of it, PyMDP's constructor, before memprof has the agents")
    yield row("peak", 1, "peak of one agent: building, tracing, compiling")
    yield row("held", 1000, "what 1,000 agents' process holds after it, above imports")
    for agents in (1000, 10_000):
        words = f"what {agents - 1:,} agents add to the peak of one"
        yield row("peak", agents, words, beyond=1, limit="a tenth")
    yield f"{what}: actions", "", "the same" if same else "others", "the same", same
    yield f"{what}: learned counts, largest difference", "", f"{off:.1e}", "1e-5", off <= 1e-5


def one(who: str, agents: int, file: str) -> None:
    """A rollout in this process: its peak, actions and learned counts, in a file."""
    import jax
    from jax import random as jr
    from pymdp.agent import Agent
    from pymdp.envs.rollout import rollout
    from pymdp.envs.tmaze import TMaze

    import memprof
    from memprof.api import jax_optimise  # noqa: F401  so that imports are not part of the peak

    env = TMaze()
    Path("/proc/self/clear_refs").write_text("5")
    start = memory("VmRSS")
    agent = Agent(
        A=[*env.A], B=[*env.B], D=[*env.D], pA=[array + 0.1 for array in env.A],
        A_dependencies=env.A_dependencies, B_dependencies=env.B_dependencies,
        policy_len=2, action_selection="stochastic", learn_A=True, batch_size=agents,
    )  # fmt: skip
    built = memory("VmHWM") - start
    if who == "pymdp":
        last, report = rollout(agent, env, STEPS - 1, jr.PRNGKey(0))
        action, counts = report["action"], last["agent"].pA
        jax.block_until_ready(counts)
    else:
        population = memprof.optimize(agent)
        del agent
        action = population.rollout(env, STEPS, jr.PRNGKey(0))["action"]
    sizes = {"built": built, "peak": memory("VmHWM") - start, "held": memory("VmRSS") - start}
    if who == "memprof":
        counts = population.whole().pA
    arrays = {f"pA{modality}": np.asarray(array) for modality, array in enumerate(counts)}
    np.savez(file, **sizes, action=np.asarray(action), **arrays)


def memory(field: str) -> int:
    """Bytes of this process, as Linux says."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def act() -> Iterator[Row]:
    """Explorers of a 10 by 10 grid: PyMDP's batch of 1,000, compiled, and 100,000 by `act`."""
    import jax
    from jax import random as jr

    import memprof
    from tests.integration.jax_models import agents
    from tests.integration.test_jax_population import turn

    def observed(count: int) -> list[Any]:
        return [np.random.default_rng(0).integers(0, 100, (count, 1)).astype(np.int32)]

    batch, key = agents("grid-10", 1000), jr.PRNGKey(0)
    population = memprof.optimize(batch for _ in range(100))
    prior = turn(batch, batch.D, observed(1000), key)[3]
    calls: dict[str, tuple[int, Callable[[], Any]]] = {
        "pymdp": (1000, lambda: turn(batch, prior, observed(1000), key)),
        "memprof": (100_000, lambda: population.act(observed(100_000), key)),
    }
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS + 1):
        for name, (count, call) in calls.items():
            started = perf_counter()
            jax.block_until_ready(call())
            rates[name].append(count / (perf_counter() - started))
    before, after = (median(found[1:]) for found in rates.values())  # the first one compiles
    yield (
        "grid-10: agent-steps per second, batch of 1,000 and population of 100,000",
        f"{before:,.0f}",
        f"{after:,.0f} ({after / before:.1f} times)",
        "3 times",
        after >= 3 * before,
    )


def turns() -> Iterator[Row]:
    """Ten turns of 1,003 agents, whom no chunk divides, beside PyMDP's batch of as many."""
    from jax import random as jr

    import memprof
    from tests.integration.jax_models import World, agents
    from tests.integration.test_jax_population import turn

    for model in ("t-maze", "grid-10"):
        for learn in (False, True):
            batch = agents(model, 1003, learn_A=learn)
            population = memprof.optimize(batch, chunk=256)
            world, key, actions = World(model, 1003), jr.PRNGKey(0), None
            prior, others, off = batch.D, 0, 0.0
            for _ in range(10):
                seen = world.observe(actions)
                actions, after = population.act(seen, key)
                batch, beliefs, expected, prior, key = turn(batch, prior, seen, key)
                others += int((actions != expected).any(axis=1).sum())
                assert np.array_equal(after, key)
                pairs = zip(population.beliefs(), beliefs, strict=True)
                off = max(off, *(float(np.abs(mine - theirs).max()) for mine, theirs in pairs))
            yield (
                f"{model}{' that learns A' if learn else ''}, 1,003 agents, 10 turns in chunks: "
                "other actions, largest difference of a belief",
                "",
                f"{others}, {off:.1e}",
                "0, 1e-6",
                not others and off <= 1e-6,
            )


FIGURES = {"rollout": rollout, "act": act, "turns": turns}


def main(names: list[str]) -> int:
    if names[:1] == ["one"]:
        one(names[1], int(names[2]), names[3])
        return 0
    print("| what | PyMDP | memprof | limit | reached |")
    print("|---|---|---|---|---|", flush=True)
    reached = True
    for name in names or list(FIGURES):
        for row in FIGURES[name]():
            answer = {True: "yes", False: "NO", None: ""}[row[-1]]
            print(f"| {' | '.join(row[:-1])} | {answer} |", flush=True)
            reached = reached and row[-1] is not False
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
