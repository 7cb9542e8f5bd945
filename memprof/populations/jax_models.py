"""From a scenario's models to PyMDP's JAX agents, of one agent or of many at once: what PyMDP would
ignore or misread is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memprof.errors import FieldError, ScenarioError, nearest
from memprof.models import check_model
from memprof.populations import check_together, model_field, refused
from memprof.text import shown
from memprof.upstream.jax_agent import DEFAULTS, LEAVES, LISTS, NUMBERS, Agent
from memprof.upstream.keywords import JAX, NOT_HANDED_ON, check_jax_together, check_value
from memprof.values.population import PopulationSpec

# What JAX agents and NumPy agents call by different names.
_NUMPY_NAMES = {"A_dependencies": "A_factor_list", "B_dependencies": "B_factor_list"}
_JAX_NAMES = {numpy: jax for jax, numpy in _NUMPY_NAMES.items()}


def with_factor_lists(arguments: dict[str, Any]) -> dict[str, Any]:
    """A model with its lists of factors under the names that worlds and checks know."""
    return {
        _NUMPY_NAMES.get(name, name): _plain(value) if name in _NUMPY_NAMES else value
        for name, value in arguments.items()
    }


class Models:
    """The models of a population's agents, in the precision that JAX computes in.

    Attributes:
        own: attributes of PyMDP's agent that are each agent's own: what it learns, and what differs
            from agent to agent.
    """

    def __init__(self, spec: PopulationSpec, first: dict[str, Any]) -> None:
        self._spec = spec
        arguments = {**first, **spec.agent}
        check_model(with_factor_lists(arguments), model_field(spec))
        self._first = _Arguments(spec, 0, arguments).found
        self._others: list[dict[str, Any]] = []
        self._differing: set[str] = set()

    def take(self, arguments: Sequence[dict[str, Any]]) -> None:
        """Agents with models of their own, `arguments` one by one, in place of the first's.

        Raises:
            ScenarioError: PyMDP's batch has no place for a difference between them.
        """
        for agent, each in enumerate(arguments):
            given = {**each, **self._spec.agent}
            self._others.append(_Arguments(self._spec, agent, given).found)
        for name in NUMBERS:
            if any(name in other for other in self._others):
                default = np.asarray(DEFAULTS[name], jnp.zeros(0).dtype)
                for other in (self._first, *self._others):
                    other.setdefault(name, default)
        for agent, other in enumerate(self._others):
            for name in (*self._first, *(other.keys() - self._first.keys())):
                self._compare(agent, name, other)

    def _compare(self, agent: int, name: str, other: dict[str, Any]) -> None:
        """Note a difference between an agent and the first one, or refuse it."""
        default = DEFAULTS[name]
        mine, others = self._first.get(name, default), other.get(name, default)
        if _same(mine, others):
            return
        if name in LEAVES and _shape(mine) == _shape(others):
            self._differing.add(name)
            return
        if name in LEAVES and mine is not None and others is not None:
            raise ScenarioError(
                model_field(self._spec),
                f"{name} has shape {_shape(others)} in agent {agent}, and {_shape(mine)} in agent "
                "0; expected one shape, which PyMDP's batch needs. Use backend: numpy, or a "
                "scenario for each shape",
            )
        raise ScenarioError(
            model_field(self._spec),
            f"{name} is {shown(mine)} for agent 0 and {shown(others)} for agent {agent}; expected "
            "one value for all, since agents of a batch run one program. Return the same value for "
            "every agent, or make a scenario for each",
        )

    @property
    def differing(self) -> frozenset[str]:
        """The keywords in which agents differ, but for what they learn."""
        return frozenset(self._differing)

    @property
    def own(self) -> tuple[str, ...]:
        learning = self._spec.learning
        own = self._differing | {*learning} | {f"p{letter}" for letter in learning if letter != "D"}
        if "H" in self._first and own & {"B", "H", "inductive_threshold"}:
            own |= {"I"}  # which PyMDP makes of these
        if "B" not in learning:
            own -= {"H"}  # and makes again when B is learned
        return tuple(sorted(own))

    @property
    def first(self) -> dict[str, Any]:
        """The first agent's keyword arguments of `Agent`."""
        return self._first

    def agent(self, agents: Sequence[int]) -> Agent:
        """PyMDP's agent for these agents, of `batch_size=len(agents)`.

        Raises:
            ScenarioError: PyMDP refuses the arguments.
        """
        arguments = dict(self._first)
        rows = [self._others[index] for index in agents] if self._differing else []
        for name in arguments.keys() & {*LEAVES}:
            value = arguments[name]
            if name in LISTS:  # a list of its own, since PyMDP writes into it
                arrays = map(np.stack, zip(*(row[name] for row in rows), strict=True))
                arguments[name] = list(map(jnp.asarray, arrays if rows else value))
            else:
                arguments[name] = jnp.asarray(
                    np.stack([row[name] for row in rows]) if rows else value
                )
        try:
            agent = Agent(**arguments, batch_size=len(agents))
        except Exception as error:
            failed = refused(self._spec, error, "refused its arguments")
            raise memory_error(error) or failed from None
        self._check_policies(agent)
        return agent

    def _check_policies(self, agent: Agent) -> None:
        """Arrays with an axis that is as long as the policies say, where PyMDP would not."""
        policies, steps = agent.policies.num_policies, agent.policies.horizon
        arrays = {f"C{index}": each for index, each in enumerate(self._first.get("C", ()))}
        if "E" in self._first:
            arrays["E"] = self._first["E"]
        for name, array in arrays.items():
            expected = (policies,) if name == "E" else (steps, array.shape[-1])
            if (name == "E" or array.ndim > 1) and array.shape != expected:
                raise ScenarioError(
                    model_field(self._spec),
                    f"{name} has shape {array.shape}; expected {expected}, for {policies} policies "
                    f"of {steps} steps",
                )


