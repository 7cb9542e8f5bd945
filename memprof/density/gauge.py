"""What a population that grows is read with: the process that it is in, or those of its shards."""

from __future__ import annotations

from typing import Protocol

from memprof.instruments import heap, process
from memprof.instruments.children import children, running
from memprof.launch.limits import left_bytes, scarce
from memprof.values.instruments import Calibration, Reading
from memprof.values.measurements import Children

_SCARCE = 0.04
"""With less of the machine's memory left, the kernel would soon end a process, most likely ours."""


class Gauge(Protocol):
    """Reads the processes that hold a population: sums, where there are several.

    Attributes:
        processes: how many.
    """

    processes: int

    def begin(self) -> Reading:
        """The empty population, settled: what others are compared with.

        Raises:
            MeasurementError: the system does not tell how much memory a process has.
        """
        ...

    def settle(self) -> None:
        """Free what is garbage, and give the system back what is free."""
        ...

    def read(self) -> Reading: ...

    def sizes(self) -> dict[str, int]:
        """The kernel's sizes, as of `process.status`."""
        ...

    def peak_rss_bytes(self) -> int | None:
        """Highest resident set since it was last asked for; None where nothing tells."""
        ...

    def left_bytes(self) -> int:
        """What the population may still take."""
        ...

    def scarce_words(self) -> str:
        """What there is so little of that no more agents may come; empty where there is enough."""
        ...

    def calibration(self) -> Calibration:
        """What the readings are worth."""
        ...

    def children(self) -> Children:
        """Processes that the population has started, which no reading includes."""
        ...


class OwnProcess:
    """The gauge of this process, which the population is in."""

    processes = 1

    def begin(self) -> Reading:
        process.expect_process()
        self._earlier = running()
        process.settle()
        self._filled = heap.fill_free_blocks()
        process.reset_peak()
        return process.read()

    def settle(self) -> None:
        process.settle()

    def read(self) -> Reading:
        return process.read()

    def sizes(self) -> dict[str, int]:
        return process.status()

    def peak_rss_bytes(self) -> int | None:
        peak = process.peak_rss_bytes()
        process.reset_peak()
        return peak

    def left_bytes(self) -> int:
        return left_bytes()

    def scarce_words(self) -> str:
        return f"less than {_SCARCE:.0%} of the machine's memory is left" * scarce(_SCARCE)

    def calibration(self) -> Calibration:
        return process.calibration()

    def children(self) -> Children:
        return children(self._earlier)
