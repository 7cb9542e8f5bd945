"""What a plan of passes costs, what it gains over another, and how much of it is needed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from memprof.posix import PAGE_BYTES
from memprof.stats.equivalence import Course, Digests
from memprof.stats.lines import (
    NORMAL,
    PROCESS_GRAIN_BYTES,
    SUREST,
    Estimate,
    estimate,
    half_width_by_workers,
    half_width_of_change,
    mean_of_known,
    median_half_width,
    memory_line,
    per_agent,
    process_at,
    process_bytes,
    process_points,
    scatter_of_change,
    slope,
    span,
)
from memprof.text import format_share, format_size, listed
from memprof.values.measurements import Measurement, PlanTrial, Sample
from memprof.values.profile import PassOutcome, Report
from memprof.values.report import PerAgent

Plan = tuple[str, ...]

NOTHING_CLAIMED = ("diverged", "failed", "not_checked")
"""Outcomes of a pass whose behaviour is not proved."""
_LEAST_PER_AGENT = 0.01
_LEAST_FIXED = _LEAST_TRANSIENT = 0.05
FASTER, _SLOWER = 0.95, 1.1
_TICK_SECONDS = 1e-9


@dataclass(frozen=True, slots=True)
class Cost:
    """What the population costs under one plan: all that its passes are judged by.

    Attributes:
        growth: of the process for each agent, worker by worker.
        known_bytes: what an agent has alone, by the ledger: of clean workers what is resident, of
            a trial what it asks for. None where the platform cannot tell.
        once_bytes: what a process may take once, for each agent of the line: it may stand in the
            growth, and all workers of a plan may take it alike.
        fixed_bytes: the fixed cost without pages of files, which come and go with other processes
            that map the same libraries.
        transient_bytes: what building and stepping needed above the population at rest.
        step_time: the logarithm of the time per step that is the agents' own. Worker by worker, it
            is processor time: some of them run beside others; behaviour was taken down in it. Trial
            by trial in one worker, it is relative to the plain population's (`PlanTrial.paces`).
        digests: behaviour of every agent, one entry per worker or trial; `courses` likewise.
    """

    per_agent: PerAgent
    growth: Estimate
    agents: int
    fixed_bytes: float
    transient_bytes: float | None
    step_time: Estimate
    digests: tuple[Digests, ...]
    known_bytes: float | None
    once_bytes: float
    courses: tuple[Course, ...] = ()


@dataclass(frozen=True, slots=True)
class Gain:
    """Bytes that one plan saves against another; None where the difference is below resolution."""

    per_agent_bytes: float | None
    fixed_bytes: float | None
    transient_bytes: float | None


def cost_of(clean: Sequence[Measurement], compiling: Measurement | None = None) -> Cost:
    """The cost of a plan from its clean workers; where they had their programs from one that was
    `compiling`, the report has what that leaves; how much that is, and what it takes meanwhile, is
    chance, and no gain of a plan.

    Where the scenario's population is not on the line, that knows what an agent costs, and not what
    comes once.
    """
    points = [process_points(run) for run in clean]
    known = clean[0].ledger.mean_agent_bytes
    programs_differ = any(run.sample.programs_differ for run in clean)
    fitted = per_agent(
        points,
        statistics.fmean(process_at(run, run.sample.at_n) for run in clean),
        known,
        in_common=programs_differ,
    )
    growth = slope([memory_line(each) for each in points])
    once = statistics.fmean(PROCESS_GRAIN_BYTES / span(each) for each in points)
    if programs_differ:
        low, high = fitted.ci95_bytes
        growth, once = Estimate((growth.value,), (high - low) / 2), math.inf
    fixed, agents = fitted.fixed_bytes, clean[0].sample.at_n.agents
    if not all(_is_on_line(run.sample) for run in clean):
        fixed = fitted.at_n_bytes - agents * fitted.marginal_bytes
    at_n = fitted.at_n_bytes
    if compiling is not None:
        at_n = process_at(compiling, compiling.sample.at_n)
    left = at_n - fitted.at_n_bytes
    fitted = replace(fitted, fixed_bytes=fixed + left, at_n_bytes=at_n)
    of_files = [process_bytes(run.baseline) - run.baseline.private_bytes for run in clean]
    return Cost(
        per_agent=fitted,
        growth=growth,
        agents=agents,
        fixed_bytes=fixed - statistics.fmean(of_files),
        transient_bytes=mean_of_known(
            each.peak_rss_bytes - each.at_n.reading.rss_bytes
            for each in (run.sample for run in clean)
            if each.peak_rss_bytes is not None
        ),
        step_time=_step_time([run.sample.step_cpu_seconds for run in clean]),
        digests=tuple(run.digests for run in clean),
        courses=tuple(run.course for run in clean),
        known_bytes=known,
        once_bytes=once,
    )


def _is_on_line(sample: Sample) -> bool:
    return sample.at_n.reading in [each.reading for each in sample.points]


def cost_of_trials(trials: Sequence[PlanTrial], paces: Sequence[float], agents: int) -> Cost:
    """The cost of a plan from all trials of it, and all its paces in them; for a population of so
    many `agents`. The memory is that of the first, since the ledger always sees the same; the peak
    is the lowest, since memory that the allocator could not use again only adds to it.

    The ledger is exact, but no more is sure of it than would show in the process with all agents: a
    page at either end of the line, as in `memory_line`."""
    first = trials[0]
    peaks = [each.transient_bytes for each in trials if each.transient_bytes is not None]
    held, page = first.held_bytes, 2 * PAGE_BYTES / agents
    half = max(page, SUREST * held) + NORMAL * first.held_error_bytes
    return Cost(
        per_agent=PerAgent(
            marginal_bytes=held,
            ci95_bytes=(held - half, max(held + half, first.asked_bytes)),
            fixed_bytes=first.fixed_bytes,
            at_n_bytes=first.fixed_bytes + agents * held,
            resolved=held > half,
        ),
        growth=Estimate((held,), page),  # of the same agents under every plan
        agents=agents,
        fixed_bytes=first.fixed_bytes,
        transient_bytes=min(peaks, default=None),
        step_time=Estimate(tuple(map(math.log, paces)), None),
        digests=tuple((each.digest,) for each in trials),
        courses=tuple(each.course for each in trials),
        known_bytes=first.asked_bytes,
        once_bytes=math.inf,  # the growth is the ledger's own
    )


def gain(before: Cost, after: Cost) -> Gain:
    """What `after` saves. Below resolution is: less per agent than 1 % or the interval of the
    difference, less than 5 % or 2 MiB of the fixed cost or of the transient peak. Of what the
    ledger does not know as well, less than what a process may take once."""
    was, now = before.per_agent, after.per_agent
    least = _doubt(before.growth, after.growth)
    saved = _beyond(was.marginal_bytes, now.marginal_bytes, _LEAST_PER_AGENT, least)
    known = _beyond(before.known_bytes, after.known_bytes, _LEAST_PER_AGENT, least) or 0.0
    if saved and saved * known <= 0 and abs(saved) <= max(before.once_bytes, after.once_bytes):
        saved = None
    # The intercept of a line is as uncertain as its slope times the population.
    doubt = max(PROCESS_GRAIN_BYTES, before.agents * (_half(was) + _half(now)))
    return Gain(
        saved,
        _beyond(before.fixed_bytes, after.fixed_bytes, _LEAST_FIXED, doubt),
        _beyond(
            before.transient_bytes,
            after.transient_bytes,
            _LEAST_TRANSIENT,
            PROCESS_GRAIN_BYTES,
        ),
    )


def time_ratio(before: Cost, after: Cost) -> float:
    """Time per step after over that before."""
    return math.exp(after.step_time.value - before.step_time.value)


def time_doubt(before: Cost, after: Cost, measured: Iterable[Cost]) -> float | None:
    """Half the 95 % interval of the logarithm of that ratio, by all that was `measured`.

    Two runs of one program have different speeds, which the steps of neither tell: where no plan
    has a second one, that is not known.
    """
    was, now = before.step_time, after.step_time
    spread = half_width_by_workers(was, now, [each.step_time for each in measured])
    return None if spread is None else max(spread, scatter_of_change(was, now) or 0.0)


def least_time_ratio(before: Cost, after: Cost, measured: Iterable[Cost]) -> float:
    """The ratio as near to 1 as its interval allows; 1 where that is not known."""
    doubt = time_doubt(before, after, measured)
    if doubt is None:
        return 1.0
    change = after.step_time.value - before.step_time.value
    return math.exp(math.copysign(max(0.0, abs(change) - doubt), change))


def outcome(gain: Gain, ratio: float) -> PassOutcome:
    """In one word, for a pass whose claim holds; `ratio` is the least change of its time."""
    if gain.per_agent_bytes is not None:
        return "saves" if gain.per_agent_bytes > 0 else "costs"
    if (gain.fixed_bytes or 0) > 0 or (gain.transient_bytes or 0) > 0:
        return "saves"
    return "faster" if ratio < FASTER else "slower" if ratio > _SLOWER else "no_effect"


def words(gain: Gain, ratio: float = 1.0) -> str:
    """The same with its figures."""
    figures = (
        (gain.per_agent_bytes, "per agent"),
        (gain.fixed_bytes, "fixed cost"),
        (gain.transient_bytes, "transient peak"),
    )
    found = [
        f"{format_size(abs(size))} {'less' if size > 0 else 'more'} {what}"
        for size, what in figures
        if size is not None
    ]
    if not FASTER <= ratio <= _SLOWER:
        bound = "at most" if ratio < 1 else "at least"
        found.append(f"{bound} {ratio:.2f} times the time per step")
    return ", ".join(found) or "did nothing here: every difference is below resolution"


def _step_time(workers: Sequence[Sequence[float]]) -> Estimate:
    medians = [max(_TICK_SECONDS, statistics.median(each)) for each in workers]
    within = [median_half_width(each) / m for each, m in zip(workers, medians, strict=True)]
    return estimate([math.log(each) for each in medians], within)


def _doubt(was: Estimate, now: Estimate) -> float:
    """Half the interval of the difference: by the workers' spread, and no surer than their own
    readings, which come in pages."""
    spread, scatter = half_width_of_change(was, now), scatter_of_change(was, now)
    return max(spread or 0.0, scatter or 0.0)


def _half(cost: PerAgent) -> float:
    return (cost.ci95_bytes[1] - cost.ci95_bytes[0]) / 2


def _beyond(was: float | None, now: float | None, least: float, doubt: float) -> float | None:
    if was is None or now is None:
        return None
    saved = was - now
    return saved if abs(saved) > max(least * was, doubt) else None


ALMOST_ALL = 0.99


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first passes of a plan.

    Attributes:
        share: of the whole plan's saving per agent, measured with these passes and no others.
        left: the plan's other passes.
    """

    passes: tuple[str, ...]
    share: float
    left: tuple[str, ...]

    @property
    def gives(self) -> str:
        """`share alone gives 99.9%`."""
        verb = "alone gives" if len(self.passes) == 1 else "give"
        return f"{listed(self.passes)} {verb} {format_share(self.share)}"


