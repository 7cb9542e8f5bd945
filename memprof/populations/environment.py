"""What turns an agent's action into its next observation.

All chance comes from the global `np.random`, and in worlds of the user's own also from `random`,
which the population seeds per agent and step.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from memprof.errors import ScenarioError
from memprof.models import OwnWorld
from memprof.populations import ENVIRONMENT, EVERYBODY, begin_random
from memprof.populations.alike import alike
from memprof.populations.lone_world import LoneWorld
from memprof.populations.rewards import RewardSum
from memprof.populations.seeds import AfterOwn, AfterWorlds, Onwards
from memprof.storage.constants import ChangedArray, same_bits
from memprof.storage.records import Numbered
from memprof.upstream.keywords import JAX_NAMES
from memprof.values.population import WHOLE, Share

# Of a column for each agent, so many at once.
_MOST_NUMBERS = 2**16


class GenerativeProcess:
    """The world that a model describes, in the words of either backend: states from D and B,
    observations from A."""

    __slots__ = ("A", "B", "D", "_observed", "_shape", "_transition")

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.A: list[Any] = list(arguments["A"])
        self.B: list[Any] = list(arguments["B"])
        prior = arguments.get("D")
        self.D: list[np.ndarray] | None = None if prior is None else list(prior)
        self._shape = tuple(b.shape[0] for b in self.B)
        factors = range(len(self.B))
        self._observed = _either(arguments, "A_factor_list") or [list(factors)] * len(self.A)
        self._transition = _either(arguments, "B_factor_list") or [[f] for f in factors]

    def __eq__(self, other: object) -> bool:
        """Whether both describe the same world, bit by bit."""
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

    def first(self) -> int:
        """A state drawn from D, or evenly without one; states of all factors as one number."""
        if self.D is None:
            return self._number(int(np.random.randint(size)) for size in self._shape)
        return self._number(map(_draw, self.D))

    def next(self, state: int, action: Sequence[float]) -> int:
        """The state after `action`, which holds one control per factor."""
        states = np.unravel_index(state, self._shape)
        return self._number(
            _draw(_column(b, (*(int(states[f]) for f in factors), int(control))))
            for b, factors, control in zip(self.B, self._transition, action, strict=True)
        )

    def observe(self, state: int) -> tuple[int, ...]:
        """An observation per modality."""
        states = np.unravel_index(state, self._shape)
        return tuple(
            _draw(_column(a, tuple(int(states[f]) for f in factors)))
            for a, factors in zip(self.A, self._observed, strict=True)
        )

    @property
    def at_once(self) -> int:
        """Of how many agents `live` takes little memory; 0 where they have to live one by one."""
        arrays = [*self.A, *self.B, *(self.D or [])]
        if self.D is None or not all(type(each) is np.ndarray for each in arrays):
            return 0
        conditions = [len(factors) for factors in self._observed]
        conditions += [len(factors) + 1 for factors in self._transition] + [0] * len(self.D)
        if [each.ndim - 1 for each in arrays] != conditions:
            return 0
        return max(1, _MOST_NUMBERS // max(map(len, arrays)))

    def live(
        self, states: np.ndarray, actions: np.ndarray | None, drawn: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """What `first` or `next`, and then `observe`, come to for several agents at once: their
        states and, per modality, what they observe; of shape (agents,) each. `drawn` is what
        `np.random` draws for each: a number of each factor and modality, [numbers, agents]."""
        chances = iter(drawn)
        if actions is None:
            assert self.D is not None
            columns = [np.broadcast_to(d[:, None], (len(d), len(states))) for d in self.D]
        else:
            was = np.unravel_index(states, self._shape)
            controls = actions.astype(int).T
            columns = [
                b[(slice(None), *(was[f] for f in factors), control)]
                for b, factors, control in zip(self.B, self._transition, controls, strict=True)
            ]
        found = list(map(_drawn_all, columns, chances))
        observed = [
            _drawn_all(a[(slice(None), *(found[f] for f in factors))], next(chances))
            for a, factors in zip(self.A, self._observed, strict=True)
        ]
        return np.ravel_multi_index(tuple(found), self._shape), observed

    def _number(self, states: Iterable[int]) -> int:
        return int(np.ravel_multi_index(tuple(states), self._shape))


class Environments:
    """The environments of a population's agents: the factory's own, or generative processes.

    Agents whose models are equal share one process, and the states of all are one array, so that an
    environment costs an agent next to nothing. `kept_as` is the form in which a process keeps an
    array, given the same array of the first process; `share` says by which numbers others know the
    agents.
    """

    def __init__(self, kept_as: Callable[[Any, Any], Any], share: Share = WHOLE) -> None:
        self._kept_as, self._share = kept_as, share
        self._first: GenerativeProcess | None = None
        self._env: Any = None
        self._worlds = Numbered()
        self._states = array("q")  # from the first world that is not forgotten
        self.rewards = RewardSum()
        self.begun: set[int] = set()
        """Agents whose world has ended an episode: what they perceived last is the first of the
        next, and nobody has told them yet."""

    def add(self, own: Any, arguments: dict[str, Any]) -> None:
        """One more agent's environment, `own` or sampled from the model in `arguments`."""
        self._states.append(0)
        if isinstance(own, OwnWorld):
            own = self._stepped(own)
        if own is not None:
            outcomes = [array.shape[0] for array in arguments["A"]]
            controls = [array.shape[-1] for array in arguments["B"]]
            self._worlds.append(LoneWorld(own, outcomes, controls))
            return
        process = GenerativeProcess(arguments)
        for name in ("A", "B"):
            arrays = getattr(process, name)
            firsts = getattr(self._first, name) if self._first else arrays
            if len(arrays) == len(firsts):
                setattr(process, name, list(map(self._kept_as, arrays, firsts)))
        if self._first is None:
            self._first = process
        self._worlds.append(self._first if self._first == process else process)

    def _stepped(self, own: OwnWorld) -> Any:
        """A world of PyMDP's kind, that agents step in: those that are equal are held once, as in
        PyMDP's rollout, and compiled once."""
        from memprof.upstream.jax_world import Stepped

        for name in ("initial_carry", "policy_search"):
            if getattr(own, name) is not None:
                raise ScenarioError(
                    "model.callable",
                    f"{name} is for PyMDP's rollout alone. Set backend: jax and loop: rollout, or "
                    "leave it out",
                )
        if not alike(own.env, self._env):
            self._env = own.env
        return Stepped(self._env, own.env_params)

    def leave(self, agent: int) -> None:
        """Let go of an agent's environment. The first process stays for as long as there is any
        agent: others may share it, or keep arrays as differences from its."""
        start = self._worlds.start
        del self._worlds[agent]
        del self._states[: self._worlds.start - start]
        if self._worlds.removed == len(self._worlds):
            self._first = self._env = None

    def is_new(self, agent: int) -> bool:
        """Whether an agent came later than others and has its first turn now: none, in worlds of
        their own."""
        return False

    def is_own(self, agent: int) -> bool:
        """Whether an agent's world is of the user's own code."""
        return isinstance(self._worlds[agent], LoneWorld)

    def observe(self, agent: int, action: Sequence[float] | None) -> Sequence[Any]:
        """What an agent perceives after `action`; the first time, without one."""
        world: GenerativeProcess | LoneWorld = self._worlds[agent]
        if isinstance(world, LoneWorld):
            try:
                seen = world.observe(action, self.rewards)
            except ScenarioError as error:
                problem = f"agent {self._share.index(agent)}: {error.problem}"
                raise ScenarioError(error.field, problem, detail=error.detail) from None
            if world.begins and action is not None:
                self.begun.add(agent)
            return seen
        place = agent - self._worlds.start
        state = world.first() if action is None else world.next(self._states[place], action)
        self._states[place] = state
        return world.observe(state)

    def draws(self, agents: range) -> int | None:
        """How many numbers a world of these draws from `np.random` at every step, where that is
        known and the same for all; else None."""
        process = self._worlds[agents.start]
        if not isinstance(process, GenerativeProcess) or not process.at_once:
            return None
        in_common = all(self._worlds[agent] is process for agent in agents)
        return len(process.B) + len(process.A) if in_common else None

    def observe_all(
        self, agents: range, actions: np.ndarray | None, seeds: Sequence[int]
    ) -> list[Any]:
        """What these agents perceive, a sequence per modality, each with `np.random` seeded by its
        own seed; `actions` has a row each, and the first time there are none."""
        if (draws := self.draws(agents)) is not None:
            return self._observed_at_once(agents, actions, AfterWorlds(seeds, draws).uniform)
        seen = []
        for row, agent in enumerate(agents):
            begin_random(seeds[row])
            seen.append(self.observe(agent, None if actions is None else actions[row]))
            if agent in self.begun:
                raise ScenarioError(
                    "steps",
                    f"the world of agent {self._share.index(agent)} has ended before the "
                    "scenario's last step, and agents of this backend begin anew all at once; ask "
                    "for fewer steps, set episodes: {steps: ...} to so many as no world ends in, "
                    "or return a world that does not end",
                )
        return list(zip(*seen, strict=True))

    def observe_each(
        self, agents: range, actions: Sequence[Any], seeds: Sequence[int]
    ) -> tuple[Sequence[Any] | np.ndarray, Onwards]:
        """What each of these agents perceives after its action, with `np.random` seeded by its own
        seed; and where that goes on for the agents themselves."""
        draws = self.draws(agents)
        acted = [each is not None for each in actions]
        if draws is not None and (all(acted) or not any(acted)):
            together = np.stack(actions) if any(acted) else None
            after = AfterWorlds(seeds, draws)
            seen = self._observed_at_once(agents, together, after.uniform)
            return np.stack(seen, axis=1), after
        observed, left = [], AfterOwn()
        for agent, action, seed in zip(agents, actions, seeds, strict=True):
            begin_random(seed)
            observed.append(self.observe(agent, action))
            left.left_off()
        return observed, left

    def _observed_at_once(
        self, agents: range, actions: np.ndarray | None, chances: np.ndarray
    ) -> list[Any]:
        process = self._worlds[agents.start]
        states = np.frombuffer(self._states, np.int64)[agents.start - self._worlds.start :]
        parts = []
        for first in range(0, len(agents), process.at_once):
            part = slice(first, min(len(agents), first + process.at_once))
            acted = None if actions is None else actions[part]
            states[part], observed = process.live(states[part], acted, chances[:, part])
            parts.append(observed)
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """What the environments hold, as a population says it."""
        for agent, world in self._worlds.items():
            if world is not self._first:
                yield agent, ENVIRONMENT, world
            if isinstance(world, LoneWorld):
                yield agent, ENVIRONMENT, world.own
        yield EVERYBODY, ENVIRONMENT, [self._first, self._states]


