"""The passes of one population, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memprof.passes.base import Pass
from memprof.passes.catalogue import PASSES
from memprof.targets import load_target


@dataclass(frozen=True, slots=True)
class Plan:
    passes: tuple[Pass, ...]

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Plan:
        """New instances of the named passes."""
        return cls(tuple(load_target(PASSES[name].target)() for name in names))

    def install(self) -> None:
        """Prepare the process for every pass."""
        for each in self.passes:
            each.install()

    def build(self, agent: Any, index: int) -> None:
        """Apply every pass to a newly built agent."""
        for each in self.passes:
            each.build(agent, index)

    def rest(self, agent: Any, index: int) -> None:
        """Bring an agent that is no longer used into its stored form."""
        for each in self.passes:
            each.rest(agent, index)

    def wake(self, agent: Any, index: int) -> None:
        """Undo `rest`, last pass first."""
        for each in reversed(self.passes):
            each.wake(agent, index)

    def close(self) -> None:
        """Leave the process as it was before `install`."""
        for each in reversed(self.passes):
            each.close()
