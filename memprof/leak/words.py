"""What grows, in words, and how to let go of what is counted."""

from __future__ import annotations

from memprof.text import format_size, listed
from memprof.values.leak import CountName, Leak

RELEASE: dict[CountName, str] = {
    "descriptors": "Close each with the agent that opened it, or open it in a with block.",
    "threads": "Have each end with the agent that started it, and join it.",
    "children": "End each with the agent that started it: terminate() it, and wait() for it.",
    "segments": "close() and unlink() each with the agent that created it.",
    "maps": "close() each with the agent that mapped it, and drop arrays that look into it.",
    "files": "Remove each with the agent that created it, as tempfile.TemporaryDirectory does.",
    "programs": "Compile once: call the same jitted function, with arguments of the same shapes.",
    "uncollectable": "Empty gc.garbage, and find what fills it (gc.DEBUG_SAVEALL does).",
    "figures": "Call matplotlib.pyplot.close(figure) once it is drawn or saved.",
    "loggers": "Use one logger for all agents: Python keeps every name.",
    "handlers": "Remove each with the agent that added it: logger.removeHandler(handler).",
    "warnings": "Warn with a text that does not change: Python remembers each one.",
}
"""What to do about each."""


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
