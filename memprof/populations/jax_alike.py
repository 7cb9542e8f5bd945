"""Whether JAX agents can be in one population: what they have in common, and what each has a row
of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_structure

from memprof.errors import UsageError
from memprof.populations.alike import alike
from memprof.text import shown
from memprof.upstream.jax_agent import Agent, leaves_of, settings_of

_COMPARED_BYTES = 16 * 2**20


def check_rows(agent: Agent, size: int | None = None) -> None:
    """Check that each field has a row for each agent of its batch.

    Raises:
        UsageError: it names the field.
    """
    found = agent.batch_size
    if size is not None and found != size:
        raise UsageError(
            f"batch_size: expected an agent of batch_size={size}, found {found}; hand over the "
            "agents of a batch one by one, or the batch to optimize()"
        )
    for name in leaves_of(agent):
        for leaf in tree_leaves(getattr(agent, name)):
            numbers = hasattr(leaf, "dtype") and not _is_key(leaf)
            if not numbers or np.ndim(leaf) == 0 or len(leaf) != found:
                raise UsageError(
                    f"{name}: expected arrays of numbers with a row for each agent of the batch of "
                    f"{found}, found {shown(leaf)}; declare what belongs to all agents as "
                    "equinox.field(static=True), and give the rest a batch axis"
                )


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def check_like(mine: Agent, other: Agent, what: str) -> None:
    """Check that an agent runs the same program as those that are here.

    Raises:
        UsageError: it names the field; `what` says whose it is.
    """
    for name, one, another in _differences(mine, other):
        raise UsageError(
            f"{name}: expected {one} as in the first agent, found {another} in {what}; agents of "
            "one population run one program: give them the same setting, or make a population "
            "of each kind"
        )


def _differences(mine: Agent, other: Agent) -> Iterator[tuple[str, str, str]]:
    if type(mine) is not type(other):
        yield "class", _class(mine), _class(other)
    settings, others = settings_of(mine), settings_of(other)
    if settings is not others and not _same(settings, others):
        for name in (*settings, *(others.keys() - settings.keys())):
            one, another = settings.get(name), others.get(name)
            if not alike(one, another):
                yield name, shown(one), shown(another)
    for name in leaves_of(mine):
        one, another = getattr(mine, name), getattr(other, name, None)
        if not same_structure(one, another):
            yield name, _form(one), _form(another)
        for i, (leaf, like) in enumerate(zip(tree_leaves(one), tree_leaves(another), strict=True)):
            if leaf.shape[1:] != like.shape[1:] or leaf.dtype != like.dtype:
                place = f"{name}[{i}]" if isinstance(one, list) else name
                yield place, _array(leaf), _array(like)


def _same(settings: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether they are equal by a quick look, which is wrong about nothing that is equal."""
    try:
        return bool(settings == others)
    except ValueError:  # arrays among them
        return False


def _class(agent: Any) -> str:
    return f"{type(agent).__module__}.{type(agent).__qualname__}"


def _form(value: Any) -> str:
    if value is None:
        return "None"
    return f"{type(value).__name__} of {len(tree_leaves(value))} arrays"


def _array(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype).name} of shape {tuple(leaf.shape[1:])} per agent"


def same_structure(one: Any, another: Any) -> bool:
    """Whether trees have their arrays in the same places."""
    return bool(tree_structure(one) == tree_structure(another))  # type: ignore[operator]


def all_equal(rows: np.ndarray, like: np.ndarray) -> bool:
    """Whether all rows are the one of `like`, shape (1, ...), by their bits."""
    step = max(1, _COMPARED_BYTES // max(1, like.nbytes))
    wanted = _bits(like)
    return all(
        bool((_bits(rows[start : start + step]) == wanted).all())
        for start in range(0, len(rows), step)
    )


def _bits(rows: np.ndarray) -> np.ndarray:
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    return flat.view(np.uint8)
