"""The gate's judgement: whether a scenario got worse, by the samples of two runs; and how often a
gate calls a metric worse though nothing has changed.

Every figure has an interval from its spread over fresh workers: how a worker's own readings scatter
about a line is the same in every worker, and a difference takes it out; it counts only where there
is a single worker. The interval of a change is Student's for two samples, of a spread that both
runs share: they are measured in one way. A metric is *worse* when the whole of it lies beyond the
tolerance, *the same* or *better* when the whole lies within it or below, and *inconclusive*
(`could_not_measure` in reports) when it lies on both sides.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from memprof.posix import PAGE_BYTES
from memprof.stats.lines import (
    PROCESS_GRAIN_BYTES,
    Estimate,
    Line,
    estimate,
    half_width_of_change,
    memory_line,
    robust_fit,
    slope,
)
from memprof.stats.repeats import repeats_to_decide
from memprof.values.gate import METRICS, AlarmRate, Change, MetricChange, MetricName, Tolerance
from memprof.values.measurements import GrowthPoint, Sample
from memprof.values.profile import Report, Variant
from memprof.values.report import Interval, Verdict

_FEWEST_READINGS = 4


def judge(was: Report, now: Report, tolerances: Mapping[str, Tolerance]) -> list[MetricChange]:
    """A verdict on each metric that either run has; none where the population with its passes was
    not measured."""
    if not (measured(was) and measured(now)):
        return []
    found = [
        _figure(name, measure(was.variants.final), measure(now.variants.final), tolerances[name])
        or _blind(name, was.variants.final, now.variants.final)
        for name, measure in FIGURES.items()
    ]
    return [each for each in (*found, _equivalence(was, now), _budget(was, now)) if each]


def first(now: Report) -> list[MetricChange]:
    """The metrics of a run without another to compare with; what must not be is worse even so."""
    found = [
        MetricChange(name, METRICS[name].unit, "new", now=each.value, now_ci95=each.ci95)
        for name, measure in FIGURES.items()
        if (each := measure(now.variants.final)) is not None
    ]
    verdicts = (_equivalence(now, now), _budget(now, now))
    return found + [
        each if each.verdict == "worse" else replace(each, verdict="new")
        for each in verdicts
        if each is not None
    ]


def measured(report: Report) -> bool:
    """Whether the population as the scenario wants it was measured, in figures that others can be
    compared with."""
    without_passes = report.variants.after is None and bool(report.scenario.passes)
    return not without_passes and bool(report.variants.final.samples)


def inconclusive(metrics: Sequence[MetricChange]) -> bool:
    """Whether further repeats of the run now may still bring a decision."""
    return any(each.verdict == "could_not_measure" and each.change is not None for each in metrics)


def _figure(
    name: MetricName, was: Estimate | None, now: Estimate | None, tolerance: Tolerance
) -> MetricChange | None:
    if was is None and now is None:
        return None
    unit = METRICS[name].unit
    if was is None or now is None:
        which = "the baseline" if was is None else "this run"
        return MetricChange(
            name,
            unit,
            "could_not_measure",
            was=was.value if was else None,
            now=now.value if now else None,
            detail=f"{which} has no figure",
        )
    allowed = tolerance.allowed(was.value)
    change, half = now.value - was.value, half_width_of_change(was, now)
    interval = None if half is None else (change - half, change + half)
    verdict = "could_not_measure" if interval is None else verdict_on(interval, allowed)
    enough, detail = None, ""
    if verdict == "could_not_measure":
        enough = repeats_to_decide(was, now, abs(allowed - change))
        detail = _too_noisy(enough, (len(was.values), len(now.values)))
    return MetricChange(
        name, unit, verdict, was.value, was.ci95, now.value, now.ci95, change, interval, allowed,
        detail, enough,
    )  # fmt: skip


def _too_noisy(enough: tuple[int, int] | None, repeats: tuple[int, int]) -> str:
    """Why a change is inconclusive, and on which side more repeats would decide."""
    if repeats == (1, 1):
        return "one worker then and one now do not show how much workers differ"
    if enough is None:
        return "too noisy; more repeats would not decide either"
    more = [
        f"{then_or_now} {about} instead of {known}"
        for then_or_now, about, known in zip(("then", "now"), enough, repeats, strict=True)
        if about > known
    ]
    return f"too noisy; about this many repeats would decide: {' and '.join(more)}"


def _blind(name: MetricName, was: Variant, now: Variant) -> MetricChange | None:
    """A metric that neither run has for lack of a reading: a change of it would not have shown."""
    samples = (*was.samples, *now.samples)
    why = ""
    if name == "growth_bytes_per_step":
        why = next((each.trend.blind for each in samples if each.trend.blind), "")
    if name == "peak_bytes" and all(each.peak_rss_bytes is None for each in samples):
        why = "this platform does not report the highest resident set"
    unit = METRICS[name].unit
    return MetricChange(name, unit, "could_not_measure", detail=why) if why else None


def verdict_on(change: Interval, allowed: float) -> Change:
    """What an interval of a change means under a tolerance."""
    low, high = change
    if low > allowed:
        return "worse"
    if high < -allowed:
        return "better"
    return "same" if high <= allowed else "could_not_measure"


# ---------------------------------------------------------------- figures


def marginal(variant: Variant) -> Estimate:
    """Growth of private memory for each agent, over the workers; where that is no more and no less
    than what the allocators have handed out, but for the grain of a process, this finer reading.
    """
    return slope([_growth(sample.points) for sample in variant.samples])


def fixed(variant: Variant) -> Estimate:
    """The process without agents, but for pages of files, which other processes change."""
    lines = [memory_line(_private(sample.points)) for sample in variant.samples]
    agents = variant.samples[0].at_n.agents
    return estimate(
        [line.intercept for line in lines], [line.half_width * agents for line in lines]
    )


def peak(variant: Variant) -> Estimate | None:
    """Highest resident set while the population was built and stepped, but for pages of files."""
    peaks = [
        sample.peak_rss_bytes - (sample.at_n.reading.rss_bytes - sample.at_n.reading.private_bytes)
        for sample in variant.samples
        if sample.peak_rss_bytes is not None
    ]
    return estimate(peaks, [PAGE_BYTES] * len(peaks)) if peaks else None


def growth_per_step(variant: Variant) -> Estimate | None:
    """Bytes that an agent gains by living one step longer; None where a worker had no time to
    tell."""
    series = [sample.trend for sample in variant.samples if sample.trend.tells]
    if not series or any(len(each.heap_bytes) < _FEWEST_READINGS for each in series):
        return None
    lines = [robust_fit(list(enumerate(map(float, each.heap_bytes)))) for each in series]
    lives = [each.agents * each.stride for each in series]
    return estimate(
        [line.slope / life for line, life in zip(lines, lives, strict=True)],
        [line.half_width / life for line, life in zip(lines, lives, strict=True)],
    )


def step_ratio(variant: Variant) -> Estimate | None:
    """Processor time of an agent's step over that of the reference loop in the same worker."""
    ratios = [
        _undisturbed(sample) / _quickest(sample.reference_cpu_seconds)
        for sample in variant.samples
        if sample.reference_cpu_seconds
    ]
    return Estimate(tuple(ratios), None) if ratios else None


