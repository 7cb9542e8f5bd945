"""Agents that the user's own code builds: what contradicts them, and why they fail."""

from __future__ import annotations

import traceback
from typing import Any

from memprof.errors import ScenarioError
from memprof.populations.base import model_field
from memprof.spec import PopulationSpec
from memprof.text import raised

READ_ONLY = (
    "agents of a population share the arrays of their models, and large ones are lent, so "
    "nobody may write into one. Give the agent its own first, agent.C[0] = agent.C[0].copy(); or "
    "agent.C = agent.C.copy(), where agents have the container in common"
)
"""What to do about a write that NumPy has refused."""


def check_ready(spec: PopulationSpec, agent: Any) -> None:
    """Check that the scenario asks for nothing that would have to be known before it was built.

    Raises:
        ScenarioError: at the field that contradicts a ready agent.
    """
    made = f"{spec.model['callable']} returned a ready agent"
    if spec.agent:
        raise ScenarioError(
            "agent",
            f"{made}, for which keyword arguments come too late; found {sorted(spec.agent)}. Leave "
            "agent out, and give them to the agent where it is built",
        )
    if not spec.private:
        raise ScenarioError(
            "model.private",
            f"false hands all agents the same keyword arguments, and {made}; leave it out",
        )
    for letter in spec.learning:
        if getattr(agent, f"p{letter}", None) is None:
            raise ScenarioError(
                "learning",
                f"{letter} cannot be learned: {made} without p{letter}. Give it one where it is "
                f"built, or leave {letter} out of learning",
            )


def failed(spec: PopulationSpec, agent: Any, error: Exception, where: str) -> ScenarioError:
    """What a ready agent raised in use, with its traceback; passes have the blame where they broke
    what its own code takes for granted."""
    field, remedy = model_field(spec), "its traceback says where"
    if spec.passes and "read-only" in str(error):
        field = "passes"
        remedy = f"under {', '.join(spec.passes)} {READ_ONLY}. Or leave the pass out"
    elif spec.passes and "is stored in a population" in str(error):
        field = "passes"
        remedy = (
            f"under {', '.join(spec.passes)} an agent is stored after each use, and others cannot "
            "use it while it is. Leave the pass out"
        )
    problem = f"{type(agent).__name__} failed at {where}: {raised(error)}; {remedy}"
    return ScenarioError(field, problem, detail=traceback.format_exc())
