"""Random JAX agents, over all arguments of PyMDP's `Agent` in all their forms: what memprof makes
of them is held against agents that PyMDP builds of the same arguments one by one, and every step
against PyMDP's own `infer_and_plan`. `python -m tests.property_jax --count 300`."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pymdp.agent import Agent
from pymdp.control import Policies
from pymdp.distribution import Distribution

from memprof.catalogue.passes import REORDERED
from memprof.errors import ScenarioError
from memprof.instruments import DirectCalls
from memprof.populations.jax_agents import JaxPopulation
from memprof.upstream.jax_agent import leaves_of
from memprof.values.population import PopulationSpec

STEPS = 3
PLANS = ((), ("share",), ("template",))
# What may differ from agent to agent.
OWN = ("A", "B", "C", "D", "E", "gamma", "alpha", "pA", "pB", "H")
MADE: list[Any] = []  # what the factory returns, agent by agent


@dataclass(frozen=True)
class Crowd:
    """Agents of one population, made of a seed.

    Attributes:
        actions: the controls that move each factor, where there may be several; None for one each.
        apart: arguments that differ from agent to agent.
        spoiled: an argument that is another in agent 1 and cannot be.
    """

    seed: int
    agents: int
    states: tuple[int, ...]
    observations: tuple[int, ...]
    controls: tuple[int, ...]
    seen_by: tuple[tuple[int, ...], ...] | None
    moved_by: tuple[tuple[int, ...], ...] | None
    actions: tuple[tuple[int, ...], ...] | None
    extras: frozenset[str]
    keywords: tuple[tuple[str, Any], ...]
    apart: frozenset[str]
    form: str
    batched: bool
    given_as: str
    learning: tuple[str, ...]
    loop: str
    spoiled: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.keywords)


def blurred(seen: Any) -> Any:
    """Turns indices or distributions into distributions."""
    return [_blur(each, 0.2) for each in seen]


def _blur(each: Any, by: float) -> Any:
    return (1 - by) * each + by / each.shape[-1]


def preprocess(kind: str) -> Any:
    """A function for `preprocess_fn`, one of its own for each call."""
    if kind == "function":
        return blurred
    weights = jnp.array([0.3])
    return lambda seen: [_blur(each, weights[0]) for each in seen]


@st.composite
def crowds(draw: Callable[[Any], Any]) -> Crowd:
    """All arguments, and all forms in which they may be given."""
    flag, pick = st.booleans(), st.sampled_from
    algorithm = draw(pick(("fpi", "fpi", "fpi", "ovf", "exact", "mmp", "vmp")))
    count = 1 if algorithm == "exact" else draw(st.integers(1, 2))
    states = tuple(draw(st.integers(2, 3)) for _ in range(count))
    observations = tuple(draw(st.integers(2, 3)) for _ in range(draw(st.integers(1, 2))))
    controls = (draw(st.integers(2, 3)), *(draw(st.integers(1, 2)) for _ in states[1:]))
    some = st.permutations(range(count)).flatmap(
        lambda order: st.integers(1, count).map(lambda most: tuple(order[:most]))
    )
    moved = [some.filter(lambda found, own=factor: own in found) for factor in range(count)]
    seen_by = tuple(draw(some) for _ in observations) if draw(flag) else None
    plans_back = draw(st.integers(0, 3)) == 0
    moved_by = tuple(map(draw, moved)) if draw(flag) and not plans_back else None
    actions = None
    if draw(st.integers(0, 4)) == 0:
        controls = (2, draw(st.integers(1, 2)))
        several = st.sampled_from(((0,), (1,), (0, 1), ()))
        actions = tuple(draw(several) for _ in states)
        actions = ((0, *(draw(pick(((), (1,)))))), *actions[1:])
    extras = set(draw(st.frozensets(pick(("C", "D", "E", "pA", "pB")))))
    keywords: dict[str, Any] = {"inference_algo": algorithm}
    loop = "rollout" if algorithm in ("mmp", "vmp") and draw(flag) else draw(pick(LOOPS))
    if algorithm != "fpi" and draw(flag):
        keywords["inference_horizon"] = draw(st.integers(2, 3))
    options = {
        "policy_len": pick((1, 2, np.int64(1))),
        "gamma": pick((1.0, 4, np.float32(0.5), "array", "jax")),
        "alpha": pick((2.0, np.float64(8.0), "array")),
        "num_iter": st.integers(1, 4),
        "use_utility": flag,
        "use_states_info_gain": flag,
        "use_param_info_gain": flag,
        "action_selection": pick(("deterministic", "stochastic")),
        "sampling_mode": pick(("full", "marginal")),
        "categorical_obs": flag,
        "learning_mode": pick(("online", "online", "offline")),
        "inductive_threshold": pick((0.1, 0.3)),
        "inductive_epsilon": pick((0.01, "array")),
        "inductive_depth": st.integers(1, 3),
    }
    for name, strategy in options.items():
        if draw(st.integers(0, 2)) == 0:
            keywords[name] = draw(strategy)
    if keywords.get("use_param_info_gain") and not extras & {"pA", "pB"} and draw(flag):
        extras.add("pA")
    if plans_back:
        extras.add(draw(pick(("H", "H", "I"))))
        keywords["use_inductive"] = draw(pick((True, True, True, False)))
    if keywords.get("categorical_obs") and draw(st.integers(0, 3)) == 0:
        keywords["preprocess_fn"] = draw(pick(("function", "closure")))
    for letter in "AB":
        if f"p{letter}" in extras and draw(flag):
            keywords[f"learn_{letter}"] = True
    if draw(st.integers(0, 9)) == 0:
        keywords[f"learn_{draw(pick('CDE'))}"] = True
    if draw(st.integers(0, 9)) == 0 and actions is None:
        keywords["control_fac_idx"] = [0]
    if draw(st.integers(0, 4)) == 0 and actions is None:
        extras.add("policies")
        keywords["policies"] = draw(pick(("numpy", "jax", "Policies", "list")))
    learning = draw(pick(((), (), (), ("A",), ("B",), ("D",), ("A", "B"))))
    single = count == len(observations) == 1
    forms = ["list", "tuple", "object", "jax", "distribution", "jax", *(["plain"] * 3 * single)]
    apart = draw(st.frozensets(pick(OWN)))
    given_as = draw(pick(("keywords", "keywords", "ready", "wrapper", "batch", "ready batch")))
    spoiled = draw(pick((None,) * 9 + ("policy_len", "shape", "use_utility")))
    return Crowd(
        seed=draw(st.integers(0, 2**16)),
        agents=draw(st.integers(2, 3)),
        states=states,
        observations=observations,
        controls=controls,
        seen_by=seen_by,
        moved_by=moved_by,
        actions=actions,
        extras=frozenset(extras),
        keywords=tuple(keywords.items()),
        apart=apart & (extras | {"A", "B", "gamma", "alpha"}),
        form=draw(pick(forms)),
        batched=draw(flag),
        given_as=given_as,
        learning=learning,
        loop=loop,
        spoiled=spoiled if "batch" not in given_as else None,
    )


LOOPS = ("jit", "jit", "eager", "rollout")


class Holder:
    """A class of a user's own around an agent."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.diary = np.arange(1000.0)


