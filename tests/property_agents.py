"""`python -m tests.property_agents [--count N] [--seed N]`: random agents under random plans.

Hypothesis draws agents by all arguments that PyMDP's `Agent` has, arrays of every layout, a life
with learning, and a plan of passes that memprof accepts; plain agents and a population live it, and
every bit that agents return and keep is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import itertools
import math
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

import memprof
from memprof.catalogue.passes import PASSES, passes_for
from memprof.errors import MemprofError
from memprof.upstream.attributes import RESULTS
from memprof.upstream.numpy_agent import Agent, utils
from tests.observed import Picture, numbers

STORING = ("template", "mmap")
EXACT = tuple(name for name in passes_for("numpy") if PASSES[name].form("numpy").bound is None)
LAYOUTS = ("plain", "gaps", "fortran", "transposed", "reversed", "float32", "read-only", "mapped")
REFUSED = "refused at the take-over"
IMPOSSIBLE = "PyMDP refuses to build such an agent"
TAKEN = {*inspect.signature(Agent).parameters}
"""What this version of PyMDP has; the first ones know no dependencies, no goals, no deep search."""
_MOST_POLICIES = 9  # marginal message passing takes a second for thirty


@dataclass(frozen=True)
class Life:
    """A population of agents and what happens to it.

    Attributes:
        states, controls, observations: sizes of factors and modalities.
        seen_by, moved_by: `A_factor_list` and `B_factor_list`; None leaves them to PyMDP.
        policies: how many the user gives; 0 leaves them to PyMDP.
        priors: of A, B, C, D, E, H and of what is learned, those that are given.
        arguments: other arguments of `Agent`, as they are.
        layouts: of the arrays of A, B, C and D.
        apart: agents have arrays of their own, and other ones.
        warm, steps: steps before they are taken over, and after.
        distributions: observations are distributions.
    """

    seed: int
    states: tuple[int, ...]
    controls: tuple[int, ...]
    observations: tuple[int, ...]
    seen_by: tuple[tuple[int, ...], ...] | None
    moved_by: tuple[tuple[int, ...], ...] | None
    policies: int
    priors: frozenset[str]
    arguments: tuple[tuple[str, Any], ...]
    layouts: tuple[str, ...]
    agents: int
    apart: bool
    warm: int
    steps: int
    distributions: bool


@dataclass(frozen=True)
class Plan:
    """Passes in an order that memprof accepts, with their options; a store is `reopened` halfway,
    where the passes of `reopen` are those that it is read with."""

    passes: tuple[str, ...]
    keep: tuple[str, ...] | None
    working_set: int | None
    store: bool
    reopened: bool


@st.composite
def lives(draw: Callable[[Any], Any]) -> Life:
    """All arguments of `Agent`, in combinations that it takes."""
    sizes = st.integers(1, 4)
    states = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    factors = tuple(range(len(states)))
    controls = tuple(draw(st.sampled_from((1, 2, 3))) for _ in factors)
    if max(controls) == 1:
        controls = (2, *controls[1:])
    observations = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
    some = st.lists(st.sampled_from(factors), min_size=1, unique=True).map(sorted).map(tuple)
    factorised = draw(st.booleans()) and "A_factor_list" in TAKEN
    seen_by = tuple(draw(some) for _ in observations) if factorised else None
    moved_by = tuple(draw(some) for _ in factors) if factorised and draw(st.booleans()) else None
    sophisticated = draw(st.integers(0, 4)) == 0 and "sophisticated" in TAKEN
    algorithm = "VANILLA" if sophisticated else draw(st.sampled_from(("VANILLA", "MMP", None)))
    length = 1 if sophisticated else draw(st.sampled_from((1, 1, 2, 3)))
    movable = [factor for factor in factors if controls[factor] > 1]
    chosen = draw(st.none() | st.lists(st.sampled_from(movable), min_size=1, unique=True))
    while math.prod(controls) ** length > _MOST_POLICIES and length > 1:
        length -= 1
    letters = draw(st.frozensets(st.sampled_from(("C", "D", "E", "pA", "pB", "pD"))))
    if moved_by is None and draw(st.booleans()) and "H" in TAKEN:
        letters |= {"H"}
    horizon = draw(st.integers(1, 3)) if algorithm == "MMP" else 1
    pick = st.sampled_from
    arguments = {
        "policy_len": length,
        "inference_horizon": horizon,
        "inference_algo": algorithm,
        "control_fac_idx": chosen,
        "num_controls": draw(pick((None, list(controls)))),
        "gamma": draw(pick((16.0, 1, 0.3, np.float32(4)))),
        "alpha": draw(pick((16.0, 2, 0.5))),
        "use_utility": draw(st.booleans()),
        "use_states_info_gain": draw(st.booleans()),
        "use_param_info_gain": draw(st.booleans()),
        "action_selection": draw(pick(("deterministic", "stochastic"))),
        "sampling_mode": draw(pick(("marginal", "full"))),
        "modalities_to_learn": draw(pick(("all", [0], [len(observations) - 1]))),
        "factors_to_learn": draw(pick(("all", [0], [len(states) - 1]))),
        "lr_pA": draw(pick((1.0, 0.25, 2))),
        "lr_pB": draw(pick((1.0, 0.25))),
        "lr_pD": draw(pick((1.0, 0.25))),
        "use_BMA": draw(st.booleans()),
        "policy_sep_prior": draw(st.booleans()),
        "save_belief_hist": draw(st.booleans()),
        "sophisticated": sophisticated,
        "si_horizon": draw(pick((1, 2))),
        "si_policy_prune_threshold": draw(pick((1 / 16, 0.3))),
        "si_state_prune_threshold": draw(pick((1 / 16, 0.3))),
        "si_prune_penalty": draw(pick((512, 8))),
        "ii_depth": draw(pick((10, 2))),
        "ii_threshold": draw(pick((1 / 16, 0.4))),
    }
    return Life(
        seed=draw(st.integers(0, 2**16)),
        states=states,
        controls=controls,
        observations=observations,
        seen_by=seen_by,
        moved_by=moved_by,
        policies=draw(pick((0, 0, 0, 1, 3, 9))),
        priors=letters,
        arguments=tuple((name, value) for name, value in arguments.items() if name in TAKEN),
        layouts=tuple(draw(pick(LAYOUTS)) for _ in "ABCD"),
        agents=draw(st.integers(1, 3)),
        apart=draw(st.booleans()),
        warm=draw(st.integers(0, 3)),
        steps=draw(st.integers(3, 6)),
        distributions=draw(st.integers(0, 5)) == 0,
    )


@st.composite
def plans(draw: Callable[[Any], Any]) -> Plan:
    """Any exact passes in any order that memprof accepts, and every `keep`."""
    names = draw(st.permutations(EXACT))
    passes = list(names[: draw(st.integers(1, len(names)))])
    if draw(st.booleans()) and not {*STORING} & {*passes}:
        passes.append(draw(st.sampled_from(STORING)))
    if "working_set" in passes:
        passes.remove("working_set")
        if {*STORING} & {*passes}:
            passes.append("working_set")
    if not passes:
        passes = ["template"]
    keep = None
    if {*STORING} & {*passes} and draw(st.booleans()):
        keep = tuple(draw(st.lists(st.sampled_from(("qs", "action", *RESULTS)), unique=True)))
    store = "mmap" in passes and draw(st.booleans())
    budget = draw(st.sampled_from((1, 4000, 1 << 26))) if "working_set" in passes else None
    return Plan(tuple(passes), keep, budget, store, store and draw(st.booleans()))


class Model:
    """The arrays of a life's agents, made of its seed."""

    def __init__(self, life: Life, folder: Path) -> None:
        self.life = life
        self._folder = folder
        self._files = itertools.count()

    def agent(self, index: int) -> Agent:
        """The agent number `index`, new."""
        life = self.life
        random = np.random.default_rng(life.seed + (index if life.apart else 0))
        everything = tuple(range(len(life.states)))
        seen_by = life.seen_by or (everything,) * len(life.observations)
        moved_by = life.moved_by or tuple((factor,) for factor in everything)
        shapes = {
            "A": [
                (size, *(life.states[f] for f in seen))
                for size, seen in zip(life.observations, seen_by, strict=True)
            ],
            "B": [
                (size, *(life.states[f] for f in by), controls)
                for size, by, controls in zip(life.states, moved_by, life.controls, strict=True)
            ],
            "C": [(size,) for size in life.observations],
            "D": [(size,) for size in life.states],
        }
        made: dict[str, Any] = {}
        for letter, layout in zip("ABCD", life.layouts, strict=True):
            arrays = [_distribution(random, shape) for shape in shapes[letter]]
            made[letter] = _objects([self._laid_out(array, layout) for array in arrays])
        arguments = {"A": made["A"], "B": made["B"]}
        for name in sorted(life.priors & {"C", "D"}):
            arguments[name] = made[name]
        for name in sorted(life.priors & {"pA", "pB", "pD"}):
            arguments[name] = _objects([array * 3 + 0.5 for array in made[name[1]]])
        if "H" in life.priors:
            arguments["H"] = _objects([np.eye(size)[-1] for size in life.states])
        options = dict(life.arguments)
        if life.policies:
            shape = (options["policy_len"], len(life.states))
            options["policies"] = [
                random.integers(0, life.controls, shape) for _ in range(life.policies)
            ]
        if life.seen_by is not None:
            options["A_factor_list"] = [list(each) for each in life.seen_by]
        if life.moved_by is not None:
            options["B_factor_list"] = [list(each) for each in life.moved_by]
        if not {"pA", "pB"} & life.priors:
            options["use_param_info_gain"] = False
        agent = Agent(**arguments, **options)
        if "E" in life.priors:
            agent.E = _distribution(random, (len(agent.policies),))
        return agent

    def _laid_out(self, array: np.ndarray, layout: str) -> np.ndarray:
        """The same numbers in another place or order."""
        match layout:
            case "gaps":
                return np.repeat(array, 2, axis=-1)[..., ::2]
            case "fortran":
                return np.asfortranarray(array)
            case "transposed":
                return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, -1, 0)), 0, -1)
            case "reversed":
                return np.ascontiguousarray(array[::-1])[::-1]
            case "float32":
                return array.astype(np.float32)
            case "read-only":
                array.flags.writeable = False
                return array
            case "mapped":
                path = self._folder / f"{next(self._files)}"
                mapped = np.memmap(path, array.dtype, "w+", shape=array.shape)
                mapped[...] = array
                path.unlink()  # the mapping stays
                return mapped
        return array


