"""What may be in a population."""

from __future__ import annotations

from typing import Any

from memprof.errors import UsageError
from memprof.storage.agent_class import is_stored
from memprof.upstream import is_jax_agent
from memprof.upstream.installed import agent_of
from memprof.upstream.numpy_agent import Agent


def check_agent(agent: Any) -> None:
    """Check that it is an agent of PyMDP's NumPy backend that is not stored anywhere."""
    if is_stored(agent):
        raise UsageError(
            "agents: this agent already belongs to this population or another one; is it listed "
            "twice?"
        )
    if is_jax_agent(agent):
        raise UsageError(
            f"agents: expected agents of the NumPy backend ({agent_of('numpy')}) as the first one, "
            f"found one of the JAX backend ({agent_of('jax')}); make a population of each"
        )
    if not isinstance(agent, Agent):
        raise UsageError(
            f"agents: expected PyMDP agents ({agent_of('numpy')}), found "
            f"{type(agent).__module__}.{type(agent).__qualname__}"
        )


def check_agent_class(kind: Any) -> None:
    """Check that it is a class of such agents."""
    if not isinstance(kind, type) or not issubclass(kind, Agent):
        raise UsageError(
            f"agent_class: expected the class of the agents ({agent_of('numpy')} or a subclass), "
            f"found {kind!r}"
        )
