"""Populations of NumPy agents that meet."""

from __future__ import annotations

from collections.abc import Iterator

from memprof.errors import UsageError
from memprof.optimise.plan import Plan
from memprof.populations import Lived, Probe
from memprof.populations.joint_world import JointWorlds
from memprof.populations.numpy_agents import NumpyPopulation
from memprof.values.population import PopulationSpec


class JointPopulation(NumpyPopulation):
    """Agents that live in worlds of several: in a step all perceive, plan and act, and then the
    world moves. In which order they do makes no difference.

    The population is built anew whenever it grows: a world begins with those who live in it.
    """

    rebuilds = True
    _environments: JointWorlds

    def __init__(self, spec: PopulationSpec, probe: Probe) -> None:
        super().__init__(spec, probe)
        self.group = self._environments.group

    def _surroundings(self, plan: Plan) -> JointWorlds:
        return JointWorlds(self._spec)

    def grow(self, agents: int) -> range:
        if len(self):
            self.close()
        new = super().grow(agents)
        self._probe.call("environment", self._environments.begin)
        return new

    def leave(self, agents: range) -> None:
        raise UsageError("agents that meet cannot leave: their world says who goes")

    def close(self) -> None:
        self._environments.close()
        super().close()

    def live(self, agents: range, steps: range) -> Iterator[Lived]:
        """All of them, whichever are asked for; but for those that their world has let go."""
        worlds = self._environments
        for step in steps:
            for present in worlds.present():
                for lived in super().live(present, range(step, step + 1)):
                    worlds.take(lived.agent, lived.behaviour.action)
                    yield lived
            self._probe.call("environment", worlds.move, step)
