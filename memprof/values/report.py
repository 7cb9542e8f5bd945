"""What all commands' reports have in common; their JSON is the contract with scripts and CI.

Frozen structs with plain fields, bytes and seconds only. Intervals are pairs (low, high) at
95 %.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct, field

from memprof.text import one_line
from memprof.values.instruments import Count, Positive
from memprof.values.measurements import WorkingSetUse
from memprof.values.population import EffortName

SCHEMA = "memprof.report/2"

Interval = tuple[float, float]
VariantName = Literal["before", "after"]
Verdict = Literal["exact", "bounded", "diverged", "not_checked"]
LeakVerdict = Literal["leak", "clean", "inconclusive"]


class ScenarioFields(Struct, frozen=True, kw_only=True):
    """The fields of a scenario file, with the defaults of those that the file omits.

    Attributes:
        passes: as in the file: only `auto` if memprof was to choose.
        options: the options of passes, by name; None for those that are not set. In JSON they
            are fields like the others.
    """

    name: str
    description: str = ""
    backend: str
    model: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[dict[str, Any], ...] = ()
    world: dict[str, Any] | None = None
    episodes: dict[str, Any] | None = None
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
        """The fields as in the JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        options = values.pop("options")
        return {**values, **options}

    @classmethod
    def nested(cls, flat: Mapping[str, Any]) -> dict[str, Any]:
        """The fields from which `flat` made these values: whatever is not a field is an option."""
        names = {*cls.__struct_fields__} - {"options"}
        options = {name: value for name, value in flat.items() if name not in names}
        return {name: flat[name] for name in flat if name in names} | {"options": options}


class Environment(Struct, frozen=True):
    """The machine and software of the measurement; `backend` is what the backend says
    of its device and settings. Reports of older versions lack pages and build."""

    versions: dict[str, str]
    platform: str
    cpu_count: int
    total_memory_bytes: int
    cgroup_limit_bytes: int | None
    rlimit_bytes: int | None
    huge_pages: str
    allocator: dict[str, str]
    device: str
    backend: dict[str, str]
    page_bytes: int | None = None
    python_build: str = ""


class Caution(Struct, frozen=True):
    """Something a reader must know before using a figure."""

    kind: str
    evidence: str
    remedy: str


class PerAgent(Struct, frozen=True):
    """The fit `memory(N) = fixed + marginal · N` of USS over all repeats (pages of files held
    at what they were before the first agent).

    Where agents differ in size, `marginal_bytes` is the mean over the scenario's agents.
    `resolved` is False when the interval includes zero: the agent is below resolution, and only
    the interval's upper end says anything.
    """

    marginal_bytes: float
    ci95_bytes: Interval
    fixed_bytes: float
    at_n_bytes: float
    resolved: bool

    @property
    def at_most_bytes(self) -> float:
        """The marginal cost, or its upper end where it is unresolved."""
        return self.marginal_bytes if self.resolved else self.ci95_bytes[1]


class Equivalence(Struct, frozen=True):
    """Whether the optimised population behaves like the plain one, on the same seeds.

    `max_divergence_nats` is the largest Kullback-Leibler divergence of a posterior from the plain
    population's; None where it is infinite or nothing can be compared.
    """

    verdict: Verdict
    agents: Count
    steps: Count
    action_agreement: float | None
    max_abs_belief_error: float | None
    max_divergence_nats: float | None
    detail: str


class BudgetCheck(Struct, frozen=True):
    """The marginal cost compared with the budget; its upper end where it is below resolution."""

    limit_bytes: int
    marginal_bytes: float
    kept: bool


class BaseVariant(Struct, frozen=True, kw_only=True):
    """The population without passes, or with them.

    Attributes:
        baseline_bytes: USS before the first agent.
        uss_bytes, pss_bytes: with the scenario's agents, or at the largest size of a sweep.
        peak_bytes: highest resident set until then.
        file_bytes: what the population takes in files on disk, which no other figure includes.
        kept_whole: attributes that a pass could not encode exactly.
        working_set: what the pass of that name did in the first repeat; None without it.
    """

    passes: tuple[str, ...]
    repeats: Count
    per_agent: PerAgent
    baseline_bytes: float
    uss_bytes: float | None
    pss_bytes: float | None
    peak_bytes: float | None
    file_bytes: float
    kept_whole: tuple[str, ...]
    working_set: WorkingSetUse | None = None
    build_seconds: float


V = TypeVar("V", bound=BaseVariant)


class Variants(Struct, Generic[V], frozen=True):
    """The population without passes, and with them."""

    before: V
    after: V | None

    def named(self) -> Iterator[tuple[VariantName, V]]:
        """Before, and, with passes, after."""
        yield "before", self.before
        if self.after is not None and self.after.passes:
            yield "after", self.after

    @property
    def final(self) -> V:
        """The population as the scenario describes it: with its passes, if it has any."""
        return self.after or self.before


class BaseReport(Struct, frozen=True, kw_only=True):
    """What a command found.

    Attributes:
        complete: the run was not cut short.
    """

    schema: str = SCHEMA
    kind: str
    complete: bool

    @property
    def subject(self) -> str:
        """What it is about, where there is more than one of its kind: a scenario, a program."""
        return ""


class ScenarioReport(BaseReport, frozen=True, kw_only=True):
    """What was found of one scenario.

    Attributes:
        file: the scenario's, as the user named it; empty where it has none.
        warnings: what a reader must know before using a figure.
    """

    scenario: ScenarioFields
    environment: Environment
    warnings: tuple[Caution, ...]
    file: str = ""

    @property
    def subject(self) -> str:
        return self.scenario.name

    @property
    def named(self) -> str:
        """The scenario on a command line."""
        return shlex.quote(one_line(self.file)) if self.file else "SCENARIO"
