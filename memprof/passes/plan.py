"""The passes of one population, in order."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from memprof.passes.base import Pass
from memprof.passes.catalogue import PASSES


@dataclass(frozen=True, slots=True)
class Plan:
    passes: tuple[Pass, ...]

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Plan:
        """New instances of the named passes."""
        return cls(tuple(_pass_class(name)() for name in names))

    def apply(self, agent: Any, index: int) -> None:
        """Apply every pass to a newly built agent."""
        for each in self.passes:
            each.apply(agent, index)


def _pass_class(name: str) -> type[Pass]:
    module, _, class_name = PASSES[name].target.partition(":")
    cls: type[Pass] = getattr(importlib.import_module(module), class_name)
    return cls