def recommended(report: Report) -> Prefix | None:
    """The passes to apply: those of the plan that matter, and keep to the budget; None where no
    saving per agent is certain. What to do next and all advice go by them."""
    return shortest(report, report.budget.limit_bytes if report.budget else None)


def shortest(report: Report, limit_bytes: int | None = None) -> Prefix | None:
    """The fewest passes, from the first on, that save `ALMOST_ALL` per agent, and with which an
    agent costs `limit_bytes` at most; else the whole plan.

    None where no saving per agent is certain: behaviour has to be as claimed, and the intervals
    before and after apart.
    """
    after = report.variants.after
    if after is None or report.equivalence.verdict not in ("exact", "bounded"):
        return None
    was, now = report.variants.before.per_agent, after.per_agent
    if now.ci95_bytes[1] >= was.ci95_bytes[0]:
        return None
    kept = [each for each in report.passes if each.kept]
    names = tuple(each.name for each in kept) or after.passes  # which may not be told apart
    for count, each in enumerate(kept[:-1], start=1):
        if each.marginal_bytes is None or each.ci95_bytes is None:
            continue
        share = (was.marginal_bytes - each.marginal_bytes) / (
            was.marginal_bytes - now.marginal_bytes
        )
        most = each.at_most_bytes or 0.0
        if share >= ALMOST_ALL and (limit_bytes is None or most <= limit_bytes):
            return Prefix(names[:count], share, names[count:])
    return Prefix(names, 1.0, ())
