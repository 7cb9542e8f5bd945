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

    def apply(self, agent: Any, index: int) -> None:
        """Apply every pass to a newly built agent."""
        for each in self.passes:
            each.apply(agent, index)
