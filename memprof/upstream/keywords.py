"""The keywords of PyMDP's agents, a scenario's `agent:`, and what does not go together."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Protocol

from memprof.errors import FieldError, nearest
from memprof.text import cut, shown
from memprof.upstream.installed import (
    PACKAGE,
    missing,
    package_of,
    release,
    require,
    source_of,
    version,
)

JAX_NAMES = {"A_factor_list": "A_dependencies", "B_factor_list": "B_dependencies"}
"""Keywords of NumPy agents that JAX's have by other names."""
_FLAG = "true or false"
_COUNT = "a whole number, 1 or more"
_NUMBER = "a number, 0 or more"
_POSITIVE = "a number above 0"


def _belong_to_model(*names: str) -> dict[str, str]:
    remedy = "belongs to the model; use model: {kind: npz} or {kind: factory}"
    return dict.fromkeys(names, remedy)


@dataclass(frozen=True, slots=True)
class AgentClass:
    """One of PyMDP's agents.

    Attributes:
        title: its name in messages.
        backend: the backend that runs it.
        elsewhere: keywords that a scenario sets in another way, each with which.
        values: what PyMDP takes for a keyword: a tuple of choices, or a kind of value in words.
            PyMDP accepts others without a word, or fails with them somewhere else.
    """

    title: str
    backend: str
    elsewhere: Mapping[str, str]
    values: Mapping[str, tuple[str, ...] | str] = field(default_factory=dict)


# Keywords of the JAX agent that a scenario says in another way, or only its model can.
_SAID_ELSEWHERE = {
    "batch_size": "is the scenario's field agents; set agents instead",
    "preprocess_fn": "is a Python function; return it from a model: {kind: factory}",
    **{
        f"learn_{letter}": f"is set by the scenario's field learning; use learning: [{letter}]"
        for letter in "ABD"
    },
    **{
        f"learn_{letter}": f"has no effect: PyMDP has no update of {letter}; leave it out"
        for letter in "CE"
    },
}

NUMPY = AgentClass(
    title="PyMDP's NumPy agent",
    backend="numpy",
    elsewhere=_belong_to_model(*"ABCDEH", "pA", "pB", "pD", "policies"),
    values={
        "action_selection": ("deterministic", "stochastic"),
        "sampling_mode": ("marginal", "full"),
        "inference_algo": ("VANILLA", "MMP"),
        **dict.fromkeys(("policy_len", "inference_horizon", "si_horizon"), _COUNT),
        **dict.fromkeys(("gamma", "alpha"), _POSITIVE),
    },
)
JAX = AgentClass(
    title="PyMDP's JAX agent",
    backend="jax",
    elsewhere={
        **_belong_to_model(*"ABCDEHI", "pA", "pB", "policies", "num_controls"),
        **_belong_to_model("A_dependencies", "B_dependencies", "B_action_dependencies"),
        **_SAID_ELSEWHERE,
    },
    values={
        "action_selection": ("deterministic", "stochastic"),
        "sampling_mode": ("marginal", "full"),
        "inference_algo": ("fpi", "vmp", "mmp", "ovf", "exact"),
        "learning_mode": ("online", "offline"),
        **dict.fromkeys(("policy_len", "num_iter", "inference_horizon", "inductive_depth"), _COUNT),
        "batch_size": _COUNT,
        **dict.fromkeys(("gamma", "alpha", "inductive_threshold"), _NUMBER),
        "inductive_epsilon": _POSITIVE,
        **dict.fromkeys(
            (
                *(f"learn_{letter}" for letter in "ABCDE"),
                "use_utility",
                "use_states_info_gain",
                "use_param_info_gain",
                "use_inductive",
                "categorical_obs",
            ),
            _FLAG,
        ),
    },
)

# What the NumPy agent takes since 1.0.0.
_SINCE_1 = (
    *("H", "A_factor_list", "B_factor_list", "ii_depth", "ii_threshold", "sophisticated"),
    *("si_horizon", "si_policy_prune_threshold", "si_state_prune_threshold", "si_prune_penalty"),
)
# Inference over a window of past observations, which PyMDP keeps in its rollout alone.
_OVER_WINDOWS = ("mmp", "vmp")
# Learning that looks back over such a window.
_SMOOTHING = ("ovf", "exact")
_WITHOUT_WINDOWS = ("share", "template", "auto")


class Asked(Protocol):
    """What a scenario asks for, or a worker's specification of it."""

    @property
    def backend(self) -> str: ...
    @property
    def agent(self) -> Mapping[str, Any]: ...
    @property
    def learning(self) -> Sequence[str]: ...
    @property
    def passes(self) -> Sequence[str]: ...
    @property
    def loop(self) -> str | None: ...
    @property
    def steps(self) -> int: ...
    @property
    def episodes(self) -> Lasting | None: ...


