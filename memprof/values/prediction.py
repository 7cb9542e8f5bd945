"""What a population would take that is not built: what a worker says of it, and the report of
`memprof density --predict`.

Frozen structs with plain fields, bytes only.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from memprof.values.density import BoundName
from memprof.values.instruments import Account, Positive, Reading
from memprof.values.measurements import WorkerRun
from memprof.values.report import ScenarioReport, VariantName

RoomName = BoundName | Literal["--device-memory", "device"]
MOST_AGENTS = 10**8
"""The largest population that is looked for."""


class Forecasted(Struct, frozen=True):
    """A population that was not built.

    Attributes:
        chunk: the size of chunks that was asked for; None for the one that memprof would choose.
        account: what its agents take.
        beside_bytes: objects of each agent's own that the account leaves out, such as its
            environment; as measured of a few.
        peak_bytes: the most that the process takes above its baseline, or that is on the device.
    """

    chunk: int | None
    account: Account
    beside_bytes: int
    peak_bytes: int


class ForecastRun(WorkerRun, frozen=True, kw_only=True):
    """One worker that built a few agents and compiled programs for more.

    Attributes:
        baseline: after warm-up, before the first agent.
        few: agents that it built, which lived the scenario's steps.
        own_bytes: the most that the process took with these above its baseline, without what they
            take by the account: libraries, tracing and compiling, and copies made while building.
        device_limit_bytes: memory of the device that bounds them; None where the process does.
        sizes: those that were asked for.
        fitting: the largest that fits, for each size of chunks.
        refused: why there is no account; empty if there is one.
    """

    baseline: Reading
    few: Positive
    own_bytes: int
    device_limit_bytes: int | None = None
    sizes: tuple[Forecasted, ...] = ()
    fitting: tuple[Forecasted, ...] = ()
    refused: str = ""


class Prediction(Struct, frozen=True):
    """How many agents of one variant fit.

    Attributes:
        passes: of that variant.
        few: agents that were built to know `own_bytes` (see `ForecastRun`).
        baseline_bytes: resident set of the process before the first agent.
        scenario: the population that was asked for.
        fitting: the largest population for each size of chunks that was tried, the best first;
            empty where not one agent fits.
        refused: why nothing is known; empty where it is.
    """

    variant: VariantName
    passes: tuple[str, ...]
    few: int
    baseline_bytes: int
    own_bytes: int
    scenario: Forecasted | None
    fitting: tuple[Forecasted, ...]
    refused: str

    @property
    def best(self) -> Forecasted | None:
        """The largest population, in the largest chunks that hold as many."""
        return self.fitting[0] if self.fitting else None


class PredictionReport(ScenarioReport, frozen=True, kw_only=True):
    """Everything `memprof density --predict` found. Its JSON is the contract.

    Attributes:
        limit, limit_bytes: what bounds the population: a bound on the process, or the memory of a
            device.
    """

    kind: Literal["prediction"] = "prediction"
    limit: RoomName
    limit_bytes: int
    predictions: tuple[Prediction, ...]
