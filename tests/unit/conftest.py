from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from memprof.values.instruments import (
    AllocationStack,
    DeviceDetails,
    DeviceRow,
    Frame,
    LineHotspot,
    Reading,
    Retrace,
    TypeRow,
)
from memprof.values.measurements import GrowthPoint, Ledger, LedgerRow, Mark, Sample, TrendSeries
from memprof.values.profile import (
    Hotspots,
    InstrumentReading,
    OperationHotspot,
    PassResult,
    Report,
    StepSeconds,
    Timeline,
    TimelineSample,
    Trend,
    Variant,
)
from memprof.values.report import (
    BudgetCheck,
    Environment,
    Equivalence,
    PerAgent,
    ScenarioFields,
    Variants,
)

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"


@pytest.fixture
def snapshot() -> Callable[[str, str], None]:
    """Compare a text with the file of that name; `make snapshots` writes it."""

    def check(name: str, text: str) -> None:
        file = SNAPSHOTS / f"{name}.txt"
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
        if "UPDATE_SNAPSHOTS" in os.environ:
            file.write_text(text)
        assert text == file.read_text(), "if this is meant: make snapshots"

    return check


@pytest.fixture
def frozen() -> Iterator[None]:
    """What is there now, no collection has to look through."""
    gc.freeze()
    yield
    gc.unfreeze()


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
            scenario=ScenarioFields(
                name=name, agents=20, steps=20, backend="numpy", model={"kind": "grid_world"},
                passes=("share",), repeats=3,
            ),
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


MIB = 2**20
INIT = Frame("pymdp/agent.py", 10, "Agent.__init__")
STACKS = (
    AllocationStack("build", (INIT, Frame("pymdp/utils.py", 5, "full")), 600.0, 3.0),
    AllocationStack("build", (replace(INIT, line=12),), 300.0, 1.0),
    AllocationStack("infer_states", (Frame("my; model.py", 3, "<module>"),), 99.6, 2.0),
    AllocationStack("other stacks", (), -50.0, -1.0),
)
TIMELINE = Timeline(
    tuple(TimelineSample(n / 2, (10.0 + n) * MIB) for n in range(-1, 9)),
    (
        Mark(0.0, "import"),
        Mark(1.25, "warm up"),
        Mark(2.0, "build", 4),
        Mark(2.25, "step", 4),
        Mark(3.0, "build", 20),
        Mark(3.5, "done"),
    ),
)
READING = Reading(300, 200, None, 150, 100)
SAMPLE = Sample(
    start=READING,
    imported=READING,
    points=(GrowthPoint(4, READING), GrowthPoint(20, replace(READING, uss_bytes=900))),
    at_n=GrowthPoint(20, READING),
    peak_rss_bytes=None,
    step_cpu_seconds=(0.5, 0.25, 0.125, 1e-9),
    batches=2,
    reference_cpu_seconds=(0.0625,),
    trend=TrendSeries(20, 21, 2, (1000, 1170)),
)


@pytest.fixture
def full_report(
    report: Callable[..., Report], good_variant: Callable[..., Variant]
) -> Callable[..., Report]:
    """A report with stacks, a timeline and raw samples in both variants; after holds a tenth."""

    def make(name: str = "case", stacks: tuple[AllocationStack, ...] = STACKS) -> Report:
        after = tuple(replace(each, bytes_per_agent=each.bytes_per_agent / 10) for each in stacks)
        fewer = tuple(TimelineSample(s.seconds, s.rss_bytes / 2) for s in TIMELINE.samples)
        variants = [
            replace(
                variant,
                hotspots=replace(variant.hotspots, stacks=held),
                timeline=timeline,
                samples=(SAMPLE, SAMPLE),
            )
            for variant, held, timeline in (
                (good_variant(), stacks, TIMELINE),
                (good_variant(10.0, passes=("share",)), after, replace(TIMELINE, samples=fewer)),
            )
        ]
        return replace(report(name=name), variants=Variants(*variants))

    return make
