"""What counts and times in reports may be: nothing is divided by zero, or takes for ever."""

from typing import Annotated

from msgspec import Meta

MOST_COUNT, MOST_READINGS = 10**12, 1_000  # slopes are those of all pairs of readings
Count = Annotated[int, Meta(ge=0, le=MOST_COUNT)]
Positive = Annotated[int, Meta(ge=1, le=MOST_COUNT)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
