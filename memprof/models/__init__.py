"""What a generative model is to a population, and the check that it makes sense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memprof.catalogue import load_target
from memprof.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class OwnWorld:
    """A world as PyMDP's `rollout` takes it: one agent's, by its keywords."""

    env: Any
    env_params: Any = None
    initial_carry: dict[str, Any] | None = None
    policy_search: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class GenerativeModel:
    """One agent's model.

    Attributes:
        arguments: keyword arguments of the PyMDP agent: `A` (per modality, shape observations x
            states ...) and `B` (per factor, shape next x states ... x actions), and any of C, D, E,
            pA, pB, pD and PyMDP's options.
        environment: an object with `reset()` and `step(action)`, both returning the observation,
            or an `OwnWorld`; None for one that samples from `world`.
        world: A, B and D of the world to sample from; None for the agent's own.
        agent: the agent where the user's own code builds it; of a NumPy agent, `arguments` are then
            what it has of A, B, D and the lists of factors. None for one to be built of
            `arguments`.
        added: what an object of the user's own that holds the agent has beside it, by the names of
            the ledger.
        of_one: the factory was told which agent it is that it makes.
    """

    arguments: dict[str, Any]
    environment: Any = None
    world: dict[str, Any] | None = None
    agent: Any = None
    added: dict[str, Any] = field(default_factory=dict)
    of_one: bool = False

    @property
    def made(self) -> Any:
        """What the factory made: the agent, or its arguments."""
        return self.arguments if self.agent is None else self.agent


def model_builder(
    model: dict[str, Any], folder: str, target: str = ""
) -> Callable[[int], GenerativeModel]:
    """A function from an agent's index to a new model for it, from the scenario's `model` field;
    `target` is what makes it, if that is not one of `memprof.models.built_in`."""
    parameters = dict(model)
    ours = f"memprof.models.built_in:{parameters.pop('kind')}"
    builder: Callable[[int], GenerativeModel]
    builder = load_target(target or ours)(folder=folder, **parameters)
    return builder


def object_array(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """PyMDP's container: a one-dimensional object array of arrays."""
    container = np.empty(len(arrays), dtype=object)
    for position, array in enumerate(arrays):
        container[position] = array
    return container


def per_factor(array: Any) -> Any:
    """The arrays of each factor, or modality; PyMDP takes a plain array for that of one."""
    plain = isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
    return object_array([array.squeeze()]) if plain else array


def check_model(arguments: dict[str, Any], field: str) -> None:
    """Check that A and B exist, are probabilities, and fit each other.

    Raises:
        ScenarioError: at `field`, naming the array, what was expected and what was found.
    """
    for name in ("A", "B"):
        if name not in arguments:
            raise ScenarioError(field, f"the model has no {name}; found {sorted(arguments)}")
        _check_container(name, arguments[name], field)
    A, B = per_factor(arguments["A"]), per_factor(arguments["B"])
    states = [b.shape[0] if b.ndim else 0 for b in B]
    transitions = _factors(arguments, "B_factor_list", [[f] for f in range(len(B))], len(B), field)
    for index, (b, factors) in enumerate(zip(B, transitions, strict=True)):
        expected = (states[index], *(states[f] for f in factors))
        if b.ndim != len(expected) + 1 or b.shape[:-1] != expected:
            raise ScenarioError(
                field,
                f"B{index} has shape {b.shape}; expected {expected} and then the number of actions",
            )
        _check_normalised(f"B{index}", b, field)
    everything = [list(range(len(B)))] * len(A)
    likelihoods = _factors(arguments, "A_factor_list", everything, len(B), field)
    for index, (a, factors) in enumerate(zip(A, likelihoods, strict=True)):
        expected = tuple(states[f] for f in factors)
        if a.shape[1:] != expected:
            raise ScenarioError(
                field,
                f"A{index} has shape {a.shape} and does not fit B: expected {expected} after the "
                "observations, one axis per factor of B, as long as B has states",
            )
        _check_normalised(f"A{index}", a, field)
    check_priors(arguments, field)


def check_priors(arguments: dict[str, Any], field: str) -> None:
    """C is of the observations that A has, and D of the states that B has."""
    for name, like, what in (("C", "A", "observations"), ("D", "B", "states")):
        given = per_factor(arguments.get(name))
        if not isinstance(given, np.ndarray):
            continue  # as PyMDP takes it otherwise, it may say what it misses
        _check_container(name, given, field)
        sizes = [each.shape[0] for each in per_factor(arguments[like])]
        if len(given) != len(sizes):
            raise ScenarioError(
                field, f"{name} has {len(given)} arrays; expected {len(sizes)}, as {like} has"
            )
        for index, (array, size) in enumerate(zip(given, sizes, strict=True)):
            if array.shape[:1] != (size,) or (name == "D" and array.ndim > 1):
                raise ScenarioError(
                    field,
                    f"{name}{index} has shape {array.shape}; {like}{index} has {size} {what}",
                )
            if np.isnan(array).any() or not np.isfinite(array.max(axis=0)).all():
                raise ScenarioError(field, f"{name}{index} contains NaN or infinite values")
            if name == "D":
                _check_normalised(f"D{index}", array, field)


def _factors(
    arguments: dict[str, Any], option: str, default: list[list[int]], factors: int, field: str
) -> Sequence[Sequence[int]]:
    """The factors of each array."""
    given = arguments.get(option)
    if given is None:
        return default
    try:
        fits = len(given) == len(default) and all(0 <= f < factors for each in given for f in each)
    except TypeError:
        fits = False
    if not fits:
        raise ScenarioError(
            field,
            f"{option} is {given!r}; expected {len(default)} lists, one per array of {option[0]}, "
            f"of factors from 0 to {factors - 1}",
        )
    found: Sequence[Sequence[int]] = given
    return found


def _check_container(name: str, value: Any, field: str) -> None:
    arrays = list(per_factor(value)) if isinstance(value, np.ndarray) else None
    if not arrays or not all(isinstance(a, np.ndarray) and a.dtype.kind in "fiub" for a in arrays):
        found = f"{type(value).__name__} of {getattr(value, 'dtype', 'unknown type')}"
        raise ScenarioError(
            field,
            f"{name} must be an object array of numeric arrays, or a numeric array, as PyMDP takes "
            f"it; found {found}",
        )


def _check_normalised(name: str, array: np.ndarray, field: str) -> None:
    if array.size == 0:
        raise ScenarioError(field, f"{name} has shape {array.shape}: it is empty")
    with np.errstate(all="ignore"):  # of what is infinite
        sums = np.asarray(array.sum(axis=0))
        worst = np.unravel_index(int(np.argmax(np.abs(sums - 1))), sums.shape)
    if not np.allclose(sums, 1.0) or array.min() < 0:
        raise ScenarioError(
            field,
            f"{name} is not normalised: each column must be non-negative and sum to 1; "
            f"{name}[{', '.join(map(str, (':', *worst)))}] sums to {sums[worst]:.6g}, smallest "
            f"entry {array.min():.6g}",
        )
