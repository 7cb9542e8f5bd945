"""Allocation stacks in Brendan Gregg's collapsed form: `a;b;c 123`, outermost first, in bytes.

Read by flamegraph.pl (https://github.com/brendangregg/FlameGraph), inferno and speedscope.
Functions look as py-spy writes them. The first frame is the variant, so that before and after stand
side by side on one scale; `grep ^before` leaves one.

Allocation stacks as a file for speedscope, https://www.speedscope.app.

Written to its schema, https://www.speedscope.app/file-format-schema.json: a `sampled` profile in
bytes for each variant, of which every stack is a sample and its bytes the weight.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from memprof.export.json_text import AnyReport
from memprof.profile.pictures import frame_label, held_stacks
from memprof.text import one_line
from memprof.values.measurements import AllocationStack, Frame
from memprof.values.profile import Report


def collapsed(report: AnyReport) -> str | None:
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


_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def speedscope(report: AnyReport) -> str | None:
    """The file's text; None where there are no stacks."""
    found = list(held_stacks(report)) if isinstance(report, Report) else []
    if not isinstance(report, Report) or not found:
        return None
    frames: dict[str | Frame, int] = {}
    profiles = [_profile(name, stacks, frames) for name, stacks in found]
    name = one_line(str(report.scenario["name"]))
    file = {
        "$schema": _SCHEMA,
        "name": f"{name}: bytes that one further agent holds",
        "exporter": "memprof",
        "activeProfileIndex": 0,
        "shared": {"frames": [_frame(each) for each in frames]},
        "profiles": profiles,
    }
    return json.dumps(file, indent=1, allow_nan=False) + "\n"


def _profile(
    name: str, stacks: Sequence[AllocationStack], frames: dict[str | Frame, int]
) -> dict[str, Any]:
    """One variant; `frames` numbers operations and frames as they come."""
    return {
        "type": "sampled",
        "name": name,
        "unit": "bytes",
        "startValue": 0,
        "endValue": sum(stack.bytes_per_agent for stack in stacks),
        "samples": [_sample(stack, frames) for stack in stacks],
        "weights": [stack.bytes_per_agent for stack in stacks],
    }


def _sample(stack: AllocationStack, frames: dict[str | Frame, int]) -> list[int]:
    called: tuple[str | Frame, ...] = (stack.operation, *stack.frames)
    return [frames.setdefault(each, len(frames)) for each in called]


def _frame(frame: str | Frame) -> dict[str, str | int]:
    if isinstance(frame, str):
        return {"name": one_line(frame)}
    return {"name": one_line(frame.function), "file": one_line(frame.path), "line": frame.line}
