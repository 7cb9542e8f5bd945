"""Hotspots by operation: time from the clean workers, bytes from the traced one."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.measurements import InstrumentRun, Measurement
from memprof.results import OperationHotspot


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