FIGURES: Mapping[MetricName, Callable[[Variant], Estimate | None]] = {
    "marginal_bytes": marginal,
    "fixed_bytes": fixed,
    "peak_bytes": peak,
    "growth_bytes_per_step": growth_per_step,
    "step_ratio": step_ratio,
}
"""The metrics that are figures, with what reads each of them from a run's samples."""


def _growth(points: Sequence[GrowthPoint]) -> Line:
    """A process grows by whole pages and arenas, after its agents have filled what was free in
    them: so far its growth says less, and by chance, than what its allocators have handed out."""
    private = _private(points)
    heap = [(point.agents, point.heap_bytes) for point in points if point.heap_bytes is not None]
    alike = len(heap) == len(points) and abs(_span(private) - _span(heap)) < PROCESS_GRAIN_BYTES
    return robust_fit(heap) if alike else memory_line(private)


def _private(points: Sequence[GrowthPoint]) -> list[tuple[int, float]]:
    return [(point.agents, point.private_bytes) for point in points]


def _span(points: Sequence[tuple[int, float]]) -> float:
    return points[-1][1] - points[0][1]


def _undisturbed(sample: Sample) -> float:
    """Mean time of a step, each at its quickest over the batches of agents that lived it.

    A busy machine only ever adds time; but a step that is slow by itself is slow in every batch.
    """
    steps = len(sample.step_cpu_seconds) // sample.batches
    batches = [
        sample.step_cpu_seconds[first : first + steps]
        for first in range(0, steps * sample.batches, steps)
    ]
    return statistics.fmean(min(times) for times in zip(*batches, strict=True))


