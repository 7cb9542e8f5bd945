"""What a traced function passes on as it got it, through jitted functions and loops inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

_CALLS = ("jit", "pjit", "closed_call")


def passed_on(function: Callable[..., Any], *arguments: Any) -> list[int | None]:
    """Of each array that the function returns, which array of its arguments it is, unchanged
    whatever its values; None if it is another, or that cannot be told."""
    return _sources(jax.make_jaxpr(function)(*arguments).jaxpr)


def _sources(jaxpr: Any) -> list[int | None]:
    made = {out: (eqn, i) for eqn in jaxpr.eqns for i, out in enumerate(eqn.outvars)}
    given = {var: i for i, var in enumerate(jaxpr.invars)}

    def source(var: Any) -> int | None:
        while var is not None and not hasattr(var, "val"):  # else a constant
            if var in given:
                return given[var]
            var = _through(*made[var]) if var in made else None
        return None

    return [source(var) for var in jaxpr.outvars]


def _through(eqn: Any, output: int) -> Any:
    """What an operation returns unchanged as this output; None for what it computes."""
    name, params = eqn.primitive.name, eqn.params
    if name in _CALLS:
        inner = _sources(params["jaxpr"].jaxpr)[output]
        return None if inner is None else eqn.invars[inner]
    if name == "scan" and output < params["num_carry"]:
        place = params["num_consts"] + output
        same = _sources(params["jaxpr"].jaxpr)[output] == place
        return eqn.invars[place] if same else None
    return None
