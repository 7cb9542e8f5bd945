"""What a population of JAX agents takes, known from shapes alone: XLA's account of the compiled
program, and the sizes of arrays that are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from memprof.errors import NoAccount
from memprof.values.instruments import ProgramMemory


def shapes_of(tree: Any) -> Any:
    """The same with shapes in place of arrays: nothing keeps those."""
    return tree_map(_shape_of, tree)


def _shape_of(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf


def bytes_of(tree: Any) -> int:
    """Of all arrays, or of what has their shapes."""
    arrays = [leaf for leaf in tree_leaves(tree) if hasattr(leaf, "shape")]
    return sum(int(np.prod(a.shape)) * int(np.dtype(a.dtype).itemsize) for a in arrays)


def program_memory(
    program: Callable[..., Any], arguments: Sequence[Any], agents: int, steps: int
) -> ProgramMemory:
    """XLA's account of a call of a jitted function, which is compiled and not run.

    Args:
        agents, steps: that live in it.

    Raises:
        NoAccount: XLA gives none.
    """
    lowered: Any = program
    found = lowered.lower(*arguments).compile().memory_analysis()
    if found is None:
        raise NoAccount(
            f"XLA does not say how much memory a program takes on {jax.default_backend()}; measure "
            "it without --predict"
        )
    return ProgramMemory(
        agents=agents,
        steps=steps,
        argument_bytes=found.argument_size_in_bytes,
        output_bytes=found.output_size_in_bytes,
        temporary_bytes=found.temp_size_in_bytes,
        alias_bytes=found.alias_size_in_bytes,
        code_bytes=found.generated_code_size_in_bytes,
    )
