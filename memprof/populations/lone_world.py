"""A world of the user's own in which one agent lives: what it raises or returns is checked, and
named."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from memprof.errors import ScenarioError
from memprof.populations.rewards import RewardSum
from memprof.text import own_traceback, raised, shown

_MOST_SEED = 2**31
# A distribution's numbers add up to 1, as far as 32-bit floats do.
_ROUNDING = 1e-3


class LoneWorld:
    """One of two interfaces: `reset()` and `step(action)` return the observation; or they are
    Gymnasium's.

    One index per modality is an observation; a plain index stands for one modality, and an array
    per modality for a distribution over its outcomes. Both may be JAX's arrays. An action is an
    array of a control per factor, unless the world has an `action_space`.

    Attributes:
        own: the user's object.
        begins: the last observation is the first of an episode.
    """

    __slots__ = ("_controls", "_ended", "_is_new", "_outcomes", "begins", "own")

    def __init__(self, own: Any, outcomes: Sequence[int], controls: Sequence[int]) -> None:
        self.own = own
        self._outcomes, self._controls = tuple(outcomes), tuple(controls)
        self.begins, self._ended, self._is_new = True, False, True

    def observe(
        self, action: Sequence[float] | None, rewards: RewardSum | None = None
    ) -> Sequence[Any]:
        """What the agent perceives after its action; without one, and after the end of an episode,
        the first of the next. What it is given besides goes to the `rewards`."""
        self.begins = action is None or self._ended
        if action is None or self._ended:
            returned = self._call("reset", **self._seed())
            if _is_gymnasiums(returned, 2):
                returned = returned[0]
            self._ended = self._is_new = False
            return self._checked("reset", returned)
        returned = self._call("step", self._act(action))
        if _is_gymnasiums(returned, 5):
            returned, reward, terminated, truncated, _ = returned
            if rewards is not None and not rewards.add(reward):
                raise ScenarioError(
                    "model.callable",
                    f"the environment's {self._name('step')} returned the reward {shown(reward)}; "
                    "expected a finite number",
                )
            ends = [is_end(each) for each in (terminated, truncated)]
            if None in ends:
                raise ScenarioError(
                    "model.callable",
                    f"the environment's {self._name('step')} returned terminated "
                    f"{shown(terminated)} and truncated {shown(truncated)}; expected True or False",
                )
            self._ended = any(ends)
        return self._checked("step", returned)

    def _seed(self) -> dict[str, int]:
        """Gymnasium's: once, and the world goes on with random numbers of its own."""
        if not self._is_new:
            return {}
        try:
            takes = "seed" in inspect.signature(self.own.reset).parameters
        except (TypeError, ValueError):  # written in C
            takes = False
        return {"seed": int(np.random.randint(_MOST_SEED))} if takes else {}

    def _act(self, action: Sequence[float]) -> Any:
        """The action as the world's `action_space` has it."""
        space = getattr(self.own, "action_space", None)
        return (
            action
            if space is None
            else as_space(space, action, self._controls, type(self.own).__name__)
        )

    def _call(self, method: str, *values: Any, **keywords: Any) -> Any:
        try:
            return getattr(self.own, method)(*values, **keywords)
        except MemoryError:
            raise
        except Exception as error:
            raise ScenarioError(
                "model.callable",
                f"the environment's {self._name(method)} raised {raised(error)}",
                detail=own_traceback(error),
            ) from None

    def _checked(self, method: str, observation: Any) -> Sequence[Any]:
        seen = seen_of(observation, self._outcomes)
        if seen is None:
            raise ScenarioError(
                "model.callable",
                f"the environment's {self._name(method)} returned {shown(observation)}; "
                f"{expected(self._outcomes)}",
            )
        return seen

    def _name(self, method: str) -> str:
        return f"{type(self.own).__name__}.{method}()"


def is_end(value: Any) -> bool | None:
    """Whether an episode ends, as worlds say it; None where that says neither."""
    if isinstance(value, str | bytes):
        return None
    try:
        return bool(value)
    except (TypeError, ValueError):  # an array of several
        return None


def expected(outcomes: Sequence[int]) -> str:
    """What an observation has to be."""
    return (
        "expected one index per modality of A, below "
        f"{', '.join(map(str, outcomes))}, or a distribution over its outcomes"
    )


def seen_of(observation: Any, outcomes: Sequence[int]) -> list[Any] | None:
    """An index or a distribution for each modality; None where it is something else."""
    if type(observation) is tuple and len(observation) == len(outcomes):
        for seen, count in zip(observation, outcomes, strict=True):
            if type(seen) is not int or not 0 <= seen < count:
                break
        else:  # as most worlds have it
            return list(observation)
    if isinstance(observation, int | float) or getattr(observation, "ndim", None) == 0:
        observation = (observation,)
    if not hasattr(observation, "__len__") or len(observation) != len(outcomes):
        return None
    if isinstance(observation, dict | set | str | bytes):
        return None
    modalities = [_modality(*each) for each in zip(observation, outcomes, strict=True)]
    return None if any(each is None for each in modalities) else modalities


def _modality(seen: Any, outcomes: int) -> int | np.ndarray | None:
    """What was seen of one modality, as PyMDP and its users write it: an index, also as an array of
    one number, or an array of a number for each outcome, with or without an axis for the time."""
    try:
        array = np.asarray(seen)
    except (TypeError, ValueError):
        return None
    if array.dtype.kind not in "iufb":
        return None
    if array.size == 1 and 0 <= array.item() < outcomes and array.item() == int(array.item()):
        return int(array.item())
    if array.shape not in ((outcomes,), (1, outcomes)):
        return None
    is_one = bool(np.all(array >= 0)) and abs(float(array.sum()) - 1) < _ROUNDING
    return array.reshape(outcomes) if is_one else None


def as_space(
    space: Any,
    action: Sequence[float],
    controls: Sequence[int],
    world: str,
    field: str = "model.callable",
) -> Any:
    """An action, a control per factor, as a space of Gymnasium has it: of those factors that have a
    choice, one number for a `Discrete` space, and an array for a `MultiDiscrete` one. `world` is
    the name of the world's class.

    Raises:
        ScenarioError: the space is another, or has no such action.
    """
    chosen = [int(each) for each, count in zip(action, controls, strict=True) if count > 1]
    value: Any = None
    if getattr(space, "nvec", None) is not None:
        value = np.array(chosen, space.dtype).reshape(-1)
    elif getattr(space, "n", None) is not None and len(chosen) == 1:
        value = chosen[0]
    if value is None or not space.contains(value):
        raise ScenarioError(
            field,
            f"the actions of {world} are {shown(space)}; found {chosen}, from "
            f"factors with {', '.join(map(str, controls))} controls. Expected a Discrete space for "
            "one factor that has a choice, or a MultiDiscrete one for several",
        )
    return value


def _is_gymnasiums(returned: Any, length: int) -> bool:
    """What Gymnasium's `reset` (2) or `step` (5) returns: its last is a dict."""
    return (
        isinstance(returned, tuple) and len(returned) == length and isinstance(returned[-1], dict)
    )
