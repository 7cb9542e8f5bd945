"""PyMDP's worlds, and its rollout of JAX agents in them; importing this imports JAX and PyMDP."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax import random as jr
from jax.tree_util import tree_leaves, tree_map, tree_structure

from memprof.upstream.jax_agent import Acted, Agent, Mind, plan_and_act

PolicySearch = Callable[[Agent, list[Any], Any], tuple[Any, dict[str, Any]]]


class _Fixed:
    """Something of the user's that a program is compiled for, known by what it is."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fixed) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("model", "params"),
    meta_fields=("_own", "_search"),
)
@dataclass(frozen=True)
class World:
    """What agents live in under PyMDP's `rollout`.

    Attributes:
        model: A, B and D, without batch axes, that PyMDP samples from; None for an `Env` of the
            user's own.
        params: its `env_params` for one agent, where they are the same for all.
    """

    model: tuple[list[Any], list[Any], list[Any]] | None = None
    params: Any = None
    _own: _Fixed | None = None
    _search: _Fixed | None = None

    @classmethod
    def of(cls, env: Any, search: PolicySearch | None, params: Any = None) -> World:
        """A user's own `Env`, and `policy_search`."""
        return cls(None, params, _Fixed(env), None if search is None else _Fixed(search))

    def env(self, agent: Agent) -> Any:
        """The environment, for agents with these dependencies."""
        if self._own is not None:
            return self._own.value
        from pymdp.envs.env import PymdpEnv  # takes 400 MB, most of it pictures of a mouse

        assert self.model is not None
        return PymdpEnv(
            *self.model,
            A_dependencies=agent.A_dependencies,
            B_dependencies=agent.B_dependencies,
            categorical_obs=agent.categorical_obs,
        )

    @property
    def search(self) -> PolicySearch | None:
        """The user's `policy_search`; None for PyMDP's own."""
        return None if self._search is None else self._search.value

    def holdings(self) -> list[Any]:
        """What it keeps in memory."""
        own = () if self._own is None else (self._own.value,)
        return [self.model, self.params, *own, self.search]