def _shape(value: Any) -> Any:
    if isinstance(value, list):
        return [each.shape for each in value]
    return None if value is None else value.shape


def memory_error(error: Exception) -> MemoryError | None:
    """What ran out of memory as Python says it, which JAX says in an error of its own; None for
    anything else."""
    if isinstance(error, MemoryError):
        return error
    if "RESOURCE_EXHAUSTED" in str(error):
        return MemoryError(str(error)).with_traceback(error.__traceback__)
    return None


class _Arguments:
    """What one agent of a population is built of.

    Attributes:
        found: the keyword arguments of `Agent`. Arrays are NumPy's, in the precision that JAX
            computes in; settings are in Python's own types, so that they can be compared.
    """

    def __init__(self, spec: PopulationSpec, agent: int, given: dict[str, Any]) -> None:
        """From those that its model and the scenario give.

        Raises:
            ScenarioError: PyMDP would ignore or misread one, or cannot take it.
        """
        self._spec, self._agent = spec, agent
        self._precision = jnp.zeros(0).dtype
        self.found: dict[str, Any] = {}
        for name, value in given.items():
            keyword = _JAX_NAMES.get(name, name)
            if keyword in self.found:
                raise self._error(name, f"is {keyword} by its NumPy name; give one of them")
            if self._is_handed_on(keyword, value):
                self.found[keyword] = self._value(keyword, value)
        for name in ("A", "B"):
            if name not in self.found:
                raise self._error(name, "expected a list of arrays, found none")
        self._check_together(given)
        self._plan_backwards()
        self._learn()
        self._check_shapes()

    def _error(self, name: str, problem: str) -> ScenarioError:
        return ScenarioError(model_field(self._spec), f"{name} of agent {self._agent}: {problem}")

    def _is_handed_on(self, name: str, value: Any) -> bool:
        """Whether a keyword is one that goes to PyMDP's agent as its model gives it."""
        if name == "pD" and value is not None:
            raise self._error(
                name,
                f"{JAX.title} has no pD, because learning D continues from D itself; found "
                f"{shown(value)}. Leave it out, or use backend: numpy",
            )
        if value is None and DEFAULTS.get(name) is None:
            return False
        if name not in DEFAULTS:
            raise self._error(name, f"is not a keyword of {JAX.title}; {nearest(name, DEFAULTS)}")
        if name not in NOT_HANDED_ON:
            return True
        letter = name.removeprefix("learn_")
        learns = letter in self._spec.learning
        expected = learns or DEFAULTS[name]
        if not _same(_plain(value), expected):
            problem = f"expected {expected!r}, found {shown(value)}: it {NOT_HANDED_ON[name]}"
            if learns:
                problem += f", or leave {letter} out of it"
            raise self._error(name, problem)
        return False

    def _value(self, name: str, value: Any) -> Any:
        """A value in the form in which agents are compared and built."""
        if name in NUMBERS:
            return self._number(name, value)
        if name in LISTS:
            return self._arrays(name, value)
        if name == "E":
            return self._array(name, value, self._precision)
        if name == "policies":
            policies = self._array(name, getattr(value, "policy_arr", value))
            if policies.ndim != 3:
                expected = "one of shape (policies, steps, factors)"
                raise self._error(name, f"expected {expected}, found {policies.shape}")
            return policies
        value = _plain(value)
        self._check_value(name, value)
        return value

    def _check_value(self, name: str, value: Any) -> None:
        try:
            check_value(JAX, name, value)
        except FieldError as error:
            raise self._error(name, str(error)) from None

    def _number(self, name: str, value: Any) -> np.ndarray:
        """One agent's number. PyMDP's batch takes an array with one for each agent too, which could
        not say what agents have by which the population grows."""
        number = self._array(name, value)
        if number.size != 1:
            raise self._error(
                name,
                f"expected a number, found an array of shape {number.shape}; return each agent's "
                "own number from a factory with a parameter agent",
            )
        self._check_value(name, number.item())
        return np.asarray(number.item(), self._precision)

    def _arrays(self, name: str, value: Any) -> list[np.ndarray]:
        if not isinstance(value, list | tuple | np.ndarray):
            raise self._error(name, f"expected a list of arrays, found {shown(value)}")
        return [
            self._array(f"{name}{index}", each, self._precision) for index, each in enumerate(value)
        ]

    def _array(self, name: str, value: Any, precision: Any = None) -> np.ndarray:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            array = np.empty(0, object)
        if array.dtype.kind not in ("iuf" if precision is None else "iufb"):
            raise self._error(name, f"expected numbers, found {shown(value)}")
        return array if precision is None else np.asarray(array, precision)

    def _check_together(self, given: dict[str, Any]) -> None:
        """What keywords have to do with each other, where the model has a say."""
        names = [name for name in ("inference_algo", "inference_horizon") if name in given]
        if not all(name in self._spec.agent for name in names):
            keywords: dict[str, Any] = {n: self.found[n] for n in names if n in self.found}
            check_together(check_jax_together, keywords, self._spec, self._agent)

    def _plan_backwards(self) -> None:
        """A goal is for inductive inference, which PyMDP's JAX agent has to be told."""
        if "H" not in self.found or "use_inductive" in self.found:
            return
        if self._spec.model["kind"] == "factory":
            raise self._error(
                "H",
                f"{JAX.title} ignores it unless use_inductive is true; set use_inductive "
                "to true or false beside it",
            )
        self.found["use_inductive"] = True

    def _learn(self) -> None:
        for letter in self._spec.learning:
            if letter not in self.found:
                raise ScenarioError("learning", f"{letter} cannot be learned: the model has none")
            self.found[f"learn_{letter}"] = True
            if letter != "D":
                self.found.setdefault(f"p{letter}", self.found[letter])

    def _check_shapes(self) -> None:
        """PyMDP broadcasts arrays of other shapes, and takes a first axis for that of a batch."""
        A, B = self.found["A"], self.found["B"]
        states = [b.shape[:1] for b in B]
        expected = {"C": [a.shape[:1] for a in A], "D": states, "H": states}
        expected |= {"pA": [a.shape for a in A], "pB": [b.shape for b in B]}
        for name in expected.keys() & self.found.keys():
            whole = shapes = [array.shape for array in self.found[name]]
            if name == "C":  # (steps of planning, outcomes) too
                shapes = [shape[-1:] if len(shape) == 2 else shape for shape in shapes]
            if shapes != expected[name]:
                raise self._error(
                    name,
                    f"expected shapes {expected[name]}, as A and B have them, found {whole}; give "
                    "one agent's arrays, without an axis for a batch",
                )


def _same(left: Any, right: Any) -> bool:
    """Whether two values are of one type and shape, and equal bit by bit."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        if (left.dtype, left.shape) != (right.dtype, right.shape):
            return False
        bits = f"u{left.itemsize}"
        return left is right or np.array_equal(left.view(bits), right.view(bits))
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _plain(value: Any) -> Any:
    """NumPy's and JAX's numbers and arrays as Python's, in lists too."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