def step(life: Life, agent: Any, index: int, number: int) -> Picture:
    """One step with learning: what it returns, and what the agent is then."""
    rolled = np.random.default_rng((life.seed, index, number))
    np.random.seed((life.seed + 31 * index + number) % 2**32)
    seen: Any = [int(rolled.integers(size)) for size in life.observations]
    if life.distributions:
        seen = _objects([rolled.dirichlet(np.ones(size)) for size in life.observations])
    before = agent.qs
    told = [agent.infer_states(seen, distr_obs=life.distributions)]
    vanilla = agent.inference_algo == "VANILLA"  # PyMDP learns A and B of such beliefs only
    if "pA" in life.priors and vanilla:
        told.append(agent.update_A(seen))
    if "pB" in life.priors and vanilla and agent.action is not None:
        told.append(agent.update_B(before))
    if "pD" in life.priors:
        told.append(agent.update_D(*([agent.qs] if vanilla else [])))
    told += [agent.infer_policies(), agent.sample_action()]
    names = ("A", "B", "D", "pA", "pB", "pD", "qs", "q_pi", "action", "curr_timestep")
    return _picture([told, [getattr(agent, name) for name in names]])


def after(agent: Any, plan: Plan) -> Picture:
    """What can be read of an agent after its block."""
    kept = RESULTS if plan.keep is None else plan.keep
    names = ("A", "B", "C", "D", "E", "pA", "pB", "pD", "qs", "action", *kept)
    return _picture([getattr(agent, name, None) for name in names])


