"""What turns an agent's action into its next observation.

All chance comes from the global `np.random`, which the population seeds per agent and step.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np

from memprof.errors import ScenarioError


class GenerativeProcess:
    """The world that a model describes: states from D and B, observations from A.

    Agents whose models are equal share one process, so that an environment costs an agent next to
    nothing.
    """

    __slots__ = ("A", "B", "D", "_observed", "_transition")

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.A: list[np.ndarray] = list(arguments["A"])
        self.B: list[np.ndarray] = list(arguments["B"])
        prior = arguments.get("D")
        self.D: list[np.ndarray] | None = None if prior is None else list(prior)
        factors = range(len(self.B))
        self._observed = arguments.get("A_factor_list") or [list(factors)] * len(self.A)
        self._transition = arguments.get("B_factor_list") or [[f] for f in factors]

    def __eq__(self, other: object) -> bool:
        """Whether both describe the same world, value by value."""
        return (
            isinstance(other, GenerativeProcess)
            and self._observed == other._observed
            and self._transition == other._transition
            and (self.D is None) == (other.D is None)
            and _equal(self.A, other.A)
            and _equal(self.B, other.B)
            and _equal(self.D or [], other.D or [])
        )

    __hash__ = None  # type: ignore[assignment]  # equality by content

    def first_states(self) -> tuple[int, ...]:
        """A state per factor, drawn from D, or evenly without one."""
        if self.D is None:
            return tuple(int(np.random.randint(b.shape[0])) for b in self.B)
        return tuple(_draw(d) for d in self.D)

    def next_states(self, states: tuple[int, ...], action: Sequence[float]) -> tuple[int, ...]:
        """States after `action`, which holds one control per factor."""
        return tuple(
            _draw(b[(slice(None), *(states[f] for f in factors), int(control))])
            for b, factors, control in zip(self.B, self._transition, action, strict=True)
        )

    def observe(self, states: tuple[int, ...]) -> tuple[int, ...]:
        """An observation per modality."""
        return tuple(
            _draw(a[(slice(None), *(states[f] for f in factors))])
            for a, factors in zip(self.A, self._observed, strict=True)
        )


class SampledEnvironment:
    """One agent's place in a generative process."""

    __slots__ = ("process", "states")

    def __init__(self, process: GenerativeProcess) -> None:
        self.process = process
        self.states: tuple[int, ...] = ()

    def reset(self) -> tuple[int, ...]:
        self.states = self.process.first_states()
        return self.process.observe(self.states)

    def step(self, action: Sequence[float]) -> tuple[int, ...]:
        self.states = self.process.next_states(self.states, action)
        return self.process.observe(self.states)


class UserEnvironment:
    """A factory's own environment; what it raises or returns is checked and named.

    One index per modality is an observation; a plain index stands for one modality, and an array
    per modality for a distribution over its outcomes.
    """

    __slots__ = ("_environment", "_outcomes")

    def __init__(self, environment: Any, outcomes: Sequence[int]) -> None:
        self._environment = environment
        self._outcomes = tuple(outcomes)

    def reset(self) -> Sequence[Any]:
        return self._checked("reset", ())

    def step(self, action: Sequence[float]) -> Sequence[Any]:
        return self._checked("step", (action,))

    def _checked(self, method: str, arguments: tuple[Any, ...]) -> Sequence[Any]:
        name = f"{type(self._environment).__name__}.{method}()"
        try:
            observation = getattr(self._environment, method)(*arguments)
        except MemoryError:
            raise
        except Exception as error:
            raise ScenarioError(
                "model.callable",
                f"the environment's {name} raised {type(error).__name__}: {error}",
                detail=traceback.format_exc(),
            ) from None
        if isinstance(observation, int | np.integer):
            observation = (observation,)
        if not self._fits(observation):
            raise ScenarioError(
                "model.callable",
                f"the environment's {name} returned {observation!r}; expected one index per "
                f"modality of A, below {', '.join(map(str, self._outcomes))}",
            )
        found: Sequence[Any] = observation
        return found

    def _fits(self, observation: Any) -> bool:
        if not isinstance(observation, list | tuple | np.ndarray):
            return False
        return len(observation) == len(self._outcomes) and all(
            0 <= seen < outcomes
            if isinstance(seen, int | np.integer)
            else isinstance(seen, np.ndarray) and seen.shape == (outcomes,)
            for seen, outcomes in zip(observation, self._outcomes, strict=True)
        )


def _draw(probabilities: np.ndarray) -> int:
    cumulative = np.cumsum(probabilities)
    drawn = np.searchsorted(cumulative, np.random.random() * cumulative[-1], side="right")
    return min(int(drawn), len(cumulative) - 1)


def _equal(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return len(left) == len(right) and all(
        a is b or np.array_equal(a, b) for a, b in zip(left, right, strict=True)
    )
