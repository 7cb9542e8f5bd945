"""What a worker has to know to build a population: the scenario in plain, picklable values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PopulationSpec:
    """One population of one backend.

    Attributes:
        model: `kind` and the parameters of the generative model.
        private: every agent builds its own arrays; otherwise all get the first agent's.
        differs: every agent has a model of its own.
        agent: keyword arguments of the PyMDP agent.
        learning: any of A, B, D.
        passes: names, in the order in which they are applied.
        loop: how JAX agents are run: `jit`, `eager` or `rollout`; empty for other backends.
        chunk: JAX agents that step together under `template`; None for as many as fit.
        keep: results of inference that survive rest under `template`; None for all of them.
        history_steps: steps of the past that agents keep under `history`; None for all of them.
        working_set: bytes that active agents may take under the pass of that name; None for its
            own budget.
        folder: absolute path against which files and factories are looked up.
    """

    backend: str
    model: dict[str, Any]
    private: bool
    differs: bool
    agent: dict[str, Any]
    learning: tuple[str, ...]
    passes: tuple[str, ...]
    keep: tuple[str, ...] | None
    history_steps: int | None
    working_set: int | None
    loop: str
    chunk: int | None
    agents: int
    steps: int
    seed: int
    folder: str
