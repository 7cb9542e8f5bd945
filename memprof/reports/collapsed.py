"""Allocation stacks in Brendan Gregg's collapsed form: `a;b;c 123`, outermost first, in bytes.

Read by flamegraph.pl (https://github.com/brendangregg/FlameGraph), inferno and speedscope.
Functions look as py-spy writes them. The first frame is the variant, so that before and after stand
side by side on one scale; `grep ^before` leaves one.
"""

from __future__ import annotations

from memprof.measurements import AllocationStack
from memprof.reports.flame import frame_label, held_stacks
from memprof.reports.json_text import AnyReport
from memprof.results import Report
from memprof.text import one_line


def render(report: AnyReport) -> str | None:
    """A stack a line; None where there are none."""
    if not isinstance(report, Report):
        return None
    lines = [_line(name, each) for name, stacks in held_stacks(report) for each in stacks]
    return "".join(f"{line}\n" for line in lines) or None


def _line(variant: str, stack: AllocationStack) -> str:
    names = (variant, stack.operation, *map(frame_label, stack.frames))
    return f"{';'.join(map(_name, names))} {round(stack.bytes_per_agent)}"


def _name(text: str) -> str:
    """A semicolon ends a frame, and the end of a line a stack."""
    return one_line(text).replace(";", ",")
