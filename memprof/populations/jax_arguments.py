"""Keyword arguments of JAX agents, in all the forms in which PyMDP takes them. What it would ignore
or misread is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from msgspec.structs import replace

from memprof.errors import FieldError, ScenarioError, nearest
from memprof.models import check_model, object_array
from memprof.populations import check_together, model_field, refused
from memprof.populations.alike import alike
from memprof.populations.jax_given import Row, learned, memory_error, plain, wrong
from memprof.text import shown
from memprof.upstream.jax_agent import (
    DEFAULTS,
    LEAVES,
    LISTS,
    NUMBERS,
    Agent,
)
from memprof.upstream.jax_forms import data_of, factors_of, flattened, listed
from memprof.upstream.keywords import JAX, JAX_NAMES, check_jax_together, check_value
from memprof.values.population import PopulationSpec


class Arguments:
    """Keyword arguments. Arrays are NumPy's, in the precision that JAX computes in; settings are in
    Python's own types."""

    form = "keyword arguments"

    def __init__(self, spec: PopulationSpec, agent: int, given: dict[str, Any]) -> None:
        self._spec, self._index = spec, agent
        self._precision = jnp.zeros(0).dtype
        self.settings: dict[str, Any] = {}
        self._as_given: dict[str, Any] = {}
        for name, value in given.items():
            self._take(name, value)
        self.size: int = self.settings.pop("batch_size", 1)
        self._read_structure()
        self._rows = {name: self._rows_of(name) for name in self._as_given}
        self.learning = learned(spec, self.settings, self._error)
        self._learn()
        self._plan_backwards()
        self._check()

    def _error(self, name: str, problem: str) -> ScenarioError:
        return wrong(self._spec, self._index, name, problem)

    def _take(self, name: str, value: Any) -> None:
        keyword = JAX_NAMES.get(name, name)
        if keyword in self.settings:
            raise self._error(name, f"is {keyword} by its NumPy name; give one of them")
        if name == "pD" and value is not None:
            raise self._error(
                name,
                f"{JAX.title} has no pD, because learning D continues from D itself; found "
                f"{shown(value)}. Leave it out, or use backend: numpy",
            )
        if value is None and DEFAULTS.get(name) is None:
            return
        if keyword not in DEFAULTS:
            raise self._error(name, f"is not a keyword of {JAX.title}; {nearest(name, DEFAULTS)}")
        if keyword in LEAVES:
            self._as_given[keyword] = value
        else:
            self.settings[keyword] = self._setting(keyword, value)

    def _setting(self, name: str, value: Any) -> Any:
        if name == "policies":
            policies = self._array(name, getattr(value, "policy_arr", value))
            if policies.ndim != 3:
                expected = "one of shape (policies, steps, factors)"
                raise self._error(name, f"expected {expected}, found {policies.shape}")
            return policies
        if name == "preprocess_fn" and not callable(value):
            raise self._error(name, f"expected a function, found {shown(value)}")
        value = plain(value)
        if name == "inference_algo" and isinstance(value, str):
            value = value.lower()  # as PyMDP does
        self._check_value(name, value)
        return value

    def _check_value(self, name: str, value: Any) -> None:
        try:
            check_value(JAX, name, value)
        except FieldError as error:
            raise self._error(name, str(error)) from None

    # ------------------------------------------------ arrays

    def _array(self, name: str, value: Any, kinds: str = "iuf") -> np.ndarray:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            array = np.empty(0, object)
        if array.dtype.kind not in kinds or (array.dtype.kind == "f" and array.itemsize < 4):
            raise self._error(name, f"expected numbers, found {shown(value)}")
        return array

    def _read_structure(self) -> None:
        """The lists of arrays, and how A and B depend on factors and actions."""
        for name in ("A", "B"):
            if name not in self._as_given:
                raise self._error(name, "expected a list of arrays, found none")
        self._lists = {
            name: self._listed(name, self._as_given[name])
            for name in LISTS
            if name in self._as_given
        }
        A, B = self._lists["A"], self._lists["B"]
        for name, default in zip(
            ("A_dependencies", "B_dependencies"), factors_of(A, B), strict=True
        ):
            self._check_factors(name, self.settings.setdefault(name, default), len(default), len(B))
        for factor, factors in enumerate(self.settings["B_dependencies"]):
            if factor not in factors:
                raise self._error(
                    "B_dependencies",
                    f"expected factor {factor} among those that B{factor} depends on, since PyMDP "
                    f"reads its states there; found {factors}",
                )
        # PyMDP makes one axis of several actions only where it makes the policies, too.
        actions = self.settings.get("B_action_dependencies")
        if actions is not None:
            controls = self.settings.get("num_controls")
            if controls is None:
                raise self._error("num_controls", "PyMDP needs it beside B_action_dependencies")
            self._check_factors("B_action_dependencies", actions, len(B), len(controls))
        self._actions: list[list[int]] | None = None if "policies" in self.settings else actions

    def _listed(self, name: str, value: Any) -> list[np.ndarray]:
        try:
            found = listed(name, value)
        except TypeError:
            raise self._error(name, f"expected a list of arrays, found {shown(value)}") from None
        if name in ("A", "B"):
            if not found:
                raise self._error(name, "expected a list of arrays, found none")
            self._as_given[name] = found  # which may be distributions, that say their factors
        return found

    def _check_factors(self, name: str, found: Any, count: int, factors: int) -> None:
        try:
            fits = len(found) == count and all(0 <= f < factors for each in found for f in each)
        except TypeError:
            fits = False
        if not fits:
            raise self._error(
                name,
                f"expected {count} lists, one per array of {name[0]}, of numbers from 0 to "
                f"{factors - 1}, found {shown(found)}",
            )

    def _rows_of(self, name: str) -> Any:
        """The rows of a batch, one for all agents or one each; per modality or factor."""
        value = self._as_given[name]
        if name in NUMBERS:
            return self._numbers(name, value)
        if name == "E":
            return self._split(name, self._array(name, data_of(value), "iufb"), 1)
        arrays = [
            self._array(f"{name}{index}", data_of(each), "iufb")
            for index, each in enumerate(self._lists[name])
        ]
        counts = len(self._lists["A" if name in ("A", "C", "pA") else "B"])
        if len(arrays) != counts:
            raise self._error(
                name, f"expected {counts} arrays, as A and B have them, found {len(arrays)}"
            )
        return [
            self._split(f"{name}{index}", each, self._axes(name, index, each))
            for index, each in enumerate(arrays)
        ]

    def _axes(self, name: str, index: int, array: np.ndarray) -> int:
        """How many axes an array has without one for a batch."""
        if name in ("A", "pA"):
            return 1 + len(self.settings["A_dependencies"][index])
        if name in ("B", "pB"):
            controls = 1 if self._actions is None else len(self._actions[index])
            return 1 + len(self.settings["B_dependencies"][index]) + controls
        if name == "C":  # (steps of planning, outcomes), unless A has an axis for a batch
            likelihood = self._lists["A"][index]
            batched = np.ndim(data_of(likelihood)) > self._axes("A", index, array)
            return 1 if array.ndim == 1 or (array.ndim == 2 and batched) else 2
        return 2 if name == "I" else 1

    def _split(self, name: str, array: np.ndarray, axes: int) -> list[np.ndarray]:
        if array.ndim == axes:
            return [array]
        if array.ndim == axes + 1 and len(array) in (1, self.size):
            return list(array)
        raise self._error(
            name,
            f"expected {axes} {'axis' if axes == 1 else 'axes'}, or a first one more for a batch "
            f"of {self.size}, found shape {array.shape}",
        )

    def _numbers(self, name: str, value: Any) -> list[np.ndarray]:
        numbers = self._array(name, value)
        if numbers.size not in (1, self.size) or numbers.ndim > 1:
            raise self._error(
                name,
                f"expected a number, found an array of shape {numbers.shape}; return each agent's "
                "own number from a factory with a parameter agent",
            )
        for number in numbers.ravel().tolist():
            self._check_value(name, number)
        return list(np.asarray(numbers, self._precision).ravel())

    # ------------------------------------------------ what goes together

    def _learn(self) -> None:
        for letter in self.learning:
            if letter not in self._rows:
                raise ScenarioError("learning", f"{letter} cannot be learned: the model has none")
            prior = f"p{letter}"
            if letter != "D" and letter in self._spec.learning:
                self._rows.setdefault(prior, self._rows[letter])
            elif letter != "D" and prior not in self._rows:
                raise self._error(
                    prior,
                    f"learn_{letter} needs it; return it, or use the scenario's learning: "
                    f"[{letter}], which begins with {letter} itself",
                )
            self.settings[f"learn_{letter}"] = True
        if self.settings.get("use_param_info_gain") and not {"pA", "pB"} & self._rows.keys():
            raise self._error("use_param_info_gain", "PyMDP needs pA or pB for it; found neither")

    def _plan_backwards(self) -> None:
        """A goal is for inductive inference, which PyMDP's JAX agent has to be told."""
        if self._spec.model["kind"] != "factory" and "H" in self._rows:
            self.settings.setdefault("use_inductive", True)
        if "I" in self._rows and ("H" in self._rows or not self.settings.get("use_inductive")):
            raise self._error(
                "I", "PyMDP reads it with use_inductive and without H only, and makes its own else"
            )

    def _check(self) -> None:
        """PyMDP broadcasts arrays of other shapes, and says little of those that do not fit."""
        asked = replace(self._spec, learning=self.learning)
        check_together(check_jax_together, self.settings, asked, self._index)
        for index in range(self.size):
            world = self._world(index)
            model = {name: object_array(world[name]) for name in "AB"}
            check_model({**world, **model, "D": None}, model_field(self._spec))
            self._check_shapes(index, world)
            if not self._is_batched():
                break
        self._check_actions()

    def _is_batched(self) -> bool:
        return any(
            len(rows) > 1
            for name, found in self._rows.items()
            for rows in (found if name in LISTS else [found])
        )

    def _check_shapes(self, index: int, world: Mapping[str, Any]) -> None:
        A, B = world["A"], world["B"]
        states = [b.shape[:1] for b in B]
        expected = {"C": [a.shape[:1] for a in A], "D": states, "H": states}
        expected |= {"pA": [a.shape for a in A], "pB": [b.shape for b in B]}
        for name in expected.keys() & self._rows.keys():
            whole = shapes = [array.shape for array in self._leaf(name, index)]
            if name == "C":  # (steps of planning, outcomes) too
                shapes = [shape[-1:] if len(shape) == 2 else shape for shape in shapes]
            if shapes != expected[name]:
                raise self._error(
                    name, f"expected shapes {expected[name]}, as A and B have them, found {whole}"
                )
        for factor, array in enumerate(self._leaf("I", index) if "I" in self._rows else ()):
            if array.shape[1:] != states[factor]:
                problem = f"expected (steps, {states[factor][0]}), found {array.shape}"
                raise self._error(f"I{factor}", problem)

    def _check_actions(self) -> None:
        """Actions of controls that there are."""
        found = [array.shape[-1] for array in self._world(0)["B"]]
        controls = self.settings.get("num_controls")
        if self._actions is not None:
            for factor, actions in enumerate(self._actions):
                axes = self._rows["B"][factor][0].shape
                expected = tuple(controls[each] for each in actions) if controls else ()
                if axes[len(axes) - len(actions) :] != expected:
                    raise self._error(
                        f"B{factor}",
                        f"expected {expected} actions at its end, as num_controls and "
                        f"B_action_dependencies say, found shape {axes}",
                    )
        elif controls is not None and controls != found and not self._has_flat_actions():
            raise self._error("num_controls", f"expected {found}, as B has it, found {controls}")
        policies = self.settings.get("policies")
        if policies is not None and (
            policies.shape[2] != len(found) or (policies < 0).any() or (policies >= found).any()
        ):
            raise self._error(
                "policies",
                f"expected actions of {len(found)} factors, below {found}, as B has them, found "
                f"{policies.shape[2]} factors, and actions from {policies.min()} to "
                f"{policies.max()}",
            )

    def _has_flat_actions(self) -> bool:
        """Whether num_controls is of controls that B has combined already."""
        return self.settings.get("B_action_dependencies") is not None

    # ------------------------------------------------ what it is for PyMDP

    def _unflattened(self, name: str, index: int) -> Any:
        """A keyword for one agent, in the precision that JAX computes in."""
        found = self._rows[name]
        if name in LISTS:
            return [np.asarray(rows[index % len(rows)], self._precision) for rows in found]
        return np.asarray(found[index % len(found)], self._precision)

    def _leaf(self, name: str, index: int) -> Any:
        """An attribute of PyMDP's agent."""
        value = self._unflattened(name, index)
        return self._flat(value) if name in ("B", "pB") else value

    def _flat(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Transitions with one axis of actions each."""
        if self._actions is None:
            return arrays
        pairs = zip(arrays, self._actions, strict=True)
        return [flattened(array, len(actions)) for array, actions in pairs]

    def _world(self, index: int) -> dict[str, Any]:
        """What the world of an agent is made of, in the precision in which it was given."""
        arrays = {
            name: [rows[index % len(rows)] for rows in self._rows[name]]
            for name in "ABD"
            if name in self._rows
        }
        return {
            **arrays,
            "B": self._flat(arrays["B"]),
            "A_factor_list": self.settings["A_dependencies"],
            "B_factor_list": self.settings["B_dependencies"],
        }

    def row(self, index: int) -> Row:
        """One agent of the batch."""
        return Row({name: self._leaf(name, index) for name in self._rows}, self._world(index))

    def agent(self) -> Agent:
        """PyMDP's agent of the first row alone.

        Raises:
            ScenarioError: PyMDP refuses the arguments, or makes something else of one.
        """
        keywords = {**self.settings}
        for name in self._rows:
            value = jax.tree_util.tree_map(jnp.asarray, self._unflattened(name, 0))
            keywords[name] = [each[None] for each in value] if name == "I" else value
        if "policies" in keywords:
            keywords["policies"] = jnp.asarray(keywords["policies"])
        try:
            agent = Agent(**keywords)
        except Exception as error:
            failed = refused(self._spec, error, "refused its arguments")
            raise memory_error(error) or failed from None
        self._check_policies(agent)
        for name, leaf in self.row(0).leaves.items():
            held = jax.tree_util.tree_map(lambda x: np.asarray(x[0]), getattr(agent, name))
            if not alike(held, leaf):
                raise self._error(name, f"PyMDP's agent makes {shown(held)} of {shown(leaf)}")
        return agent

    def _check_policies(self, agent: Agent) -> None:
        """Arrays with an axis that is as long as the policies say, where PyMDP would not."""
        policies, steps = agent.policies.num_policies, agent.policies.horizon
        for index in range(self.size):
            arrays = {}
            if "C" in self._rows:
                arrays = {f"C{m}": each for m, each in enumerate(self._leaf("C", index))}
            if "E" in self._rows:
                arrays["E"] = self._leaf("E", index)
            for name, array in arrays.items():
                expected = (policies,) if name == "E" else (steps, array.shape[-1])
                # PyMDP reads C of one step at all steps, and not beyond the steps that it plans.
                fits = name != "E" and (len(array) in (1, steps) or len(array) > steps)
                if (name == "E" or array.ndim > 1) and array.shape != expected and not fits:
                    raise self._error(
                        name,
                        f"expected shape {expected}, for {policies} policies of {steps} steps, "
                        f"found {array.shape}",
                    )
