"""What agents at rest are woken for: a turn, a user's own step, a rollout; chunk by chunk, each by
one compiled program, on all devices."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from memprof.errors import UsageError
from memprof.optimise.jax import State
from memprof.populations.jax_alike import check_like
from memprof.populations.jax_chunks import padded
from memprof.populations.jax_passed import passed_on
from memprof.populations.jax_resting import Resting
from memprof.populations.jax_template import (
    Template,
    act_alone,
    batched,
    in_groups,
    leaves_of,
    single,
    with_leaves,
)
from memprof.posix import return_freed
from memprof.text import shown
from memprof.upstream import jax_world
from memprof.upstream.jax_agent import Agent, Mind
from memprof.upstream.jax_agent import leaves_of as attributes_of
from memprof.upstream.jax_world import World

T = TypeVar("T")
UserStep = Callable[[Agent, Any, Any], Any]


def turn(template: Template, state: State, observation: Any, key: Any) -> tuple[State, Any]:
    """One agent perceives, plans, learns and acts: what it has become, and its action."""
    state, acted = act_alone(template, state, observation, key)
    return state, acted.action


@dataclass(frozen=True)
class Step:
    """A user's step of one agent, who is real, and a batch of one.

    Attributes:
        function: takes the agent, what it observes and a key, and returns it with a result.
        changed: attributes of the agent that it changes.
    """

    function: UserStep
    changed: tuple[str, ...] = ()

    def __call__(
        self, template: Template, leaves: dict[str, Any], observation: Any, key: Any
    ) -> tuple[dict[str, Any], Any]:
        agent = with_leaves(template.whole(), batched(leaves))
        agent, result = self.made(agent, batched(observation), key)
        return single(leaves_of(agent, self.changed)), single(result)

    def made(self, agent: Agent, observation: Any, key: Any) -> tuple[Agent, Any]:
        """What it returns.

        Raises:
            UsageError: that is not the agent and a result with an axis for a batch of one.
        """
        found = self.function(agent, observation, key)
        if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], Agent):
            raise UsageError(
                f"step: expected {self._name} to return (agent, result), found {_kind(found)}; end "
                "it with `return agent, result`"
            )
        check_like(agent, found[0], f"what {self._name} returns")
        for leaf in tree_leaves(found[1]):
            if np.ndim(leaf) == 0 or np.shape(leaf)[0] != 1:
                raise UsageError(
                    f"step: expected results of {self._name} with a batch axis of 1 first, as "
                    f"PyMDP's are, found shape {np.shape(leaf)}; return x[None] in place of x"
                )
        return found[0], found[1]

    @property
    def _name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))

    def traced(self, agent: Agent, observation: Any, key: Any) -> Step:
        """The same, told what it changes: all that it does not return as it was given."""
        given = {n: v for n in attributes_of(agent) if (v := getattr(agent, n)) is not None}

        def trace(given: dict[str, Any], *others: Any) -> dict[str, Any]:
            after, _ = self.made(with_leaves(agent, given), *others)
            return leaves_of(after, tuple(given))

        places = iter(enumerate(passed_on(trace, given, observation, key)))
        names = [name for name in sorted(given) for _ in tree_leaves(given[name])]
        changed = {
            name for name, (place, found) in zip(names, places, strict=True) if found != place
        }
        return Step(self.function, tuple(sorted(changed)))


def _kind(found: Any) -> str:
    if isinstance(found, tuple):
        return f"({', '.join(type(each).__name__ for each in found)})"
    return type(found).__name__ if isinstance(found, Agent) else shown(found)


@dataclass(frozen=True)
class Roll:
    """PyMDP's rollout of one agent from the start of its world.

    Attributes:
        keep: what to report of every step.
    """

    keep: frozenset[str] | None

    def __call__(
        self,
        template: Template,
        world: World,
        search_keys: Any,
        leaves: dict[str, Any],
        params: Any,
        keys: tuple[Any, Any, Any],
    ) -> tuple[State, dict[str, Any]]:
        agent = with_leaves(template.whole(), batched(leaves))
        for_start, for_actions, for_worlds = keys
        start = world.env(agent).reset(for_start, env_params=params)
        agent, mind, _, report = jax_world.roll_alone(
            agent,
            world,
            params,
            Mind.first(agent),
            start,
            (for_actions, for_worlds, search_keys),
            self.keep,
        )
        return State(single(mind), single(leaves_of(agent, tuple(leaves)))), report


def over_chunks(
    resting: Resting,
    function: Callable[..., Any],
    fixed: tuple[Any, ...],
    rows: np.ndarray,
    brought: Any,
    arguments: Callable[[State, Any], tuple[Any, ...]],
    size: int | None = None,
) -> Iterator[tuple[slice, np.ndarray, Any]]:
    """A program of one agent, mapped over these rows, chunk by chunk; chunk after chunk on the next
    device.

    Args:
        function, fixed: as `in_groups` has them, after the template.
        brought: arrays with an axis for the agents of `rows` first.
        arguments: of the function, from the state of agents and what they brought.
        size: agents of a chunk; as they rest if omitted.

    Yields:
        Where the agents are in `rows`, their rows, and what the program returned of a whole chunk:
        the rows beyond the agents' are padding.
    """
    size, width = resting.width(size or resting.rows.size)

    def call(place: slice, device: Any) -> tuple[slice, np.ndarray, Any]:
        some = rows[place]
        taken = resting.rows.take(padded(some, size))
        mine = tree_map(lambda x: _padded(x, place, size), brought)
        given = jax.device_put(arguments(resting.state(taken), mine), device)
        template = resting.template(device)
        found = in_groups(function, width, (template, *fixed), given)
        if resting.is_new((function, size)):
            return_freed()  # by XLA, which frees half of what it takes to compile
        return place, some, found

    places = [slice(i, min(i + size, len(rows))) for i in range(0, len(rows), size)]
    yield from _in_turn(call, places, jax.local_devices())


def _padded(array: Any, place: slice, size: int) -> Any:
    chosen = padded(np.arange(place.start, place.stop), size)
    return array[chosen]


def _in_turn(call: Callable[[T, Any], Any], each: Iterable[T], devices: list[Any]) -> Iterator[Any]:
    """The calls, as many at once as there are devices, in order."""
    running: deque[Any] = deque()
    for number, argument in enumerate(each):
        if len(running) == len(devices):
            yield running.popleft()
        running.append(call(argument, devices[number % len(devices)]))
    yield from running


class Gathered:
    """Results of chunk after chunk, joined."""

    def __init__(self, agents: int) -> None:
        self._agents, self._done = agents, 0
        self._found: Any = None

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A block that adds them. What it raises comes with a note, if it has added some."""
        try:
            yield
        except BaseException as error:
            if self._done:
                error.add_note(
                    f"{self._done} of {self._agents} agents, the first in order, had their turn "
                    "before this, and are stored as they were then; the others are unchanged"
                )
            raise

    def add(self, place: slice, result: Any) -> None:
        """Of the agents of one chunk, padding included."""
        self._done = place.stop
        result = tree_map(np.asarray, result)
        if self._found is None:
            self._found = tree_map(
                lambda x: np.empty((self._agents, *x.shape[1:]), x.dtype), result
            )
        for array, found in zip(tree_leaves(self._found), tree_leaves(result), strict=True):
            array[place] = found[: place.stop - place.start]

    def result(self) -> Any:
        return self._found
