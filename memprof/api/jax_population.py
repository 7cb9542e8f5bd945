"""A population of the user's own JAX agents, at rest on the host and stepped in chunks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from memprof.api.jax_checks import check_agent, check_keys, check_rows, check_turns
from memprof.api.memory import PopulationMemory
from memprof.errors import AgentActive, UsageError, in_use
from memprof.instruments import walker
from memprof.populations import jax_store
from memprof.populations.jax_programs import UserStep
from memprof.populations.jax_resting import Resting
from memprof.populations.jax_rolling import Rollout, roll
from memprof.populations.jax_store import Stored
from memprof.populations.jax_turns import Steps, keys_of, take_turns
from memprof.storage.numbering import Numbering, agents_due
from memprof.text import counted, format_size
from memprof.upstream.jax_agent import Agent, Mind
from memprof.upstream.jax_world import PolicySearch


class OptimizedJaxPopulation:
    """Agents of PyMDP's JAX backend at rest, without a batch: one template agent, and of each agent
    its beliefs, its last action, what it has learned and what differs from the template, as arrays
    on the host or in files.

    `act`, `map` and `rollout` wake them in chunks of one size, for which JAX compiles once; they
    run on all devices of the process. What all agents have in common is not copied for each, so XLA
    multiplies matrices where PyMDP's batch multiplies a matrix of its own for each agent. Actions
    are those of PyMDP's batch with the same keys; beliefs may differ in the last places, as those
    of batches of two sizes do, and that decides between policies that are equally good.

    `add` and `remove` let agents come and go; an index is never reused. Results are in the order of
    the agents' indices. Not for several threads at once.
    """

    def __init__(
        self, resting: Resting, numbering: Numbering, stored: Stored | None = None
    ) -> None:
        """Use `optimize` or `reopen`."""
        self._resting, self._numbering, self._stored = resting, numbering, stored
        self._active: dict[int, None] = {}
        self._steps = Steps()
        self._closed = False

    def __len__(self) -> int:
        """How many agents there are, without those that were removed."""
        self._check_open()
        return len(self._resting)

    def __repr__(self) -> str:
        if self._closed:
            return "<memprof population of JAX agents, closed>"
        rows = self._resting.rows
        return (
            f"<memprof population of {counted(len(self), 'JAX agent')}, each with "
            f"{format_size(rows.row_bytes)} of its own, in chunks of {rows.size}>"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "agents of a population are stored; step them together with population.act() or "
            "population.map(), or use one at a time: for index in population.indices(): with "
            "population.activate(index) as agent: ..."
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a population cannot be pickled; population.copy() has the same agents, and "
            "population.save(folder) keeps them in files, which memprof.reopen(folder) opens"
        )

    def indices(self) -> np.ndarray:
        """The indices of all agents that are here, in order."""
        self._check_open()
        return self._numbering.indices()

    @property
    def given(self) -> int:
        """How many indices were ever given, which is the next one."""
        self._check_open()
        return self._numbering.given

    @property
    def own(self) -> tuple[str, ...]:
        """The attributes of which each agent has its own; all others are equal for all."""
        return self._resting.own

    def common(self) -> list[np.ndarray]:
        """The large arrays that all have in common."""
        return self._resting.common()

    def use(self, shared: Callable[[np.ndarray], np.ndarray | None]) -> None:
        """Have these where others have them, too, as `Resting.use` says."""
        self._resting.use(shared)

    # Agents come and go.

    def add(self, agent: Agent) -> int:
        """Take over one more agent, of `batch_size=1`. Returns its index.

        Raises:
            UsageError: it is no such agent, or differs from the others in what a program has in
                common; the message names the field.
        """
        self._check_open()
        check_agent(agent, size=1)
        (index,) = self._numbering.add(self._resting.take(agent, "the agent to add"))
        return index

    def remove(self, index: int) -> None:
        """Remove an agent for good. Its index is not reused.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: it is in use.
        """
        self._check_idle([index])
        last = self._resting.rows.drop(self._numbering.row(index))
        self._numbering.remove(index, last)

    @contextmanager
    def activate(self, index: int) -> Iterator[Agent]:
        """The agent with this index, of `batch_size=1`; what is in it when the block ends is stored
        again, such as arrays that the block has put into its lists.

        PyMDP's methods that learn return another agent. Hand that to `replace`.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: it is active already.
            UsageError: what the block left is not like the other agents; those are unchanged.
        """
        self._check_idle([index])
        agent = self._resting.agents(np.array([self._numbering.row(index)]))
        self._active[index] = None
        try:
            yield agent
        finally:
            replaced = index not in self._active  # by the block
            self._active.pop(index, None)
            if not replaced:
                self._resting.replace(self._numbering.row(index), agent, f"agent {index}")

    def replace(self, index: int, agent: Agent) -> None:
        """Store this agent, of `batch_size=1`, in the place of the one with the index; inside the
        block of `activate`, in the place of what the block got.

        Raises:
            IndexError: there is no such agent, or no longer.
            UsageError: it is not like the others; nothing is stored.
        """
        self._check_open()
        row = self._numbering.row(index)
        check_agent(agent, size=1)
        self._resting.replace(row, agent, f"the agent to store as {index}")
        self._active.pop(index, None)

    # Agents live.

    def act(
        self,
        observations: Sequence[Any],
        key: Any = None,
        indices: Sequence[int] | None = None,
        *,
        keys: Any = None,
    ) -> tuple[np.ndarray, Any]:
        """One turn of every agent, in the order of PyMDP's `infer_and_plan`: it perceives, plans,
        learns (as `learn_A`, `learn_B` and `learning_mode` of the agent say, A from its first
        observation on, as in PyMDP's `rollout`) and acts. The prior is D before an agent's first
        action, and follows from its last belief and action afterwards.

        Chance is that of the example in PyMDP's `Agent` for a batch of as many: `keys =
        jax.random.split(key, agents + 1)`; `keys[1:]` go to `sample_action`, one each, and
        `keys[0]` is the next key.

        Args:
            observations: per modality, what `infer_states` takes of a batch: indices of shape
                (agents, 1), or distributions of shape (agents, 1, outcomes) for agents with
                `categorical_obs`.
            key: a key of JAX.
            indices: the agents whose turn it is; all if omitted. Observations are in this order.
            keys: in place of `key`, one for each agent whose turn it is, in their order. What an
                agent does then does not depend on who else acts: with its key of `keys[1:]` above,
                it does what it does among all. What it believes has the bits that it has there
                where chunks are as large, and may differ in the last places where they are not.

        Returns:
            Their actions, shape (agents, control factors), and the next key; None for `keys`.

        Raises:
            IndexError: there is no such agent, or no longer.
            AgentActive: an agent is in use.
            UsageError: observations are not of this form; agents infer over a window of past
                observations (mmp, vmp), or have `learn_D`, for which PyMDP has no update; there is
                no key, or `key` and `keys`.

        What else is raised comes with a note, if some agents have acted by then: how many.
        """
        rows = self._rows(indices)
        agent = self._resting.agent
        check_turns(agent, "act")
        observed = check_rows(
            "observations", observations, len(rows), modalities=agent.num_modalities
        )
        if (key is None) is (keys is None):
            found = "neither" if key is None else "both"
            raise UsageError(
                f"key: expected a key, or keys, one for each agent; found {found}; give one of them"
            )
        each, following = keys_of(key, len(rows)) if keys is None else (keys, None)
        each = check_keys(each, len(rows))
        return take_turns(self._resting, rows, observed, each), following

    def map(
        self,
        step: UserStep,
        observations: Any,
        keys: Any,
        indices: Sequence[int] | None = None,
    ) -> Any:
        """The user's own step of every agent: `step(agent, observation, key) -> (agent, result)`.
        It is traced and compiled once for all chunks, and again only if its observations have
        another form; hand over the same function every time.

        `step` gets a real agent of `batch_size=1`, its rows of the observations as a batch of one,
        and a key. What it changes of the agent is stored: all that it does not return as it got it.
        Beliefs are not the agent's in PyMDP: pass them in as observations, and out as results.

        Args:
            observations: arrays, or lists, tuples and dicts of arrays, of shape (agents, ...).
            keys: a key for each agent, such as `jax.random.split(key, agents)`.
            indices: the agents; all if omitted.

        Returns:
            The results as NumPy arrays of shape (agents, ...).

        Raises:
            IndexError, AgentActive: as for `act`.
            UsageError: there are not as many observations or keys as agents; `step` does not return
                the agent and a result; it changes the shape of an array of the agent.
        """
        rows = self._rows(indices)
        observed = check_rows("observations", observations, len(rows))
        keys = check_keys(keys, len(rows))
        return self._steps.run(self._resting, rows, step, observed, keys)

    def rollout(
        self,
        env: Any,
        steps: int,
        key: Any,
        *,
        keep: Collection[str] = ("action",),
        env_params: Any = None,
        policy_search: PolicySearch | None = None,
    ) -> Rollout:
        """PyMDP's `rollout(agent, env, steps - 1, key)` of all agents: each takes so many steps
        from the start of its world, from its D on. Agents keep what they learned, their last belief
        and action.

        Args:
            env: an `Env` of PyMDP.
            steps: of each agent; PyMDP's `num_timesteps` and one.
            key: a key of JAX, which is split as PyMDP's rollout splits it.
            keep: what to keep of every step, by PyMDP's names: `action`, `qs`, `qpi`, `neg_efe`,
                `empirical_prior`, `observation`, `env_state`; and of agents that learn `A`, `pA`,
                `B`, `pB`, which are kept as differences from step to step.
            env_params, policy_search: as PyMDP's rollout takes them; params of shape (agents, ...).

        Returns:
            What was kept by name, shape (agents, steps, ...), and the next `key`.

        Raises:
            AgentActive: an agent is in use.
            UsageError: there is nothing of that name to keep; agents are as for `act`, or smooth
                over past beliefs (ovf, exact) while they learn.
        """
        rows = self._rows(None)
        check_turns(self._resting.agent, "rollout")
        if not len(rows):
            raise UsageError("agents: rollout expected at least one, found none; add one")
        if type(steps) is not int or steps < 1:
            raise UsageError(f"steps: expected a whole number, 1 or more; found {steps!r}")
        if env_params is not None:
            env_params = check_rows("env_params", env_params, len(rows))
        return roll(self._resting, rows, env, steps, key, keep, env_params, policy_search)

    # What agents are.

    def beliefs(self, indices: Sequence[int] | None = None) -> list[np.ndarray]:
        """The last beliefs of agents that act, PyMDP's `qs`: per factor of shape (agents, 1,
        states). D of those who have not acted yet."""
        return self._mind(indices).qs

    def actions(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """Their last actions, shape (agents, control factors); -1 before the first."""
        found: np.ndarray = self._mind(indices).action
        return found

    def _mind(self, indices: Sequence[int] | None) -> Mind:
        rows = self._rows(indices)
        if self._resting.minded:
            return self._resting.mind(rows)
        first = Mind.first(self._resting.agents(rows))
        return Mind([np.asarray(q) for q in first.qs], np.asarray(first.action))

    def whole(self, indices: Sequence[int] | None = None) -> Agent:
        """All agents, or these, as PyMDP's batch, in the order of their indices. It takes the
        memory that a batch takes.

        Raises:
            IndexError, AgentActive: as for `act`.
        """
        return self._resting.agents(self._rows(indices))

    def memory(self) -> PopulationMemory:
        """The memory of agents at rest, and of the template. The process holds more: PyMDP and JAX
        with their compiled programs, and the chunk that is awake."""
        self._check_open()
        found = walker.walk(self._resting.holdings(), len(self))
        middle = sorted(found.resident)[len(found.resident) // 2] if found.resident else None
        return PopulationMemory(
            agents=len(self),
            rows=found.rows,
            typical_agent_bytes=middle,
            kept_whole={},
            not_replaced={},
            passes=("share", "template"),
            because="JAX agents of a program are held in one form",
            file_bytes=self._resting.rows.file_bytes,
        )

    # Files.

    def copy(self) -> OptimizedJaxPopulation:
        """The same agents once more, in memory, under the same indices; the two go on
        independently.

        Raises:
            AgentActive: an agent is in use.
        """
        self._rows(None)
        return OptimizedJaxPopulation(self._resting.copied(), self._numbering.copied())

    def save(self, folder: Path | str) -> None:
        """Keep all agents in a new or empty folder, for `memprof.reopen`. It is there as a whole,
        or not at all.

        Raises:
            StoreError: the folder cannot be used.
            UsageError: an agent is in use; or a setting cannot be kept in a file, such as a
                function that is not at the top of a module.
        """
        self._rows(None)
        jax_store.save(Path(folder), self._resting, self._numbering)

    def close(self) -> None:
        """Release all agents. A `store` keeps them as they are now; without this it is not whole,
        and `reopen` refuses it.

        Raises:
            UsageError: an agent is in use; or as for `save`, and the population is still open.
        """
        if self._closed:
            return
        if self._active:
            raise in_use([*self._active], "close the population")
        if self._stored is not None:
            self._stored.finish(self._resting, self._numbering)
            self._stored.close()
        self._resting.rows.clear()
        self._closed = True

    def _rows(self, indices: Sequence[int] | None) -> np.ndarray:
        """The rows of agents that are not in use."""
        self._check_open()
        due = None if indices is None else agents_due(indices)
        self._check_idle(self._active if due is None else due)
        return self._numbering.rows(due)

    def _check_idle(self, indices: Iterable[int]) -> None:
        self._check_open()
        for index in indices:
            if index in self._active:
                raise AgentActive(index)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the population is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
