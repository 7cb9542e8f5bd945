"""What grows, in words."""

from __future__ import annotations

from memprof.text import format_size, listed
from memprof.values.leak import Leak, Mode

WHILE: dict[Mode, str] = {"lifecycle": "as agents come and go", "steps": "as agents keep running"}
"""What agents do in each mode."""


def grown(leak: Leak) -> str:
    """What a leak gains per cycle: `10 file descriptors and 17.7 KB`."""
    leaking = [signal for signal in leak.signals if signal.verdict == "leak"]
    counts = [
        f"{said} {words.one if said == '1' else words.many}"
        for signal in leaking
        if (words := signal.counted) and (said := shown_number(signal.per_cycle))
    ]
    memory = [format_size(leak.bytes_per_cycle)] if len(counts) < len(leaking) else []
    return listed([*counts, *memory])


def grows_in_memory(leak: Leak) -> bool:
    """Whether it gains any bytes, and not only what is counted."""
    return any(each.verdict == "leak" and each.counted is None for each in leak.signals)


def shown_number(value: float) -> str:
    """`10`, `0.33`, `1,800`."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.2g}"