def arguments(crowd: Crowd, agent: int) -> dict[str, Any]:  # noqa: PLR0912 - one for each
    """What PyMDP's agent of this number is built of."""
    everything = tuple(range(len(crowd.states)))
    seen_by = crowd.seen_by or (everything,) * len(crowd.observations)
    moved_by = crowd.moved_by or tuple((factor,) for factor in everything)
    sizes = crowd.states
    observations = list(crowd.observations)
    if crowd.spoiled == "shape" and agent == 1:
        observations[0] += 1
    by = crowd.actions or tuple((factor,) for factor in everything)
    shapes = {
        "A": [
            (size, *(sizes[f] for f in seen))
            for size, seen in zip(observations, seen_by, strict=True)
        ],
        "B": [
            (size, *(sizes[f] for f in moved), *(crowd.controls[c] for c in controls))
            for size, moved, controls in zip(sizes, moved_by, by, strict=True)
        ],
        "C": [(size,) for size in observations],
        "D": [(size,) for size in sizes],
    }
    shapes |= {"pA": shapes["A"], "pB": shapes["B"], "H": shapes["D"]}
    options = crowd.options
    if "C" in crowd.extras and crowd.seed % 3 == 0 and crowd.form != "plain":
        shapes["C"] = [(options.get("policy_len", 1), size) for size in observations]
    random = {
        name: np.random.default_rng((crowd.seed, place, agent if name in crowd.apart else 0))
        for place, name in enumerate((*OWN, "policies"))
    }
    made: dict[str, Any] = {}
    for name, found in shapes.items():
        if name in crowd.extras | {"A", "B"}:
            arrays = [_distribution(random[name], shape) for shape in found]
            if name in ("pA", "pB"):
                arrays = [5 * array + 0.5 for array in arrays]
            if name == "H":
                arrays = [np.eye(size)[random[name].integers(size)] for size in sizes]
            made[name] = _formed(crowd, name, arrays, moved_by if name[-1] == "B" else seen_by)
    if "I" in crowd.extras:
        depth = options.get("inductive_depth", 1)
        goals = [np.random.default_rng(crowd.seed).integers(0, 2, (depth, s)) for s in sizes]
        made["I"] = [jnp.asarray(each[None], jnp.float32) for each in goals]
    if crowd.seen_by is not None or (crowd.form == "distribution" and len(sizes) > 1):
        made["A_dependencies"] = [list(each) for each in seen_by]
    if crowd.moved_by is not None or (crowd.form == "distribution" and len(sizes) > 1):
        made["B_dependencies"] = [list(each) for each in moved_by]
    if crowd.actions is not None:
        made["B_action_dependencies"] = [list(each) for each in crowd.actions]
        made["num_controls"] = list(crowd.controls)
    for name, value in options.items():
        made[name] = _option(crowd, name, value, random)
    for name in crowd.apart & {"gamma", "alpha"}:
        made[name] = float(random[name].uniform(0.5, 4))
    if crowd.spoiled in ("policy_len", "use_utility") and agent == 1:
        other = {"policy_len": 3 - options.get("policy_len", 1), "use_utility": True}
        made[crowd.spoiled] = other[crowd.spoiled]
    if "E" in crowd.extras and crowd.spoiled is None:
        found = built({**made, "batch_size": 1})  # which knows how many policies there are
        size = found.policies.num_policies
        made["E"] = jnp.asarray(_distribution(random["E"], (size,)))[None if crowd.batched else ...]
    return made