def _quickest(seconds: Sequence[float]) -> float:
    """The first decile: the quickest of all may be a fluke."""
    return sorted(seconds)[len(seconds) // 10]


# ---------------------------------------------------------------- verdicts


def _equivalence(was: Report, now: Report) -> MetricChange | None:
    """Behaviour that diverged is worse, whatever it was: no saving may be claimed for it."""
    if not now.variants.final.passes and not was.variants.final.passes:
        return None
    before, after = was.equivalence.verdict, now.equivalence.verdict
    detail = after if before == after else f"{before} before, {after} now"
    if after == "diverged":
        broken = [each.name for each in now.passes if each.kept and each.outcome == "diverged"]
        detail = f"{detail} with {', '.join(broken or now.variants.final.passes)}"
    if now.equivalence.detail and after != "exact":
        detail = f"{detail}: {now.equivalence.detail}"
    return MetricChange("equivalence", "verdict", _behaviour(before, after), detail=detail)


def _behaviour(before: Verdict, after: Verdict) -> Change:
    if after == "diverged":
        return "worse"
    if before == after:
        return "same"
    if after == "not_checked":
        return "could_not_measure"
    if before == "not_checked":
        return "same"
    return "worse" if (before, after) == ("exact", "bounded") else "better"


def _budget(was: Report, now: Report) -> MetricChange | None:
    """The marginal cost as a gate knows it compared with the budget; broken, it is worse, whatever
    it was."""
    if now.budget is None:
        return None
    before, after = marginal(was.variants.final).value, marginal(now.variants.final).value
    kept = after <= now.budget.limit_bytes
    mended = was.budget is not None and before > was.budget.limit_bytes
    return MetricChange(
        "budget",
        "verdict",
        "worse" if not kept else "better" if mended else "same",
        was=before,
        now=after,
        allowed=float(now.budget.limit_bytes),
        detail="met" if kept else "exceeded",
    )


_DOUBT = 0.05


def alarm_rates(scenario: str, comparisons: Sequence[Sequence[MetricChange]]) -> list[AlarmRate]:
    """A rate for each metric, from comparisons of runs of one scenario with one another."""
    names = dict.fromkeys(each.metric for found in comparisons for each in found)
    return [
        _rate(scenario, [each for found in comparisons for each in found if each.metric == name])
        for name in names
    ]


def highest_rate(alarms: int, trials: int) -> float:
    """The highest rate that this few alarms do not exclude: the one-sided 95 % limit.

    Source: Clopper and Pearson (1934).
    """
    from scipy.special import betaincinv

    return 1.0 if alarms >= trials else float(betaincinv(alarms + 1, trials - alarms, 1 - _DOUBT))


def _rate(scenario: str, found: Sequence[MetricChange]) -> AlarmRate:
    alarms = sum(each.verdict == "worse" for each in found)
    changes = [each.change for each in found if each.change is not None]
    allowed = [each.allowed for each in found if each.change is not None and each.allowed]
    return AlarmRate(
        scenario=scenario,
        metric=found[0].metric,
        unit=found[0].unit,
        comparisons=len(found),
        false_alarms=alarms,
        undecided=sum(each.verdict == "could_not_measure" for each in found),
        most_ci95=highest_rate(alarms, len(found)),
        largest_change=max(changes, key=abs) if changes else None,
        allowed=min(allowed) if allowed else None,
    )
