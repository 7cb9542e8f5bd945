"""The model, apart from the rest: workers read that, and need no pydantic."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from memprof.catalogue.models import Model, Size
from memprof.text import MOST_BYTES


class Buffer(Model):
    """Calibration: agents of exactly known size, for `backend: fake`."""

    backends: ClassVar[tuple[str, ...]] = ("fake",)

    kind: Literal["buffer"]
    size: Size = Field(default=2**20, description="bytes that each agent holds")
    growth: int = Field(
        default=0, ge=0, le=MOST_BYTES, description="bytes that each agent gains per step"
    )
    delay: float = Field(default=0.0, ge=0, le=60, description="seconds that each step takes")
    fault: Literal["none", "die", "hang", "raise", "exhaust", "print", "fatal"] = Field(
        default="none",
        description="what goes wrong while the population is built; fatal: fake-crash kills",
    )
