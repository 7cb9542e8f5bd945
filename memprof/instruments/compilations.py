"""How often JAX compiles: a count that costs nothing to keep."""

from __future__ import annotations

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Programs that JAX has compiled since this was made."""

    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.count += event == COMPILED
