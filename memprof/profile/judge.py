"""What workers' results say together: the ledger against what the operating system saw, time and
bytes by operation, and what an agent gains by living one step longer, judged as a leak check does.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from memprof.stats import growth
from memprof.values.measurements import InstrumentRun, Ledger, LedgerRow, Measurement, TrendSeries
from memprof.values.profile import OperationHotspot, Trend


def balance(
    agents: int, growth_bytes: int, rows: Sequence[LedgerRow], held_bytes: Sequence[float]
) -> Ledger:
    """The ledger of a population of `agents` whose private memory grew by `growth_bytes`.

    `held_bytes` are the resident bytes that each of the scenario's agents holds alone; empty where
    unknown.
    """
    resident = [row.resident_bytes for row in rows]
    known = [size for size in resident if size is not None]
    explained = sum(known) if len(known) == len(rows) else None
    unexplained = None if explained is None else growth_bytes - explained
    ledger = Ledger(agents, growth_bytes, explained, unexplained, None, tuple(rows))
    if not held_bytes:
        return ledger
    return replace(
        ledger,
        typical_agent_bytes=float(statistics.median(held_bytes)),
        mean_agent_bytes=statistics.fmean(held_bytes),
        agent_bytes_range=(round(min(held_bytes)), round(max(held_bytes))),
    )


def operations(
    clean: Sequence[Measurement], traced: InstrumentRun | None
) -> tuple[OperationHotspot, ...]:
    """One row per operation, in the order in which an agent does them."""
    memory = {each.operation: each for each in traced.operations} if traced else {}
    rows = []
    for operation in dict.fromkeys(o.operation for run in clean for o in run.operations):
        times = [o for run in clean for o in run.operations if o.operation == operation]
        calls = sum(each.calls for each in times)
        traced_calls = memory.get(operation)
        rows.append(
            OperationHotspot(
                operation=operation,
                calls=calls,
                seconds_per_call=sum(each.seconds for each in times) / calls,
                retained_bytes_per_call=(
                    traced_calls.retained_bytes / traced_calls.calls if traced_calls else None
                ),
                peak_bytes=traced_calls.peak_bytes if traced_calls else None,
            )
        )
    return tuple(rows)


def trend(repeats: Sequence[TrendSeries]) -> Trend:
    """Whether the live heap goes on growing, step after step (see `stats.growth`), and by how much
    for each agent. Where a repeat has too few readings to tell, there is no figure; where it has
    none that could have seen growth, nothing is decided either."""
    first = min(series.first_step for series in repeats)
    last = max(s.first_step + (len(s.heap_bytes) - 1) * s.stride for s in repeats)
    if any(series.blind for series in repeats):
        return Trend("inconclusive", None, None, None, first, last)
    if any(len(series.heap_bytes) <= growth.FEWEST_CYCLES for series in repeats):
        return Trend(None, None, None, None, first, last)
    cuts = [growth.settled(series.heap_bytes, growth.FEWEST_CYCLES) for series in repeats]
    found = [_judged(series, cut or 0) for series, cut in zip(repeats, cuts, strict=True)]
    each = growth.agreed(found, settled=None not in cuts)
    return Trend(each.verdict, each.per_cycle, each.ci95, each.floor, first, last)


def _judged(series: TrendSeries, cut: int) -> growth.Judgement:
    """One repeat, in bytes per agent and step; repeats differ in the number of agents. What gains
    less than one grain for all of them is their records, which may become larger."""
    grain, lives = growth.GRAIN_BYTES, series.agents * series.stride
    found = growth.judge(growth.CycleSeries(series.heap_bytes, grain, least=grain), cut)
    return replace(
        found,
        slope=found.slope / lives,
        half_width=found.half_width / lives,
        floor=None if found.floor is None else found.floor / lives,
    )
