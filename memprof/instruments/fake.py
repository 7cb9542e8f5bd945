"""Instrument `fake`: a figure known beforehand, for tests of what is done with readings."""

from __future__ import annotations

from memprof.instruments.base import DirectCalls
from memprof.populations.base import Population


class FakeInstrument(DirectCalls):
    """Reads a thousand bytes per agent, whatever is there."""

    def read(self, population: Population) -> int:
        return 1000 * len(population)
