"""The report of a profile; its JSON is the contract with scripts and CI.

Frozen structs with plain fields, bytes and seconds only. Intervals are pairs (low, high) at
95 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from memprof.values.distributed import Distributed
from memprof.values.instruments import (
    AllocationStack,
    ContentRow,
    Count,
    DeviceDetails,
    GainRow,
    ImportRow,
    LineHotspot,
    Positive,
    TypeRow,
)
from memprof.values.measurements import (
    Ledger,
    Mark,
    Rewards,
    Sample,
    WorldMemory,
)
from memprof.values.report import (
    BaseVariant,
    BudgetCheck,
    Caution,
    Equivalence,
    Interval,
    LeakVerdict,
    ScenarioFields,
    ScenarioReport,
    Variants,
)

Claim = Literal["exact", "bounded"]
PassOutcome = Literal[
    "saves", "faster", "no_effect", "costs", "slower",
    "superfluous", "diverged", "failed", "not_checked",
]  # fmt: skip


class AgentFigure(Struct, frozen=True):
    """What one agent costs in one part of the report, and why that is not the marginal cost; empty
    where the two agree.

    Attributes:
        name: `marginal`: by the growth of the process, the headline; there `why` says why it is not
            the slope. `held`: what an agent holds alone by the ledger, the mean over the scenario's
            agents; `typical`: the median. `components`: by the rows of the ledger. `calls`: by the
            stacks and lines that allocated it.
    """

    name: Literal["marginal", "held", "typical", "components", "calls"]
    bytes: float
    why: str = ""


class StepSeconds(Struct, frozen=True):
    """Time of one agent's step: median over batches, steps and the workers that had the machine to
    themselves."""

    median: float
    ci95: Interval


class OperationHotspot(Struct, frozen=True):
    """One operation: time from the clean workers, bytes from the traced one (None without it)."""

    operation: str
    calls: int
    seconds_per_call: float
    retained_bytes_per_call: float | None
    peak_bytes: int | None


class Hotspots(Struct, frozen=True):
    """Where time and memory go; the stacks together hold what one more agent holds."""

    operations: tuple[OperationHotspot, ...]
    lines: tuple[LineHotspot, ...]
    stacks: tuple[AllocationStack, ...] = ()

    @property
    def held_stacks(self) -> tuple[AllocationStack, ...]:
        """Those that hold something."""
        return tuple(each for each in self.stacks if each.bytes_per_agent > 0)


class InstrumentReading(Struct, frozen=True):
    """One instrument's figure for the cost of an agent, with its overhead and blind spots.

    Attributes:
        per_agent_bytes: slope of its readings over the population; None if it failed.
        total_bytes: its last reading, above its first.
        slowdown: processor time per step with the instrument over the clean one's; None if not
            measured.
        reading_seconds: processor time of one reading.
        failure: why there is no figure; empty if there is one.
    """

    name: str
    per_agent_bytes: float | None
    ci95_bytes: Interval | None
    total_bytes: float | None
    slowdown: float | None
    reading_seconds: float | None
    sees: str
    blind_to: str
    types: tuple[TypeRow, ...] = ()
    failure: str = ""


class Trend(Struct, frozen=True):
    """Bytes that an agent gains per further step; None if the run is too short.

    `verdict` and `floor_bytes`, the smallest gain that would have been found, are as in a leak
    check of the steps that were read.
    """

    verdict: LeakVerdict | None
    bytes_per_step: float | None
    ci95_bytes: Interval | None
    floor_bytes: float | None
    first_step: int
    last_step: int


class TimelineSample(Struct, frozen=True):
    """Resident set of a clean worker, `seconds` after its start."""

    seconds: float
    rss_bytes: float


class Timeline(Struct, frozen=True):
    """The resident set of one clean worker, as sampled by memory_profiler, with its phases."""

    samples: tuple[TimelineSample, ...]
    marks: tuple[Mark, ...]


class Variant(BaseVariant, frozen=True, kw_only=True):
    """The population as a profile has it.

    `file_pages_bytes` are those pages of files in the fixed cost that no other process maps; None
    in older reports. `compile_seconds` is the first step of all agents, where the backend compiles
    in it. `world` is None where every agent has a world of its own, `rewards` where worlds give
    none; `born` counts agents that came into a world while the scenario's lived. `device` is there
    if the instrument of that name was asked for, `contents` and `gains` if `pympler` was, and
    `imports` if any was that has a worker of its own. Where there are `kinds`, what instruments,
    hotspots and samples tell is theirs.
    """

    imports_bytes: float
    rss_bytes: float
    step_seconds: StepSeconds
    compile_seconds: float | None
    ledger: Ledger
    instruments: tuple[InstrumentReading, ...]
    hotspots: Hotspots
    trend: Trend
    device: DeviceDetails | None
    timeline: Timeline | None
    samples: tuple[Sample, ...]
    contents: tuple[ContentRow, ...] = ()
    gains: tuple[GainRow, ...] = ()
    imports: tuple[ImportRow, ...] = ()
    one_agent: tuple[AgentFigure, ...] = ()
    file_pages_bytes: float | None = None
    world: WorldMemory | None = None
    rewards: Rewards | None = None
    born: Count = 0
    kinds: tuple[KindVariant, ...] = ()


class KindVariant(Variant, frozen=True, kw_only=True):
    """One kind of agents in a population of several, measured by varying the number of these alone:
    what it costs, holds and does is theirs; what the process has as a whole is that of all."""

    name: str
    agents: Positive
    equivalence: Equivalence


class PassResult(Struct, frozen=True):
    """What one pass did, on top of the passes before it in the plan; None where it is not known,
    below resolution, or may not be claimed because behaviour is not what the pass claims.

    Where `auto` chose, the figures are those of the one worker in which it tried plans: what agents
    hold alone by the ledger, and what else the process has with them. But passes that act before
    PyMDP is imported have theirs from clean workers, as all passes have that the scenario names.

    Attributes:
        saved_bytes_per_agent, saved_fixed_bytes, saved_transient_bytes: relative to the plan before
            it, in the marginal cost, the fixed cost and the transient peak.
        step_time_ratio: processor time per step over that of the plan before it; where `auto`
            chose, by the clock, without the time for which other processes had the processor.
        outcome: `saves`, `faster`, `no_effect` (nothing beyond resolution), `costs` (memory) or
            `slower`; `superfluous` (a later pass does the same); `diverged` (it broke its claim),
            `failed` (its worker did), `not_checked`.
        detail: the outcome in words, with figures.
        kept: it is part of the plan; False if `auto` left it out.
        marginal_bytes, ci95_bytes, fixed_bytes: cost of the population after it; the fixed cost
            here is without pages of files, which other processes change.
        transient_bytes: what building and stepping needs above the population at rest, after it.
    """

    name: str
    claim: Claim
    saved_bytes_per_agent: float | None
    step_time_ratio: float | None
    outcome: PassOutcome
    detail: str
    kept: bool = True
    marginal_bytes: float | None = None
    ci95_bytes: Interval | None = None
    fixed_bytes: float | None = None
    transient_bytes: float | None = None
    saved_fixed_bytes: float | None = None
    saved_transient_bytes: float | None = None

    @property
    def at_most_bytes(self) -> float | None:
        """The marginal cost after the pass, or its upper end where it is unresolved."""
        unresolved = self.ci95_bytes is not None and self.ci95_bytes[0] <= 0
        return self.ci95_bytes[1] if unresolved and self.ci95_bytes else self.marginal_bytes


AdviceKind = Literal[
    "alike", "zeros", "views", "policies", "growth", "imports", "transient",
    "retracing", "slow_pass", "few_agents", "rollout",
    "shorter_plan",  # of older reports: what to do next says it now
]  # fmt: skip


class Advice(Struct, frozen=True):
    """Memory that is used without need, and what to do about it.

    Attributes:
        finding, evidence, remedy: in a sentence or two each; the evidence has the figures.
        solved_by: the pass of the plan that fixed it; empty while it is open.
        stake_bytes: bytes at stake for all of the scenario's agents and steps; ranks the advice.
        saves_bytes: what that pass was measured to save for all of the scenario's agents; None
            where it was not measured, or the pass does more than this.
    """

    kind: AdviceKind
    finding: str
    evidence: str
    remedy: str
    solved_by: str = ""
    stake_bytes: float = 0.0
    saves_bytes: float | None = None


class KindFound(Struct, frozen=True, kw_only=True):
    """What was found of one kind, beside its variants; each field as in a report of it alone."""

    name: str
    scenario: ScenarioFields
    passes: tuple[PassResult, ...]
    equivalence: Equivalence
    budget: BudgetCheck | None
    warnings: tuple[Caution, ...]
    advice: tuple[Advice, ...] = ()


class Report(ScenarioReport, frozen=True, kw_only=True):
    """Everything `memprof profile` found. Its JSON is the contract.

    Where there are several kinds, the variants are of all agents: what one costs is the mean over
    them, and each kind has variants of its own in these. Passes, budgets and advice are by kind.

    Attributes:
        distributed: the population over shards; None where there was none, as in older reports.
    """

    kind: Literal["profile"] = "profile"
    variants: Variants[Variant]
    passes: tuple[PassResult, ...]
    equivalence: Equivalence
    budget: BudgetCheck | None
    advice: tuple[Advice, ...] = ()
    kinds: tuple[KindFound, ...] = ()
    distributed: Distributed | None = None

    def of_kinds(self) -> Iterator[Report]:
        """A report of each kind alone; none where all agents are of one."""
        before, after = (
            {each.name: each for each in (variant.kinds if variant else ())}
            for variant in (self.variants.before, self.variants.after)
        )
        for found in self.kinds:
            yield replace(
                self,
                scenario=found.scenario,
                variants=Variants(before[found.name], after.get(found.name)),
                passes=found.passes,
                equivalence=found.equivalence,
                budget=found.budget,
                warnings=found.warnings,
                advice=found.advice,
                kinds=(),
                distributed=None,
            )