def lived(life: Life, plan: Plan, folder: Path, optimised: bool) -> list[Any]:
    """All that is seen of a life, to the first error."""
    model = Model(life, folder)
    found: list[Any] = []
    population: Any = None
    try:
        agents = [model.agent(index) for index in range(life.agents)]
        for number, index in itertools.product(range(life.warm), range(life.agents)):
            found.append(step(life, agents[index], index, number))
        if optimised:
            try:
                population = _population(agents, plan, folder)
            except MemprofError:
                return [*found, REFUSED]
        for number in range(life.warm, life.warm + life.steps):
            if population is not None and plan.reopened and number == life.warm + 2:
                population.close()
                population = memprof.reopen(folder / "store", Agent)
            for index in range(life.agents):
                with _use(population, agents, index) as agent:
                    found.append(step(life, agent, index, number))
                with _use(population, agents, index) as agent:
                    found.append(after(agent, plan))
    except Exception as error:
        found.append(type(error).__name__)
        if population is not None or optimised:
            found.append(traceback.format_exc())
    finally:
        if population is not None:
            with contextlib.suppress(MemprofError):
                population.close()
    return found


def _population(agents: list[Any], plan: Plan, folder: Path) -> Any:
    options: dict[str, Any] = {"keep": plan.keep, "working_set": plan.working_set}
    if plan.store:
        options["store"] = folder / "store"
    return memprof.optimize(agents, plan.passes, **options)