class Lasting(Protocol):
    """Episodes."""

    @property
    def steps(self) -> int: ...


def check_numpy_together(keywords: Mapping[str, Any], asked: Asked) -> None:
    """Check what keywords have to do with each other and with other fields, and that this PyMDP has
    them.

    Raises:
        FieldError: the first mistake.
    """
    if unknown := sorted({*keywords} - _parameters("numpy")):
        raise FieldError(f"agent.{cut(unknown[0])}", _not_a_keyword(NUMPY, unknown[0]))
    if keywords.get("use_param_info_gain") and ("A" in asked.learning or "pA" in keywords):
        _check_gain()
    if keywords.get("inference_algo") == "MMP":
        _check_mmp(keywords, asked.learning)


def check_jax_together(keywords: Mapping[str, Any], asked: Asked) -> None:
    """Check what keywords have to do with each other and with other fields.

    Raises:
        FieldError: the first mistake.
    """
    algorithm = keywords.get("inference_algo", "fpi")
    online = keywords.get("learning_mode", "online") == "online"
    _check_windows(algorithm, asked, online)
    if not online and {"A", "B"} & {*asked.learning} and asked.loop != "rollout":
        raise FieldError(
            "agent.learning_mode",
            "offline agents learn from all steps of PyMDP's rollout at its end; found loop: "
            f"{asked.loop}. Set loop: rollout, or learning_mode: online",
        )
    if algorithm in _OVER_WINDOWS:
        _check_length(algorithm, keywords.get("inference_horizon"), asked)
    if "D" in asked.learning and asked.loop == "rollout":
        raise FieldError(
            "learning", "PyMDP's rollout has no update of D. Leave D out, or use loop: jit"
        )


def _check(
    agent: AgentClass, together: Callable[[Mapping[str, Any], Asked], None], scenario: Asked
) -> None:
    """Check the agent's keywords, their values, and what they have to do with other fields.

    Raises:
        FieldError: the first mistake.
    """
    _check_there(agent.backend)
    for name, value in scenario.agent.items():
        _check_name(agent, name, scenario.backend)
        check_value(agent, name, value)
    together(scenario.agent, scenario)


check_numpy = partial(_check, NUMPY, check_numpy_together)
check_jax = partial(_check, JAX, check_jax_together)


def _check_there(backend: str) -> None:
    """Whether there are such agents; it is the scenario's mistake where PyMDP has others."""
    if package_of("jax" if backend == "numpy" else "numpy") and not package_of(backend):
        raise FieldError("backend", ": ".join(missing(backend)))
    require(backend)


def _check_name(agent: AgentClass, name: str, backend: str) -> None:
    if name in agent.elsewhere:
        raise FieldError(f"agent.{cut(name)}", agent.elsewhere[name])
    known = agent_keywords(agent)
    if not known or name in known:
        return
    problem = _not_a_keyword(agent, name)
    for other in (NUMPY, JAX):
        if other is not agent and name in agent_keywords(other) | {*other.elsewhere}:
            problem = (
                f"is a keyword of {other.title}; this scenario's backend is {backend}; "
                f"{nearest(name, known)}"
            )
    raise FieldError(f"agent.{cut(name)}", problem)


def _not_a_keyword(agent: AgentClass, name: str) -> str:
    if agent is NUMPY and name in _SINCE_1:
        return f"came with PyMDP 1.0.0, and this is {version()}; leave it out"
    return f"is not a keyword of {agent.title}; {nearest(name, agent_keywords(agent))}"


def check_value(agent: AgentClass, name: str, value: Any) -> None:
    """Check one keyword's value.

    Raises:
        FieldError: PyMDP does not take it, or not without failing somewhere else.
    """
    expected = agent.values.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match expected:
        case None:
            fits = True
        case tuple():
            fits = value in expected
            expected = " or ".join(map(repr, expected))
        case str() if expected == _FLAG:
            fits = isinstance(value, bool)
        case str() if expected == _COUNT:
            fits = number and isinstance(value, int) and value >= 1
        case str() if expected == _NUMBER:
            fits = number and 0 <= value < float("inf")
        case _:
            fits = number and 0 < value < float("inf")
    if not fits:
        raise FieldError(f"agent.{cut(name)}", f"expected {expected}, found {shown(value)}")


