"""A profile as files that the viewers of other profilers read.

collapsed: allocation stacks in Brendan Gregg's form, `a;b;c 123`, outermost first, in bytes, for
flamegraph.pl (https://github.com/brendangregg/FlameGraph), inferno and speedscope. Functions look
as py-spy writes them. The first frame is the variant, so that before and after stand side by side
on one scale; `grep ^before` leaves one.

speedscope: the same to its schema, https://www.speedscope.app/file-format-schema.json: a `sampled`
profile in bytes for each variant, of which every stack is a sample and its bytes the weight.

mprof: the timeline as memory_profiler's `mprof plot` reads it (`read_mprofile_file` in its
mprof.py). A file holds one run: `CMDLINE` is the picture's title, `MEM` a sample in MiB, `FUNC` a
function from its beginning to its end, `CHLD` a sample of a child process. Before is the run, and
what is done for each size of the population a function; after is the child, which is drawn as a
second line on the same axes. Seconds count from the first phase, where mprof has those since 1970:
its legend says that it was then.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any

from memprof.export.json_text import AnyReport
from memprof.text import counted, one_line
from memprof.values.instruments import AllocationStack, Frame
from memprof.values.measurements import Mark
from memprof.values.profile import Report, Timeline, TimelineSample
from memprof.values.run import RunReport

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_MIB = 2**20
_CHILD = 1
# The level of a function in the stack; without it, `mprof plot --flame` fails.
_LEVEL = 0


def collapsed(report: AnyReport) -> str | None:
    """A stack a line; None where there are none."""
    lines = [
        f"{';'.join(map(_name, (name, each.operation, *map(_label, each.frames))))} "
        f"{round(each.bytes_per_agent)}\n"
        for name, stacks in _held(report).items()
        for each in stacks
    ]
    return "".join(lines) or None


def _held(report: AnyReport) -> dict[str, tuple[AllocationStack, ...]]:
    """The stacks that hold something, of each variant that has any."""
    variants = report.variants.named() if isinstance(report, Report) else ()
    return {name: held for name, each in variants if (held := each.hotspots.held_stacks)}


def _label(frame: Frame) -> str:
    """`function (path:line)`, as profilers of Python write it."""
    return f"{frame.function} ({frame.path}:{frame.line})"


def _name(text: str) -> str:
    """A semicolon ends a frame, and the end of a line a stack."""
    return one_line(text).replace(";", ",")


def speedscope(report: AnyReport) -> str | None:
    """The file's text; None where there are no stacks."""
    found = _held(report)
    if not isinstance(report, Report) or not found:
        return None
    frames: dict[str | Frame, int] = {}  # numbered as they come
    profiles = [
        {
            "type": "sampled",
            "name": name,
            "unit": "bytes",
            "startValue": 0,
            "endValue": sum(stack.bytes_per_agent for stack in stacks),
            "samples": [
                [frames.setdefault(each, len(frames)) for each in _frames(stack)]
                for stack in stacks
            ],
            "weights": [stack.bytes_per_agent for stack in stacks],
        }
        for name, stacks in found.items()
    ]
    title = one_line(report.scenario.name)
    file = {
        "$schema": _SCHEMA,
        "name": f"{title}: bytes that one more agent holds",
        "exporter": "memprof",
        "activeProfileIndex": 0,
        "shared": {"frames": [_frame(each) for each in frames]},
        "profiles": profiles,
    }
    return json.dumps(file, indent=1, allow_nan=False) + "\n"


def _frames(stack: AllocationStack) -> tuple[str | Frame, ...]:
    return (stack.operation, *stack.frames)


def _frame(frame: str | Frame) -> dict[str, Any]:
    if isinstance(frame, str):
        return {"name": one_line(frame)}
    return {"name": one_line(frame.function), "file": one_line(frame.path), "line": frame.line}


def mprof(report: AnyReport) -> str | None:
    """The file's text; None where there is no timeline, of the variant before. Of a watched program
    it is private memory."""
    if isinstance(report, RunReport) and report.watched.timeline:
        words = one_line(" ".join(report.program))
        moments = report.watched.timeline
        lines = [f"MEM {_mebibytes(each.private_bytes)} {each.seconds:.4f}" for each in moments]
        return "".join(f"{line}\n" for line in (f"CMDLINE memprof run {words}", *lines))
    if not isinstance(report, Report):
        return None
    variants = dict(report.variants.named())
    before, after = variants["before"].timeline, variants.get("after")
    if before is None or not before.samples:
        return None
    title = f"memprof profile {one_line(report.scenario.name)}"
    samples: tuple[TimelineSample, ...] = ()
    if after is not None and after.timeline is not None:
        title += f" (child {_CHILD}: after {one_line(', '.join(after.passes))})"
        samples = after.timeline.samples
    lines = [
        f"CMDLINE {title}",
        *(f"MEM {_mebibytes(each.rss_bytes)} {each.seconds:.4f}" for each in before.samples),
        *_functions(before),
        *(f"CHLD {_CHILD} {_mebibytes(each.rss_bytes)} {each.seconds:.4f}" for each in samples),
    ]
    return "".join(f"{line}\n" for line in lines)


def _functions(timeline: Timeline) -> Iterator[str]:
    """What is done for each size of the population, until the next; a legend holds no more than
    those. Sizes in bytes are those that the samples have there."""
    last = timeline.samples[-1].seconds
    begun = [(name, next(marks).seconds) for name, marks in groupby(timeline.marks, _function)]
    for (name, start), (_, following) in pairwise(begun):
        if start >= last:
            return
        end = min(following, last)
        sizes = [_mebibytes(_size_at(timeline.samples, each)) for each in (start, end)]
        yield f"FUNC {name} {sizes[0]} {start:.4f} {sizes[1]} {end:.4f} {_LEVEL}"


def _function(mark: Mark) -> str:
    """A blank ends a function's name; what is in front of its last dot is not shown."""
    text = counted(mark.agents, "agent") if mark.agents else one_line(mark.label)
    return text.replace(" ", "_").replace(".", "_") or "phase"


def _size_at(samples: tuple[TimelineSample, ...], seconds: float) -> float:
    """On the straight line between two samples: mprof draws what a function has as samples too."""
    place = bisect_left(samples, seconds, key=lambda each: each.seconds)
    if place in (0, len(samples)):
        return samples[min(place, len(samples) - 1)].rss_bytes
    left, right = samples[place - 1], samples[place]
    share = (seconds - left.seconds) / (right.seconds - left.seconds)
    return left.rss_bytes + share * (right.rss_bytes - left.rss_bytes)


def _mebibytes(size_bytes: float) -> str:
    return f"{size_bytes / _MIB:.6f}"
