"""`make figures`: agents that meet in one world, in number.

1,000 agents live 40 steps in a world in which they see each other, under each pass that claims to
be exact, and under `working_set`, which wakes them in an order of its own: every belief, posterior
over policies and action has the same bits as in a loop of PyMDP's own calls that steps them one by
one, from the last to the first. Then the time that memprof's loop adds to what PyMDP's methods and
the world take, measured within it: two runs of one loop differ by as much. Prints a row for each,
and ends with 1 if one differs, or if the loop adds more than 20 µs for each agent and step.
"""

from __future__ import annotations

import hashlib
import importlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from memprof.catalogue.passes import PASSES, passes_for
from memprof.instruments import DirectCalls
from memprof.populations import Behaviour, population_class, step_seed
from memprof.populations.trace import DigestTrace
from memprof.scenario import load_scenario
from memprof.values.population import PopulationSpec

T = TypeVar("T")

AGENTS, STEPS, SEED = 1000, 40, 3
ADDED_SECONDS, FEW, ROUNDS = 20e-6, 100, 30
PYMDPS = ("infer_states", "infer_policies", "sample_action")

SQUARE = """
import time

import numpy as np

def objects(*arrays):
    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found

def visitor():
    here = np.eye(5)
    moves = np.stack([here, np.roll(here, 1, axis=0)], axis=2)
    return {
        "A": objects(here, np.full((3, 5), 1 / 3)), "B": objects(moves), "D": objects(here[2]),
        "C": objects(np.zeros(5), np.array([0.0, 1.0, -2.0])), "action_selection": "stochastic",
    }

class Square:
    '''A ring of five corners: an agent sees its own, and how crowded it is.'''

    seconds = 0.0

    def __init__(self, agents):
        self.agents = [*agents]

    def look(self):
        count = np.bincount([*self.where.values()], minlength=5)
        crowd = [int(each > len(self.agents) / 5) + int(each > 0) for each in count]
        return {name: (place, crowd[place]) for name, place in self.where.items()}

    def reset(self, seed=None):
        drawn = np.random.default_rng(seed).integers(5, size=len(self.agents))
        self.where = dict(zip(self.agents, drawn.tolist()))
        return self.look(), {}

    def step(self, actions):
        start = time.perf_counter()
        for name, action in actions.items():
            self.where[name] = int(self.where[name] + action[0]) % 5
        none = dict.fromkeys(self.where, False)
        seen = self.look()
        Square.seconds += time.perf_counter() - start
        return seen, dict.fromkeys(self.where, 0.0), none, none, {}
"""


class ByHand:
    """The same agents in the same world, as a loop of one's own has them: PyMDP's calls."""

    def __init__(self, agents: int) -> None:
        module = importlib.import_module("square")
        from pymdp.legacy.agent import Agent

        self._agents = []
        for number in range(agents):
            np.random.seed(step_seed(SEED, number, -1))
            self._agents.append(Agent(**module.visitor()))
        self._names = [f"agent_{number}" for number in range(agents)]
        self._world = module.Square(self._names)
        self._seen, _ = self._world.reset(seed=step_seed(SEED, -1, -1) >> 1)

    def live(self, steps: range) -> Iterator[tuple[int, int, Behaviour]]:
        for step in steps:
            actions: dict[str, Any] = {}
            for number in reversed(range(len(self._agents))):
                agent, name = self._agents[number], self._names[number]
                np.random.seed(step_seed(SEED, number, step))
                seen = [*self._seen[name]]
                beliefs = agent.infer_states(seen)
                policies, _ = agent.infer_policies()
                actions[name] = action = agent.sample_action()
                yield number, step, Behaviour(beliefs, policies, action, seen)
            np.random.seed(step_seed(SEED, -1, step))
            self._seen, *_ = self._world.step(actions)


def spec_of(folder: Path, agents: int, *passes: str) -> PopulationSpec:
    """So many visitors of the square."""
    path = folder / "square.yaml"
    path.write_text(
        "name: square\nmodel: {kind: factory, callable: 'square:visitor'}\n"
        f"world: {{callable: 'square:Square'}}\nagents: {agents}\nsteps: {STEPS}\nseed: {SEED}\n"
        f"passes: [{', '.join(passes)}]\n"
        + ("working_set: 200 KB\n" if "working_set" in passes else "")
    )
    return load_scenario(path).spec(passes)


def digest(lives: Iterator[Any]) -> str:
    """Of all that they believed and did."""
    trace = DigestTrace(AGENTS, STEPS)
    for agent, step, behaviour in lives:
        trace.record(agent, step, behaviour)
    return hashlib.sha256("".join(trace.per_agent()).encode()).hexdigest()[:12]


def exact_plans() -> Iterator[tuple[str, ...]]:
    """Each pass that is exact, with what it requires."""
    yield ()
    for name in passes_for("numpy"):
        known = PASSES[name]
        if known.form("numpy").claim == "exact" and not known.early:
            yield *known.requires, *known.requires_one[:1], name


def differences(folder: Path) -> int:
    expected = digest(ByHand(AGENTS).live(range(STEPS)))
    print(f"{AGENTS:,} agents, {STEPS} steps, by PyMDP's calls one by one: {expected}\n")
    print("| passes | digest of all behaviour | same |\n|---|---|---|", flush=True)
    differ = 0
    for passes in exact_plans():
        spec = spec_of(folder, AGENTS, *passes)
        population = population_class(spec)(spec, DirectCalls())
        found = digest(population.live(population.grow(AGENTS), range(STEPS)))
        population.close()
        differ += found != expected
        same = "yes" if found == expected else "NO"
        print(f"| {', '.join(passes) or 'none'} | {found} | {same} |", flush=True)
    return differ


class Inside:
    """The probe of a population that tells how long PyMDP's own methods took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        if operation not in PYMDPS:
            return function(*arguments)
        start = perf_counter()
        try:
            return function(*arguments)
        finally:
            self.seconds += perf_counter() - start


def added(folder: Path) -> float:
    """Seconds for each agent and step that are neither PyMDP's nor the world's: the probe's own are
    among them."""
    spec, inside = spec_of(folder, FEW), Inside()
    population = population_class(spec)(spec, inside)
    world, agents = importlib.import_module("square").Square, population.grow(FEW)
    found, own = [], []
    for step in range(ROUNDS):
        inside.seconds = world.seconds = 0.0
        start = perf_counter()
        for _ in population.live(agents, range(step, step + 1)):
            pass
        own.append((inside.seconds + world.seconds) / FEW)
        found.append((perf_counter() - start) / FEW - own[-1])
    print(
        f"\nPyMDP and the world take {1e6 * statistics.median(own):.1f} µs for each agent and "
        f"step; memprof's loop adds {1e6 * statistics.median(found):.1f} µs (asked: "
        f"{1e6 * ADDED_SECONDS:.0f})."
    )
    return statistics.median(found)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="memprof-meet-") as name:
        folder = Path(name)
        (folder / "square.py").write_text(SQUARE)
        sys.path.insert(0, name)
        differ = differences(folder)
        return 1 if differ or added(folder) > ADDED_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())
