"""How often a gate calls a metric worse though nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.gate import AlarmRate, MetricChange

_DOUBT = 0.05


def alarm_rates(scenario: str, comparisons: Sequence[Sequence[MetricChange]]) -> list[AlarmRate]:
    """A rate for each metric, from comparisons of runs of one scenario with one another."""
    names = dict.fromkeys(each.metric for found in comparisons for each in found)
    return [
        _rate(scenario, [each for found in comparisons for each in found if each.metric == name])
        for name in names
    ]


def highest_rate(alarms: int, trials: int) -> float:
    """The highest rate that so few alarms do not exclude: the one-sided 95 % limit.

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
