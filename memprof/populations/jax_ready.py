"""A JAX agent that the user's own code built."""

from __future__ import annotations

import jax
import numpy as np
from msgspec.structs import replace

from memprof.errors import ScenarioError
from memprof.populations import check_together
from memprof.populations.jax_given import Row, learned, plain, wrong
from memprof.text import shown
from memprof.upstream.jax_agent import Agent, leaves_of, with_rows
from memprof.upstream.keywords import check_jax_together
from memprof.values.population import PopulationSpec


class Ready:
    """An agent that the user's own code built: all that its fields hold, row by row."""

    form = "a ready agent"

    def __init__(self, spec: PopulationSpec, index: int, agent: Agent) -> None:
        self._spec, self._index, self._agent = spec, index, agent
        self.size: int = agent.batch_size
        self._names = leaves_of(agent)
        self.settings = {
            name: agent.policies.policy_arr if name == "policies" else value
            for name, value in vars(agent).items()
            if name not in (*self._names, "batch_size")
        }
        self.settings = {"class": type(agent)} | {n: plain(v) for n, v in self.settings.items()}
        self._check_asked()
        self._check_rows()
        self.learning = learned(spec, self.settings, self._error)
        asked = replace(spec, learning=self.learning)
        check_together(check_jax_together, self.settings, asked, index)

    def _error(self, name: str, problem: str) -> ScenarioError:
        return wrong(self._spec, self._index, name, problem)

    def _check_asked(self) -> None:
        """Nothing that would have to be known before the agent was built."""
        made = f"{self._spec.model.get('callable')} returned a ready agent"
        if self._spec.agent:
            raise ScenarioError(
                "agent",
                f"{made}, which takes no further keyword arguments; found "
                f"{sorted(self._spec.agent)}. Remove agent, and pass them where the agent is built",
            )
        for letter in self._spec.learning:
            if not self.settings[f"learn_{letter}"]:
                raise ScenarioError(
                    "learning",
                    f"{letter} cannot be learned: {made} without learn_{letter}. Pass it where the "
                    f"agent is built, or leave {letter} out of learning",
                )

    def _check_rows(self) -> None:
        for name in self._names:
            for each in jax.tree_util.tree_leaves(getattr(self._agent, name)):
                if np.ndim(each) == 0 or len(each) != self.size:
                    raise self._error(
                        name,
                        f"expected a row for each agent of its batch of {self.size}, found "
                        f"{shown(each)}",
                    )

    def row(self, index: int) -> Row:
        """One agent of the batch."""
        leaves = {
            name: jax.tree_util.tree_map(lambda x: np.asarray(x[index]), value)
            for name in self._names
            if (value := getattr(self._agent, name)) is not None
        }
        factors = {
            "A_factor_list": self.settings["A_dependencies"],
            "B_factor_list": self.settings["B_dependencies"],
        }
        return Row(leaves, {**{name: leaves[name] for name in "ABD"}, **factors})

    def agent(self) -> Agent:
        """PyMDP's agent of the first row alone."""
        rows = {
            name: jax.tree_util.tree_map(lambda x: x[:1], getattr(self._agent, name))
            for name in self._names
        }
        return with_rows(self._agent, rows, 1)