def _column(array: Any, index: tuple[int, ...]) -> np.ndarray:
    column: np.ndarray = (
        array.column(index) if isinstance(array, ChangedArray) else array[(slice(None), *index)]
    )
    return column


def _either(arguments: dict[str, Any], name: str) -> Any:
    """What is given by the NumPy agent's name, or by JAX's."""
    found = arguments.get(name)
    return arguments.get(JAX_NAMES[name]) if found is None else found


def _draw(probabilities: np.ndarray) -> int:
    return _drawn(probabilities, np.random.random())


def _drawn(probabilities: np.ndarray, chance: float) -> int:
    cumulative = np.cumsum(probabilities)
    drawn = np.searchsorted(cumulative, chance * cumulative[-1], side="right")
    return min(int(drawn), len(cumulative) - 1)


def _drawn_all(columns: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """`_drawn` of each column, to the bit."""
    if not (columns >= 0).all():  # they are not sorted, once summed
        each = zip(columns.T, chances.tolist(), strict=True)
        return np.array([_drawn(column, chance) for column, chance in each])
    cumulative = np.cumsum(columns, axis=0)
    kind = (1.0 * cumulative[-1, 0]).dtype  # a number's product, not an array's
    reached = chances.astype(kind) * cumulative[-1].astype(kind)
    found: np.ndarray = np.minimum((cumulative <= reached).sum(axis=0), len(cumulative) - 1)
    return found


def _equal(left: list[Any], right: list[Any]) -> bool:
    """Whether arrays, in the form in which they are kept, are equal one by one."""
    return len(left) == len(right) and all(map(_alike, left, right))


def _alike(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return same_bits(right, left)
    return isinstance(left, ChangedArray) and left == right