def _use(population: Any, agents: list[Any], index: int) -> Any:
    return (
        contextlib.nullcontext(agents[index]) if population is None else population.activate(index)
    )


def difference(life: Life, plan: Plan) -> str | None:
    """In what a population's life differs from that of plain agents; None if in nothing, `REFUSED`
    or `IMPOSSIBLE` if it never began."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),  # PyMDP's MMP prints
        np.errstate(all="ignore"),
        tempfile.TemporaryDirectory(prefix="memprof-life-") as name,
    ):
        warnings.simplefilter("ignore")
        folders = [Path(name) / which for which in ("plain", "optimised")]
        for folder in folders:
            folder.mkdir()
        plain = lived(life, plan, folders[0], optimised=False)
        found = lived(life, plan, folders[1], optimised=True)
    if isinstance(plain[0], str) and plain[0] == found[0]:
        return IMPOSSIBLE
    if found[-1] == REFUSED:
        return REFUSED
    for number, (ours, theirs) in enumerate(itertools.zip_longest(plain, found)):
        if isinstance(ours, str):  # PyMDP itself cannot live it
            return None if ours == theirs else f"plain agents raise {ours}, found {theirs}"
        if isinstance(theirs, str) or theirs is None:
            return f"{theirs}\n{found[-1]}"
        if ours.content != theirs.content:
            return f"look {number} of {len(plain)}: {ours.difference(theirs)}"
    return None


def _distribution(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Distributions along the first axis; some are sharp, some have zeros."""
    drawn = random.random(shape) ** random.choice([1, 8])
    drawn[drawn < random.choice([0.0, 0.3])] = 0
    drawn[0] += 1e-3
    made: np.ndarray = drawn / drawn.sum(axis=0)
    return made


def _objects(arrays: list[np.ndarray]) -> np.ndarray:
    container = utils.obj_array(len(arrays))
    for position, array in enumerate(arrays):
        container[position] = array
    return container


def _picture(values: list[Any]) -> Picture:
    """Values, wherever in memory they are: `tests.quirks` looks at strides and identities."""
    return Picture(numbers(values), ())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    lived_through = differ = refused = 0

    @seed(wanted.seed)
    @settings(
        max_examples=wanted.count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(lives(), plans())
    def look(life: Life, plan: Plan) -> None:
        nonlocal lived_through, differ, refused
        found = difference(life, plan)
        assume(found != IMPOSSIBLE)
        lived_through += 1
        if found == REFUSED:
            refused += 1
        elif found is not None:
            differ += 1
            print(f"{found}\n  {plan}\n  {life}\n", file=sys.stderr, flush=True)

    look()
    print(f"{differ} of {lived_through} random agents differ, {refused} refused")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