def rollout(
    agent: Agent, world: World, params: Any, steps: int, rng: Any, carry: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """PyMDP's `rollout` of a batch, with `env_params` for all its agents: the carry after it, and
    all that it reports, arrays of shape (agents, steps, ...)."""
    from pymdp.envs.rollout import rollout

    found: tuple[dict[str, Any], dict[str, Any]] = rollout(
        agent,
        world.env(agent),
        steps - 1,
        rng,
        initial_carry=carry,
        policy_search=world.search,
        env_params=params,
    )
    return found


def acted(report: dict[str, Any]) -> Acted:
    """What agents believed and did, of what a rollout reports."""
    return Acted([q[:, :, None] for q in report["qs"]], report["qpi"], report["action"])


def rollout_keys(
    rng: Any, agents: int, steps: int, some: Any = None
) -> tuple[Any, tuple[Any, Any], Any]:
    """The keys that PyMDP's `rollout` gives a batch of `agents`: the next root; those for actions
    and for worlds, each of shape (steps, agents, 2), or of `some` of the agents alone; and those
    for the search of policies, of shape (steps, 2), which the batch has in common."""

    def of_agents(keys: Any) -> Any:
        return keys if some is None else keys[some]

    def step(rng: Any, _: None) -> tuple[Any, tuple[Any, Any, Any]]:
        keys = jr.split(rng, agents + 2)
        for_action, for_search = jr.split(keys[1])
        for_actions = jr.split(for_action, agents + 1)[1:]
        return keys[0], (of_agents(for_actions), of_agents(keys[2:]), for_search)

    root, (for_actions, for_worlds, for_search) = lax.scan(step, rng, None, length=steps)
    return root, (for_actions, for_worlds), for_search


def roll_alone(
    agent: Agent,
    world: World,
    params: Any,
    mind: Mind,
    carried: Any,
    keys: Any,
    keep: Collection[str] | None = None,
) -> tuple[Agent, Mind, Any, dict[str, Any]]:
    """PyMDP's `rollout` for an agent of `batch_size=1`, and what it reports, without a batch axis.

    Args:
        params: its `env_params`.
        carried: its observation and the state of its world.
        keys: those for its action, its world and its search, a row per step.
        keep: what to report; all that PyMDP does if omitted.
    """
    from pymdp.envs.rollout import default_policy_search

    env, search = world.env(agent), world.search or default_policy_search

    def step(carry: Any, keys: Any) -> tuple[Any, dict[str, Any]]:
        agent, mind, (observation, place) = carry
        for_action, for_world, for_search = keys
        agent, mind, acted, more = plan_and_act(
            agent,
            mind,
            tree_map(_batched, observation),
            for_action[None],
            lambda agent, qs: search(agent, qs, for_search),
        )
        report = {"qs": [q[:, -1] for q in acted.qs], "action": acted.action, "qpi": acted.q_pi}
        report |= more
        for letter in ("A", "B"):
            if getattr(agent, f"learn_{letter}"):
                report |= {name: getattr(agent, name) for name in (letter, f"p{letter}")}
        report = {
            **tree_map(lambda x: x[0], report),
            "observation": observation,
            "env_state": place,
        }
        after = env.step(for_world, place, acted.action[0], env_params=params)
        needed = {*report} if keep is None else {*keep, *(_FOR_LEARNING if offline else ())}
        return (agent, mind, after), {name: report[name] for name in report if name in needed}

    offline = agent.learning_mode == "offline"
    (agent, mind, carried), report = lax.scan(step, (agent, mind, carried), keys)
    kept = {name: report[name] for name in report if keep is None or name in keep}
    return _learn_offline(agent, report), mind, carried, kept


_FOR_LEARNING = ("observation", "qs", "action")


def _learn_offline(agent: Agent, report: dict[str, Any]) -> Agent:
    """A and B, from all steps of one agent's rollout at its end, as PyMDP's rollout does."""
    if agent.learning_mode != "offline":
        return agent

    def of_batch(seen: Any) -> Any:
        if agent.categorical_obs:
            return seen[None, :, 0] if seen.ndim >= 3 and seen.shape[1] == 1 else seen[None]
        return seen[None, ..., 0] if seen.ndim >= 2 and seen.shape[-1] == 1 else seen[None]

    seen, qs, actions = tree_map(of_batch, report["observation"]), report["qs"], report["action"]
    return agent.infer_parameters(tree_map(_batched, qs), seen, _batched(actions))


def _batched(array: Any) -> Any:
    return array[None]


class Stepped:
    """A PyMDP `Env` as the environment of one agent that steps: `reset()`, `step(action)`.

    Its chance comes from `np.random`, like that of every environment.
    """

    def __init__(self, env: Any, params: Any) -> None:
        self._env, self._params = env, one_agents(params, env)
        self._state: Any = None

    def __repr__(self) -> str:
        return type(self._env).__name__

    def reset(self) -> list[Any]:
        """The first observation, per modality."""
        observation, self._state = self._env.reset(_key(), env_params=self._params)
        found: list[Any] = observation
        return found

    def step(self, action: Sequence[float]) -> list[Any]:
        """The observation after an action, per modality."""
        observation, self._state = self._env.step(
            _key(), self._state, jnp.asarray(action, jnp.int32), env_params=self._params
        )
        found: list[Any] = observation
        return found


def _key() -> Any:
    return jr.PRNGKey(np.random.randint(2**31))


def one_agents(params: Any, env: Any) -> Any:
    """`env_params` of one agent, from those of a batch of one, or from those that `make` gives.

    Raises:
        ValueError: they are of a batch of more.
    """
    if params is None:
        return None
    lengths = {np.shape(leaf)[:1] for leaf in tree_leaves(params)}
    if not _have_batch_axis(params, env):
        return params
    if lengths != {(1,)}:
        (most,) = max(lengths)
        raise ValueError(f"of a batch of {most}; expected those of one agent")
    return tree_map(lambda leaf: jnp.asarray(leaf)[0], params)


def _have_batch_axis(params: Any, env: Any) -> bool:
    """Whether they have one more axis than the environment's own, where these tell; else, whether
    all could be a batch of one."""
    own = {name: getattr(env, name, None) for name in ("A", "B", "D")}
    if bool(tree_structure(own) == tree_structure(params)):  # type: ignore[operator]
        pairs = zip(tree_leaves(params), tree_leaves(own), strict=True)
        return all(np.ndim(leaf) == np.ndim(like) + 1 for leaf, like in pairs)
    return {np.shape(leaf)[:1] for leaf in tree_leaves(params)} == {(1,)}