def _option(crowd: Crowd, name: str, value: Any, random: dict[str, Any]) -> Any:
    if name != "policies" and isinstance(value, str) and value in ("array", "jax"):
        return np.array([0.7]) if value == "array" else jnp.asarray(1.5)
    if name == "preprocess_fn":
        return preprocess(value)
    if name == "policies":
        steps = int(crowd.options.get("policy_len", 1))
        shape = (3, steps, len(crowd.states))
        found = random[name].integers(0, crowd.controls[: len(crowd.states)], shape)
        forms = {"numpy": np.asarray, "jax": jnp.asarray, "list": list}
        return Policies(jnp.asarray(found)) if value == "Policies" else forms[value](found)
    return value


def _formed(crowd: Crowd, name: str, arrays: list[np.ndarray], factors: Any) -> Any:
    """Arrays in one of the forms in which PyMDP takes them."""
    if crowd.batched and (name != "C" or arrays[0].ndim < 3):
        arrays = [array[None] for array in arrays]
    if crowd.form == "plain":
        return arrays[0]
    if crowd.form == "object":
        container = np.empty(len(arrays), object)
        for place, array in enumerate(arrays):
            container[place] = jnp.asarray(array)
        return container
    if crowd.form == "distribution" and name in ("A", "B", "C", "D") and not crowd.batched:
        return [
            Distribution({f"{name}{i}": list(range(len(a)))}, {}, a) for i, a in enumerate(arrays)
        ]
    if crowd.form == "jax":
        return list(map(jnp.asarray, arrays))
    return tuple(arrays) if crowd.form == "tuple" else list(arrays)


