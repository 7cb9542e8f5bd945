"""Allocation stacks as a file for speedscope, https://www.speedscope.app.

Written to its schema, https://www.speedscope.app/file-format-schema.json: a `sampled` profile in
bytes for each variant, of which every stack is a sample and its bytes the weight.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from memprof.measurements import AllocationStack, Frame
from memprof.reports.flame import held_stacks
from memprof.reports.json_text import AnyReport
from memprof.results import Report
from memprof.text import one_line

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def render(report: AnyReport) -> str | None:
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
