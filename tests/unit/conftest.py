from __future__ import annotations

from collections.abc import Callable

import pytest

from memprof.measurements import (
    DeviceDetails,
    DeviceRow,
    Ledger,
    LedgerRow,
    LineHotspot,
    Retrace,
    TypeRow,
)
from memprof.results import (
    BudgetCheck,
    Environment,
    Equivalence,
    Hotspots,
    InstrumentReading,
    OperationHotspot,
    PassResult,
    PerAgent,
    Report,
    StepSeconds,
    Trend,
    Variant,
    Variants,
)


@pytest.fixture
def good_variant() -> Callable[..., Variant]:
    """A variant with nothing to complain about."""

    def make(
        marginal: float = 1000.0,
        resolved: bool = True,
        explained: float = 1.0,
        passes: tuple[str, ...] = (),
        step_seconds: float = 0.010,
        kept_whole: tuple[str, ...] = (),
        device: DeviceDetails | None = None,
    ) -> Variant:
        growth = 20_000
        return Variant(
            passes=passes,
            repeats=3,
            per_agent=PerAgent(marginal, (marginal * 0.9, marginal * 1.1), 1e8, 1.2e8, resolved),
            baseline_bytes=1e8,
            imports_bytes=5e7,
            uss_bytes=1.2e8,
            pss_bytes=None,
            rss_bytes=1.3e8,
            peak_bytes=None,
            file_bytes=0,
            kept_whole=kept_whole,
            step_seconds=StepSeconds(step_seconds, (step_seconds * 0.99, step_seconds * 1.01)),
            compile_seconds=None,
            build_seconds=0.1,
            ledger=Ledger(
                20,
                growth,
                int(growth * explained),
                int(growth * (1 - explained)),
                900.0,
                (LedgerRow("A", 18_000, 1_000, 18_000, 1_000, 20),),
            ),
            instruments=(
                InstrumentReading(
                    "pympler", 1.0, (0.5, 1.5), 20.0, 1.0, 0.1, "sees | this", "blind to <that>",
                    (TypeRow("numpy.ndarray", 20, 1000),),
                ),
            ),
            hotspots=Hotspots(
                (OperationHotspot("build", 20, 0.1, 1000.0, 5000),),
                (LineHotspot("my_model.py", 3, "x = a[0] * b_c <tag> | `t`", 900.0, 2.0),),
            ),
            trend=Trend("leak", 170.0, (165.0, 175.0), 4.0, 21, 30),
            device=device,
            timeline=None,
            samples=(),
        )  # fmt: skip

    return make


@pytest.fixture
def device() -> Callable[..., DeviceDetails]:
    """What the instrument `device` says of 4 agents that retrace one line in each step."""

    def make(traces: float = 2.0, stats: dict[str, int] | None = None) -> DeviceDetails:
        return DeviceDetails(
            agents=4,
            rows=(
                DeviceRow("A", 40_000, 0, 1),
                DeviceRow("not the population's", 0, 7_000, 2),
            ),
            before_bytes=123,
            caches_bytes=5_000_000,
            memory_stats=stats or {},
            first_steps=1,
            first_traces=23,
            first_compilations=52,
            steps=3,
            traces_per_step=traces,
            compilations_per_step=traces / 2,
            retraces=(Retrace("pymdp/control.py", 801, "lax.scan(body)", traces),)
            if traces
            else (),
        )

    return make


@pytest.fixture
def report(good_variant: Callable[..., Variant]) -> Callable[..., Report]:
    """A whole report, exact unless told otherwise."""

    def make(verdict: str = "exact", name: str = "case", after: Variant | None = None) -> Report:
        optimised = after or good_variant(marginal=10.0, passes=("share",))
        return Report(
            scenario={
                "name": name, "agents": 20, "steps": 20, "max_slowdown": 1.1, "backend": "numpy",
                "model": {"kind": "grid_world"}, "agent": {}, "learning": [], "passes": ["share"],
            },
            environment=Environment(
                {"python": "3.11"}, "Linux", 2, 10**10, None, None, "madvise", {}, "cpu", {}
            ),
            variants=Variants(good_variant(), optimised),
            passes=(PassResult("share", "exact", 990.0, 1.0, "saves", "saves 990 B per agent"),),
            equivalence=Equivalence(
                verdict, 20, 20, 0.5, 0.1, 0.01, "first difference: agent 1, step 2"
            ),
            budget=BudgetCheck(500, 10.0, True),
            warnings=(),
            complete=True,
        )  # fmt: skip

    return make
