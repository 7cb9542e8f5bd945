"""How fast populations act: `python -m tests.figures_act [NAME ...]` lets a population take rounds
of turns and PyMDP's own loop over 100 agents likewise, in turn in one process, prints a table, and
ends with 1 if a figure is missed.

Speed is that of `population.act` (perceive, plan, act): agents' steps per second, medians over
rounds. What agents observe comes from the model's own world, whose time does not count.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

import memprof
from memprof.models.built_in import grid_world, t_maze
from memprof.populations.environment import GenerativeProcess
from memprof.populations.turn import take_turn
from memprof.upstream.numpy_agent import Agent

PASSES = ("history", "pool", "batch")
ROUNDS = 3
BYTES_AT_REST = 165


@dataclass(frozen=True, slots=True)
class Figure:
    """A model, how many agents of it act, and how many times as fast as PyMDP's at least."""

    model: Any
    options: dict[str, Any]
    agents: int
    times: float
    passes: tuple[str, ...] = PASSES
    of_pymdp: int = 100


FIGURES = {
    "grid-10": Figure(lambda: grid_world(10, ""), {"policy_len": 1}, 100_000, 50),
    "grid-29": Figure(lambda: grid_world(29, ""), {"policy_len": 1}, 10_000, 50),
    "t-maze": Figure(
        lambda: t_maze(0.98, ""), {"policy_len": 2, "use_states_info_gain": True}, 10_000, 20
    ),
    "deep-policy": Figure(
        lambda: grid_world(5, ""), {"policy_len": 5}, 1, 200, ("history", "pool", "template"), 1
    ),
}


class World:
    """The model's own, of several agents; every round draws by one generator."""

    def __init__(self, arguments: dict[str, Any], agents: int) -> None:
        self._process = GenerativeProcess(arguments)
        self._states = np.zeros(agents, np.int64)
        self._random = np.random.default_rng(0)
        self._numbers = len(self._process.A) + len(self._process.B)

    def observe(self, actions: np.ndarray | None) -> np.ndarray:
        """What agents see after their actions; [agents, modalities]."""
        seen = []
        for first in range(0, len(self._states), 1000):
            part = slice(first, first + 1000)
            acted = None if actions is None else actions[part]
            drawn = self._random.random((self._numbers, len(self._states[part])))
            self._states[part], observed = self._process.live(self._states[part], acted, drawn)
            seen.append(np.stack(observed, axis=1))
        return np.concatenate(seen)


def measured(figure: Figure) -> tuple[float, float, float]:
    """Seconds per step of PyMDP's agents and of the population's, and bytes at rest of one of
    these."""
    arguments = figure.model()(0).arguments
    plain = [Agent(**arguments, **figure.options) for _ in range(figure.of_pymdp)]
    agents = (Agent(**arguments, **figure.options) for _ in range(figure.agents))
    ours, theirs = World(arguments, figure.agents), World(arguments, len(plain))
    seconds: tuple[list[float], list[float]] = ([], [])
    acted: Any = None
    did: Any = None
    with memprof.optimize(agents, list(figure.passes)) as population:
        for _ in range(ROUNDS + 1):  # the first is not timed
            seen = theirs.observe(did).tolist()
            start = time.perf_counter()
            each = zip(plain, seen, strict=True)
            did = np.array([take_turn(a, s, first=a.action is None).action for a, s in each])
            seconds[0].append((time.perf_counter() - start) / len(plain))
            observed = ours.observe(acted)
            start = time.perf_counter()
            acted = population.act(observed)
            seconds[1].append((time.perf_counter() - start) / figure.agents)
        size = sum(
            row.resident_bytes or row.nominal_bytes
            for row in population.memory().rows
            if row.component == "records"
        )
    return (*(statistics.median(each[1:]) for each in seconds), size / figure.agents)


def main() -> int:
    warnings.simplefilter("ignore")
    missed = 0
    print(
        f"{'model':12} {'agents':>8} {'PyMDP':>9} {'act':>9} {'faster':>7} {'asked':>6} {'rest':>6}"
    )
    for name in sys.argv[1:] or FIGURES:
        figure = FIGURES[name]
        pymdps, ours, size = measured(figure)
        times = pymdps / ours
        too_large = "batch" in figure.passes and name == "grid-10" and size > BYTES_AT_REST
        missed += times < figure.times or too_large
        print(
            f"{name:12} {figure.agents:8,} {pymdps * 1e6:6,.0f} µs {ours * 1e6:6,.1f} µs "
            f"{times:6.0f}x {figure.times:5.0f}x {size:4.0f} B",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
