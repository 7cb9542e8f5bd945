"""One agent's keyword arguments, from what a model gives to what PyMDP's JAX agent takes: what it
would ignore or misread is refused by name."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pymdp.agent import Agent

from memprof.errors import FieldError, ScenarioError, nearest
from memprof.populations.base import model_field
from memprof.upstream.keywords import JAX, NOT_HANDED_ON, check_jax_together, check_value
from memprof.values.population import PopulationSpec

# PyMDP's defaults, by keyword; `inspect.Parameter.empty` for those that it requires.
DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(Agent.__init__).parameters.items()
    if name != "self"
}
LISTS = ("A", "B", "C", "D", "H", "pA", "pB")
NUMBERS = ("gamma", "alpha", "inductive_threshold", "inductive_epsilon")
# What may differ from agent to agent; all else is a setting of the program that serves them all.
LEAVES = (*LISTS, "E", *NUMBERS)

# What JAX agents and NumPy agents call by different names.
_NUMPY_NAMES = {"A_dependencies": "A_factor_list", "B_dependencies": "B_factor_list"}
_JAX_NAMES = {numpy: jax for jax, numpy in _NUMPY_NAMES.items()}


def with_factor_lists(arguments: dict[str, Any]) -> dict[str, Any]:
    """A model with its lists of factors under the names that worlds and checks know."""
    return {
        _NUMPY_NAMES.get(name, name): _plain(value) if name in _NUMPY_NAMES else value
        for name, value in arguments.items()
    }


class Arguments:
    """What the agents of a population are built of.

    Arrays are NumPy's, in the precision that JAX computes in; settings are in Python's own types,
    so that they can be compared.
    """

    def __init__(self, spec: PopulationSpec) -> None:
        self._spec = spec
        self._field = model_field(spec)
        self._precision = jnp.zeros(0).dtype

    def of(self, agent: int, given: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments of `Agent` for one agent, from those that its model and the
        scenario give.

        Raises:
            ScenarioError: PyMDP would ignore or misread one, or cannot take it.
        """
        found: dict[str, Any] = {}
        for name, value in given.items():
            keyword = _JAX_NAMES.get(name, name)
            if keyword in found:
                raise self._error(agent, name, f"is {keyword} by its NumPy name; give one of them")
            if self._is_handed_on(agent, keyword, value):
                found[keyword] = self._value(agent, keyword, value)
        for name in ("A", "B"):
            if name not in found:
                raise self._error(agent, name, "expected a list of arrays, found none")
        self._check_together(agent, given, found)
        self._plan_backwards(agent, found)
        self._learn(found)
        self._check_shapes(agent, found)
        return found

    def _error(self, agent: int, name: str, problem: str) -> ScenarioError:
        return ScenarioError(self._field, f"{name} of agent {agent}: {problem}")

    def _is_handed_on(self, agent: int, name: str, value: Any) -> bool:
        """Whether a keyword is one that goes to PyMDP's agent as its model gives it."""
        if name == "pD" and value is not None:
            raise self._error(
                agent,
                name,
                f"{JAX.title} has none, learning D counts on from D itself; found "
                f"{shown(value)}. Leave it out, or use backend: numpy",
            )
        if value is None and DEFAULTS.get(name) is None:
            return False
        if name not in DEFAULTS:
            raise self._error(
                agent, name, f"is no keyword of {JAX.title}; {nearest(name, DEFAULTS)}"
            )
        if name not in NOT_HANDED_ON:
            return True
        letter = name.removeprefix("learn_")
        learns = letter in self._spec.learning
        expected = learns or DEFAULTS[name]
        if not same(_plain(value), expected):
            problem = f"expected {expected!r}, found {shown(value)}: it {NOT_HANDED_ON[name]}"
            if learns:
                problem += f", or leave {letter} out of it"
            raise self._error(agent, name, problem)
        return False

    def _value(self, agent: int, name: str, value: Any) -> Any:
        """A value in the form in which agents are compared and built."""
        if name in NUMBERS:
            return self._number(agent, name, value)
        if name in LISTS:
            return self._arrays(agent, name, value)
        if name == "E":
            return self._array(agent, name, value, self._precision)
        if name == "policies":
            policies = self._array(agent, name, getattr(value, "policy_arr", value))
            if policies.ndim != 3:
                expected = "one of shape (policies, steps, factors)"
                raise self._error(agent, name, f"expected {expected}, found {policies.shape}")
            return policies
        value = _plain(value)
        self._check_value(agent, name, value)
        return value

    def _check_value(self, agent: int, name: str, value: Any) -> None:
        try:
            check_value(JAX, name, value)
        except FieldError as error:
            raise self._error(agent, name, str(error)) from None

    def _number(self, agent: int, name: str, value: Any) -> np.ndarray:
        """One agent's number. PyMDP's batch takes an array with one for each agent too, which could
        not say what agents have by which the population grows."""
        number = self._array(agent, name, value)
        if number.size != 1:
            raise self._error(
                agent,
                name,
                f"expected a number, found an array of shape {number.shape}; return each agent's "
                "own number from a factory with a parameter agent",
            )
        self._check_value(agent, name, number.item())
        return np.asarray(number.item(), self._precision)

    def _arrays(self, agent: int, name: str, value: Any) -> list[np.ndarray]:
        if not isinstance(value, list | tuple | np.ndarray):
            raise self._error(agent, name, f"expected a list of arrays, found {shown(value)}")
        return [
            self._array(agent, f"{name}{index}", each, self._precision)
            for index, each in enumerate(value)
        ]

    def _array(self, agent: int, name: str, value: Any, precision: Any = None) -> np.ndarray:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            array = np.empty(0, object)
        if array.dtype.kind not in ("iuf" if precision is None else "iufb"):
            raise self._error(agent, name, f"expected numbers, found {shown(value)}")
        return array if precision is None else np.asarray(array, precision)

    def _check_together(self, agent: int, given: dict[str, Any], found: dict[str, Any]) -> None:
        """The rules for several keywords at once, where the model has a say."""
        spec = self._spec
        names = ("inference_algo", "inference_horizon")
        if all(name in spec.agent for name in names if name in given):
            return
        keywords = {name: found[name] for name in names if name in found}
        try:
            check_jax_together(keywords, spec)
        except FieldError as error:
            keyword = error.field.removeprefix("agent.")
            if keyword == error.field:
                raise ScenarioError(error.field, str(error)) from None
            raise self._error(agent, keyword, str(error)) from None

    def _plan_backwards(self, agent: int, found: dict[str, Any]) -> None:
        """A goal is for inductive inference, which PyMDP's JAX agent has to be told."""
        if "H" not in found or "use_inductive" in found:
            return
        if self._spec.model["kind"] == "factory":
            raise self._error(
                agent,
                "H",
                f"{JAX.title} ignores it unless use_inductive is true; set use_inductive "
                "to true or false beside it",
            )
        found["use_inductive"] = True

    def _learn(self, found: dict[str, Any]) -> None:
        for letter in self._spec.learning:
            if letter not in found:
                raise ScenarioError("learning", f"{letter} cannot be learned: the model has none")
            found[f"learn_{letter}"] = True
            if letter != "D":
                found.setdefault(f"p{letter}", found[letter])

    def _check_shapes(self, agent: int, found: dict[str, Any]) -> None:
        """PyMDP broadcasts arrays of other shapes, and takes a first axis for that of a batch."""
        A, B = found["A"], found["B"]
        states = [b.shape[:1] for b in B]
        expected = {"C": [a.shape[:1] for a in A], "D": states, "H": states}
        expected |= {"pA": [a.shape for a in A], "pB": [b.shape for b in B]}
        for name in expected.keys() & found.keys():
            shapes = [array.shape for array in found[name]]
            if name == "C":  # (steps of planning, outcomes) too
                shapes = [shape[-1:] if len(shape) == 2 else shape for shape in shapes]
            if shapes != expected[name]:
                whole = [array.shape for array in found[name]]
                raise self._error(
                    agent,
                    name,
                    f"expected shapes {expected[name]}, as A and B have them, found {whole}; give "
                    "one agent's arrays, without an axis for a batch",
                )


def same(left: Any, right: Any) -> bool:
    """Whether two values are of one type and shape, and equal bit by bit."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        if (left.dtype, left.shape) != (right.dtype, right.shape):
            return False
        bits = f"u{left.itemsize}"
        return left is right or np.array_equal(left.view(bits), right.view(bits))
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def shown(value: Any) -> str:
    """A value in a message, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:120]} ..."


def _plain(value: Any) -> Any:
    """NumPy's and JAX's numbers and arrays as Python's, in lists too."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