def _distribution(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    drawn = random.random(shape) ** random.choice([1, 3]) + 0.01
    made: np.ndarray = drawn / drawn.sum(axis=0)
    return made


def built(given: dict[str, Any]) -> Agent:
    """PyMDP's agent of arguments, which it writes into: as its lists of JAX arrays."""
    found = dict(given)
    for name in ("A", "B", "C", "D", "H", "pA", "pB"):
        if name in found:
            value = found[name]
            value = [value] if hasattr(value, "ndim") and value.dtype != object else list(value)
            data = [each.data if isinstance(each, Distribution) else each for each in value]
            found[name] = [jnp.asarray(each, jnp.float32) for each in data]
    if isinstance(found.get("policies"), list):
        found["policies"] = np.array(found["policies"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Agent(**found)


def batch_of(agents: list[Agent]) -> Agent:
    """Agents of one batch, put together by their leaves."""
    leaves = leaves_of(agents[0])
    made = object.__new__(Agent)
    for name, value in vars(agents[0]).items():
        rows = [getattr(agent, name) for agent in agents]
        joined = (
            jax.tree_util.tree_map(lambda *x: jnp.concatenate(x), *rows)
            if name in leaves
            else value
        )
        object.__setattr__(made, name, joined)
    object.__setattr__(made, "batch_size", len(agents))
    return made


def reference(crowd: Crowd) -> list[Agent]:
    """The agents as PyMDP builds them one by one, learning what the scenario says."""
    found = []
    for agent in range(crowd.agents):
        given = arguments(crowd, agent)
        for letter in crowd.learning:
            given[f"learn_{letter}"] = True
            if letter != "D" and f"p{letter}" not in given:
                given[f"p{letter}"] = given[letter]
        found.append(built(given))
    return found


def answers(crowd: Crowd) -> list[Any]:
    """What the factory returns, agent by agent; once for all where it returns a batch."""
    if crowd.given_as == "ready batch":
        return [batch_of([built(arguments(crowd, agent)) for agent in range(crowd.agents)])]
    if crowd.given_as == "batch":
        return [{**arguments(crowd, 0), "batch_size": crowd.agents}]
    each = [arguments(crowd, agent) for agent in range(crowd.agents)]
    if crowd.given_as == "keywords":
        return each
    agents = list(map(built, each))
    return list(map(Holder, agents)) if crowd.given_as == "wrapper" else agents


def make() -> Any:
    """The factory; it is called once for each agent, in their order."""
    return MADE[0] if len(MADE) == 1 else MADE.pop(0)


def populated(crowd: Crowd, passes: tuple[str, ...], loop: str | None = None) -> JaxPopulation:
    """The population, grown."""
    MADE[:] = answers(crowd)
    MADE[:] = MADE if len(MADE) == 1 else [*MADE, None]
    spec = PopulationSpec(
        backend="jax",
        model={"kind": "factory", "callable": f"{__name__}:make", "params": {}},
        private=True,
        differs=False,
        agent={},
        learning=crowd.learning,
        passes=passes,
        options={},
        loop=loop or crowd.loop,
        agents=crowd.agents,
        steps=STEPS,
        seed=crowd.seed,
        folder=".",
    )
    found = JaxPopulation(spec, DirectCalls())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.grow(crowd.agents)
    return found


REFUSED = "refused"


def difference(crowd: Crowd, said: Counter[str] | None = None) -> str | None:
    """In what memprof's population differs from PyMDP's agents, under some passes; None if in
    nothing, `REFUSED` if it names what it cannot take."""
    jax.clear_caches()
    outcomes = []
    plain = None
    for passes in PLANS:
        try:
            population = populated(crowd, passes)
            lived = _lived(population)
        except ScenarioError as error:
            if not _names_a_field(error):
                return f"{passes}: refused without a name: {error}"
            if said is not None:
                said[error.problem.split(":")[0].split(" is ")[0][:40]] += 1
            outcomes.append(REFUSED)
            continue
        outcomes.append("lived")
        found = None
        if not passes:
            plain = lived
            found = _unlike(crowd, population, lived)
        elif plain is not None:
            found = apart(plain[1], lived[1])
        if found is not None:
            return f"{passes or 'plain'}: {found}"
    if crowd.spoiled is not None and "lived" in outcomes and _spoils(crowd):
        return f"agent 1 has another {crowd.spoiled}, and nobody said so"
    return REFUSED if outcomes[0] == REFUSED else None


def _spoils(crowd: Crowd) -> bool:
    """Whether what is spoiled in agent 1 is another than in agent 0."""
    return crowd.spoiled != "use_utility" or crowd.options.get("use_utility") is False


def _names_a_field(error: ScenarioError) -> bool:
    names = [name for name in ArgumentNames if name in f"{error.field} {error.problem}"]
    return bool(names) or error.field in ("learning", "agents", "loop", "passes")


ArgumentNames = tuple(Agent.__init__.__annotations__)


def _lived(population: JaxPopulation) -> tuple[list[Any], list[list[Any]]]:
    """What agents saw, step by step, and what they believed and did, agent by agent."""
    seen: list[Any] = []
    observe = population._observe

    def noted(chunk: range, step: int) -> Any:
        seen.append(observe(chunk, step))
        return seen[-1]

    population._observe = noted  # type: ignore[method-assign]
    steps: list[list[Any]] = [[] for _ in range(len(population))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for agent, _, behaviour in population.live(range(len(population)), range(STEPS)):
            steps[agent].append(behaviour)
    return seen, steps


def _unlike(
    crowd: Crowd, population: JaxPopulation, lived: tuple[list[Any], list[list[Any]]]
) -> str | None:
    """What differs between a plain population and agents that PyMDP builds one by one."""
    agents = reference(crowd)
    if crowd.given_as == "batch":
        agents = agents[:1] * crowd.agents
    grown = populated(crowd, (), "jit" if crowd.loop == "eager" else None)
    whole: Any = grown._crowd._agent  # type: ignore[union-attr]
    for row, agent in enumerate(agents):
        for name, value in vars(agent).items():
            held = getattr(whole, name)
            if name in leaves_of(agent):
                held = jax.tree_util.tree_map(lambda x: x[row : row + 1], held)  # noqa: B023
                if not eqx.tree_equal(*jax.tree_util.tree_map(jnp.float32, (held, value))):
                    return f"agent {row} has another {name}: {held}, and PyMDP's {value}"
            elif name not in ("batch_size", "preprocess_fn", "policies") and held != value:
                return f"agent {row} has another {name}: {held}, and PyMDP's {value}"
            elif name == "policies" and not np.array_equal(held.policy_arr, value.policy_arr):
                return f"agent {row} has other policies"
    if crowd.loop == "rollout":
        return None
    return apart(list(_stepped(crowd, agents, lived[0])), lived[1])


def _stepped(crowd: Crowd, agents: list[Agent], seen: list[Any]) -> Iterator[list[Any]]:
    """Each agent's steps by PyMDP's own `infer_and_plan`, in the worlds of the population."""
    from pymdp.envs.rollout import infer_and_plan

    from memprof.populations import Behaviour
    from memprof.populations.jax_crowds import _keys

    step = eqx.filter_jit(infer_and_plan)
    root = jax.random.PRNGKey(crowd.seed)
    for row, agent in enumerate(agents):
        action, qs = None, [d[:, None] for d in agent.D]
        learner = agent
        behaviours = []
        for number in range(STEPS):
            observation = [jnp.asarray(each[row : row + 1]) for each in seen[number]]
            before = (
                action
                if action is not None
                else -jnp.ones((1, agent.policies.policy_arr.shape[-1]), jnp.int32)
            )
            learner, _, qs_now, info = step(learner, qs, observation, before, root)
            if agent.learn_D and number == 0:
                counts = [d + q[:, -1] for d, q in zip(learner.D, qs_now, strict=True)]
                counted = [each / each.sum(-1, keepdims=True) for each in counts]
                learner = eqx.tree_at(lambda a: a.D, learner, counted)
            key = _keys(root, number, jnp.arange(crowd.agents))[row : row + 1]
            action = learner.sample_action(info["qpi"], rng_key=key)
            qs = [q[:, -1:] for q in qs_now]
            behaviours.append(
                Behaviour(
                    [np.asarray(q[0]) for q in qs_now],
                    np.asarray(info["qpi"][0]),
                    np.asarray(action[0]),
                )
            )
        yield behaviours


def apart(expected: list[list[Any]], found: list[list[Any]]) -> str | None:
    """The first difference between what agents believed and did; None if there is none."""
    for agent, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        for step, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            gap = max(
                float(np.abs(np.ravel(a) - np.ravel(b)).max())
                for a, b in zip(
                    (*mine.beliefs, mine.policies), (*other.beliefs, other.policies), strict=True
                )
            )
            if not gap <= REORDERED:
                return f"agent {agent}, step {step}: beliefs differ by {gap}"
            if not np.array_equal(mine.action, other.action):
                if _tied(mine.policies):
                    return None  # policies as good as each other, which rounding decides on
                return f"agent {agent}, step {step}: action {other.action}, expected {mine.action}"
    return None


def _tied(policies: np.ndarray) -> bool:
    best = np.sort(policies)[::-1]
    return bool(len(best) > 1 and best[0] - best[1] <= 10 * REORDERED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    found: Counter[str] = Counter()
    said: Counter[str] = Counter()
    start = time.perf_counter()

    @seed(wanted.seed)
    @settings(
        max_examples=wanted.count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(crowds())
    def look(crowd: Crowd) -> None:
        outcome = difference(crowd, said)
        found["agents"] += 1
        found["refused"] += outcome == REFUSED
        if outcome not in (None, REFUSED):
            found["differ"] += 1
            print(f"{outcome}\n  {crowd}\n", file=sys.stderr, flush=True)

    look()
    print(
        f"{found['differ']} of {found['agents']} random JAX agents differ, {found['refused']} were "
        f"refused, in {time.perf_counter() - start:.0f} s"
    )
    for words, times in said.most_common():
        print(f"  {times:4} {words}")
    return 1 if found["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