def _check_windows(algorithm: str, asked: Asked, online: bool) -> None:
    """What needs PyMDP's window of the past, and where there is none."""
    learned = [letter for letter in ("A", "B") if letter in asked.learning]
    loop = asked.loop
    needs = algorithm in _OVER_WINDOWS
    if needs and loop != "rollout":
        raise FieldError(
            "agent.inference_algo",
            f"{algorithm} infers over a window of the past, which PyMDP keeps only under loop: "
            f"rollout; found loop: {loop}. Set loop: rollout, or use fpi, ovf or exact",
        )
    if algorithm in _SMOOTHING and len(learned) == 2 and loop != "rollout":
        raise FieldError(
            "learning",
            f"PyMDP's {algorithm} learns A and B together from a window of the past, which it "
            f"keeps only under loop: rollout; found loop: {loop}. Set loop: rollout, learn one of "
            "them, or use inference_algo: fpi",
        )
    if needs or (algorithm in _SMOOTHING and learned and online and loop == "rollout"):
        reason = algorithm if needs else f"{algorithm} with learning"
        for name in asked.passes:
            if name in _WITHOUT_WINDOWS:
                found = "auto would try share, which does" if name == "auto" else f"{name} does"
                raise FieldError(
                    "passes",
                    f"{reason} reads PyMDP's window of the past, and {found} not keep it. Use "
                    "passes: [jit] or none, or inference_algo: fpi",
                )


def _check_length(algorithm: str, horizon: int | None, asked: Asked) -> None:
    """PyMDP's rollout fails with a window of one step."""
    lasts = ("episodes.steps", asked.episodes.steps) if asked.episodes else ("steps", asked.steps)
    for name, length in (("agent.inference_horizon", horizon), lasts):
        if length == 1 and (name == "agent.inference_horizon" or horizon is None):
            raise FieldError(
                name,
                f"PyMDP's {algorithm} needs a window of two steps or more, found 1; set it to 2",
            )


def _check_gain() -> None:
    """The first agents add what learning A would teach them as an array of one number."""
    from importlib import metadata  # takes half as long as `memprof --help`

    numpy = metadata.version("numpy")
    if package_of("numpy") == PACKAGE and release(numpy) >= (2, 4):
        raise FieldError(
            "agent.use_param_info_gain",
            f"fails in PyMDP {version()} under NumPy 2.4 and later, with which it takes an array "
            f"for a number; found {numpy}. Set it to false, or install numpy<2.4",
        )


def _check_mmp(keywords: Mapping[str, Any], learning: Sequence[str]) -> None:
    """Two combinations that PyMDP's NumPy agent accepts and then fails with."""
    if {"A", "B"} & set(learning):
        raise FieldError(
            "learning",
            "PyMDP's update_A and update_B take VANILLA beliefs only; found MMP. Leave A and B "
            "out of learning, or use inference_algo: VANILLA",
        )
    averages = keywords.get("use_BMA", True) and not keywords.get("policy_sep_prior", False)
    long = (keywords.get("inference_horizon") or 1) > 1
    if averages and long and keywords.get("save_belief_hist", False):
        raise FieldError(
            "agent.save_belief_hist",
            "PyMDP cuts q_pi_hist to the inference horizon and then reads beyond its end when "
            "use_BMA is on; set use_BMA: false and policy_sep_prior: true, or inference_horizon: 1",
        )


def history_problem(steps: int, keywords: Mapping[str, Any], complete: bool = True) -> str | None:
    """What is wrong with keeping only the last `steps` of the past; None if an agent with these
    keywords reads no further back. Those that are missing are PyMDP's own if it is `complete`, and
    anything if it is not.

    PyMDP's MMP also tells by the number of observations whether there are more than its horizon.
    """
    horizon = keywords.get("inference_horizon", 1 if complete else None)
    if keywords.get("inference_algo") != "MMP" or horizon is None:
        return None
    if horizon == 1:
        return (
            "expected an inference_horizon of 2 or more, since PyMDP's MMP takes its first actions "
            "for its last ones with 1, found 1; set agent.inference_horizon, or leave it out"
        )
    if steps <= horizon:
        return (
            f"expected {horizon + 1} or more, since PyMDP's MMP reads inference_horizon "
            f"({horizon}) steps back, found {steps}; set it to {horizon + 1}, or lower the horizon"
        )
    return None


def agent_keywords(agent: AgentClass) -> frozenset[str]:
    """Keywords that a scenario may give to an agent; none where there is no such agent."""
    return _parameters(agent.backend) - {*agent.elsewhere}


@lru_cache
def _parameters(backend: str) -> frozenset[str]:
    """What the class of the backend's agent takes, read from its source without importing PyMDP."""
    if not package_of(backend):
        return frozenset()
    for node in ast.parse(source_of(backend).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "Agent":
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    return frozenset(argument.arg for argument in method.args.args) - {"self"}
    return frozenset()
