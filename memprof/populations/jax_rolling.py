"""PyMDP's rollout of JAX agents at rest, chunk by chunk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import random as jr
from jax.tree_util import tree_map

from memprof.errors import UsageError, nearest
from memprof.optimise.jax import State
from memprof.populations.jax_account import bytes_of
from memprof.populations.jax_chunks import AWAKE_BYTES, even, padded
from memprof.populations.jax_learned import Learned
from memprof.populations.jax_programs import Gathered, Roll, over_chunks
from memprof.populations.jax_resting import Resting
from memprof.upstream.jax_agent import own_of
from memprof.upstream.jax_world import PolicySearch, World, rollout_keys


@partial(jax.jit, static_argnums=(1, 2))
def _keys(root: Any, agents: int, steps: int, some: Any) -> tuple[Any, tuple[Any, Any, Any], Any]:
    """The keys that PyMDP's rollout gives some of so many agents: the next root; those for the
    start of their worlds, shape (some, 2), for actions and for worlds, shape (some, steps, 2); and
    those for the search of policies. All agents' keys of one step exist at once, and no more."""
    keys = jr.split(root, agents + 1)
    root, for_steps, for_search = rollout_keys(keys[0], agents, steps, some)
    by_agent = [each.swapaxes(0, 1) for each in for_steps]
    return root, (keys[1:][some], *by_agent), for_search


class Rollout(Mapping[str, Any]):
    """What a rollout kept, by PyMDP's names: arrays of shape (agents, steps, ...), and `Learned`
    for what agents learned.

    Attributes:
        key: the next key, which PyMDP's rollout has in the carry that it returns.
    """

    def __init__(self, kept: Mapping[str, Any], key: Any) -> None:
        self._kept, self.key = dict(kept), key

    def __getitem__(self, name: str) -> Any:
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"<rollout that kept {', '.join(self) or 'nothing'}>"


def roll(
    resting: Resting,
    rows: np.ndarray,
    env: Any,
    steps: int,
    key: Any,
    keep: Collection[str],
    env_params: Any,
    policy_search: PolicySearch | None,
) -> Rollout:
    """So many steps of agents from the start of their worlds; what is to be kept.

    Raises:
        UsageError: there is nothing of that name to keep.
    """
    agent = resting.agent
    letters = [letter for letter in "AB" if getattr(agent, f"learn_{letter}")]
    learned = tuple(sorted(own_of(agent, (), letters))) if letters else ()
    resting.make_own(learned)
    resting.make_mindful()
    keep = frozenset((keep,) if isinstance(keep, str) else keep)
    program, world = Roll(keep), World.of(env, policy_search)
    size, _ = resting.width(resting.rows.size)
    _, keys, for_search = _keys.eval_shape(key, len(rows), steps, _first(len(rows), size))
    one = tree_map(_shape_of_first, (_leaves_of_first(resting), env_params, keys))
    template = resting.template(jax.local_devices()[0])
    each = _reported_bytes(program, (template, world, for_search, *one))

    def arguments(state: State, mine: Any) -> tuple[Any, ...]:
        params, some = mine
        return state.leaves, params, _keys(key, len(rows), steps, some)[1]

    size, _ = resting.width(even(len(rows), max(1, min(size, AWAKE_BYTES // max(1, each)))))
    root, keys, for_search = _keys(key, len(rows), steps, _first(len(rows), size))
    del keys
    taught = {name for letter in letters for name in (letter, f"p{letter}")} & keep
    differences = {name: Learned(getattr(agent, name), steps) for name in sorted(taught)}
    found = Gathered(len(rows))
    everybody = (env_params, np.arange(len(rows)))
    with found.counted():
        for place, some, (state, report) in over_chunks(
            resting, program, (world, for_search), rows, everybody, arguments, size
        ):
            for name, kept in differences.items():
                kept.add(report.pop(name), len(some))
            found.add(place, report)
            resting.put(some, state.mind, {name: state.leaves[name] for name in learned})
    return Rollout({**(found.result() or {}), **differences}, root)


def _first(agents: int, size: int) -> np.ndarray:
    """The first chunk of so many agents."""
    return padded(np.arange(min(agents, size)), size)


def _shape_of_first(rows: Any) -> Any:
    return jax.ShapeDtypeStruct(rows.shape[1:], rows.dtype)


def _leaves_of_first(resting: Resting) -> dict[str, Any]:
    return resting.state(resting.rows.take(np.array([0]))).leaves


def _reported_bytes(program: Roll, arguments: tuple[Any, ...]) -> int:
    """What is kept of one agent.

    Raises:
        UsageError: something is to be kept that there is not.
    """
    _, report = jax.eval_shape(program, *arguments)
    if unknown := sorted((program.keep or set()) - report.keys()):
        _, known = jax.eval_shape(Roll(None), *arguments)
        raise UsageError(
            f"keep: expected what PyMDP's rollout of these agents reports, found {unknown[0]!r}; "
            f"{nearest(unknown[0], known)}"
        )
    return bytes_of(report)
