"""The scenario that the figures of a report belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from memprof.values.counts import Positive
from memprof.values.population import EffortName


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioFields:
    """The fields of a scenario file, with what follows where the file does not have them.

    Attributes:
        passes: as the file has them: `auto` alone where memprof was to choose.
        options: what passes are told, by name, and None for what they are not told; in JSON they
            are fields like the others.
    """

    name: str
    description: str = ""
    backend: str
    model: dict[str, Any] = field(default_factory=dict)
    effort: EffortName = "normal"
    agents: Positive
    steps: Positive
    seed: int = 0
    agent: dict[str, Any] = field(default_factory=dict)
    learning: tuple[str, ...] = ()
    passes: tuple[str, ...]
    max_slowdown: float = 1.1
    loop: str | None = None
    instruments: tuple[str, ...] = ()
    repeats: Positive
    budget: dict[str, int] | None = None
    tolerances: dict[str, str | int] = field(default_factory=dict)
    options: dict[str, int | float | str | tuple[str, ...] | None] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        options = values.pop("options")
        return {**values, **options}
