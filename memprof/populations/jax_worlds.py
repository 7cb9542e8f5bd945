"""The worlds of a population of JAX agents under PyMDP's rollout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map, tree_structure

from memprof.errors import ScenarioError, nearest
from memprof.models import GenerativeModel, OwnWorld
from memprof.populations import ENVIRONMENT
from memprof.populations.alike import alike
from memprof.populations.jax_models import Models
from memprof.upstream.jax_world import World, one_agents

_CARRIED = ("qs", "action", "observation", "env_state")


class Worlds:
    """What the agents of one population live in.

    Attributes:
        world: what all have in common.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._params: list[Any] = []  # an agent each, where they differ
        self._carries: list[dict[str, Any]] = []

    def params(self, agents: Sequence[int]) -> Any:
        """`env_params` of these agents, a row each; None without any."""
        if self._params:
            return _stacked([self._params[agent] for agent in agents])
        one = self.world.params
        return None if one is None else tree_map(lambda x: _copies(x, len(agents)), one)

    def own_params(self, agents: Sequence[int]) -> Any:
        """The same where they differ from agent to agent; else None."""
        return self.params(agents) if self._params else None

    def carry(self, agents: Sequence[int]) -> dict[str, Any]:
        """What these agents' `initial_carry` says, a row each."""
        return _joined([self._carries[agent] for agent in agents]) if self._carries else {}

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """What agents have of their own, as a population says it."""
        for own in (self._params, self._carries):
            yield from ((agent, ENVIRONMENT, each) for agent, each in enumerate(own))

    @classmethod
    def of_model(cls, models: Models, first: GenerativeModel) -> Worlds:
        """The world that PyMDP samples from the model's A, B and D."""
        model = {**models.world, **(first.world or {})}
        prior = model.get("D") or [np.full(b.shape[0], 1 / b.shape[0]) for b in model["B"]]
        A, B, D = (list(map(jnp.asarray, arrays)) for arrays in (model["A"], model["B"], prior))
        return cls(World((A, B, D)))

    @classmethod
    def of_agents(cls, own: Sequence[OwnWorld]) -> Worlds:
        """Worlds of the user's: one `Env` for all agents, and what each has of its own.

        Raises:
            ScenarioError: agents differ in what a batch has in common.
        """
        first = own[0]
        for agent, each in enumerate(own):
            if not alike(each.env, first.env):
                raise _differs(agent, "env", "put what differs into env_params")
            if not alike(each.policy_search, first.policy_search):
                raise _differs(agent, "policy_search", "define it once, outside the factory")
            for name in ("env_params", "initial_carry"):
                if _form(getattr(each, name)) != _form(getattr(first, name)):
                    raise _differs(agent, name, "give every agent arrays of one shape")
        params = [_of_one(each, agent) for agent, each in enumerate(own)]
        same = all(alike(each, params[0]) for each in params)
        found = cls(World.of(first.env, first.policy_search, params[0] if same else None))
        found._params = [] if same else params
        if first.initial_carry is not None:
            found._carries = [_checked(each.initial_carry or {}, n) for n, each in enumerate(own)]
        return found


def _of_one(own: OwnWorld, agent: int) -> Any:
    try:
        return one_agents(own.env_params, own.env)
    except ValueError as error:
        raise ScenarioError(
            "model.callable",
            f"env_params of agent {agent} are {error}, since memprof makes the batch",
        ) from None


def _checked(carry: dict[str, Any], agent: int) -> dict[str, Any]:
    for name, value in carry.items():
        if name not in _CARRIED:
            raise ScenarioError(
                "model.callable",
                f"initial_carry of agent {agent} has {name!r}; {nearest(name, _CARRIED)}",
            )
        if {np.shape(leaf)[:1] for leaf in tree_leaves(value)} != {(1,)}:
            raise ScenarioError(
                "model.callable",
                f"initial_carry of agent {agent}: expected {name} of a batch of one, found shapes "
                f"{[np.shape(leaf) for leaf in tree_leaves(value)]}",
            )
    return carry


def _differs(agent: int, name: str, remedy: str) -> ScenarioError:
    return ScenarioError(
        "model.callable",
        f"{name} of agent {agent} differs from that of agent 0; PyMDP's rollout has one for the "
        f"whole batch: {remedy}",
    )


def _form(tree: Any) -> Any:
    return tree_structure(tree), [np.shape(leaf) for leaf in tree_leaves(tree)]


def _stacked(trees: Sequence[Any]) -> Any:
    return tree_map(lambda *leaves: jnp.stack(leaves), *trees)


def _joined(trees: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = tree_map(lambda *leaves: jnp.concatenate(leaves), *trees)
    return found


def _copies(array: Any, agents: int) -> Any:
    return jnp.broadcast_to(array, (agents, *jnp.shape(array)))
