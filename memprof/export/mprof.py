"""The timeline as memory_profiler's `mprof plot` reads it (`read_mprofile_file` in its mprof.py).

A file holds one run: `CMDLINE` is the picture's title, `MEM` a sample in MiB, `FUNC` a function
from its beginning to its end, `CHLD` a sample of a child process. Before is the run, and what is
done for each size of the population a function; after is the child, which is drawn as a second line
on the same axes. Seconds count from the first phase, where mprof has those since 1970: its legend
says that it was then.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby, pairwise

from memprof.export.json_text import AnyReport
from memprof.render.page import named_variants
from memprof.text import one_line
from memprof.values.measurements import Mark
from memprof.values.profile import Report, Timeline, TimelineSample, Variant

_MIB = 2**20
_CHILD = 1
# The level of a function in the stack; without it, `mprof plot --flame` fails.
_LEVEL = 0


def render(report: AnyReport) -> str | None:
    """The file's text; None where there is no timeline of the variant before."""
    if not isinstance(report, Report):
        return None
    before, after = report.variants.before.timeline, _after(report)
    if before is None or not before.samples:
        return None
    lines = [f"CMDLINE memprof profile {_title(report)}"]
    lines += [f"MEM {_mebibytes(each.rss_bytes)} {each.seconds:.4f}" for each in before.samples]
    lines += _functions(before)
    if after is not None and after.timeline is not None:
        lines += [
            f"CHLD {_CHILD} {_mebibytes(each.rss_bytes)} {each.seconds:.4f}"
            for each in after.timeline.samples
        ]
    return "".join(f"{line}\n" for line in lines)


def _after(report: Report) -> Variant | None:
    """The variant after, where it has a timeline."""
    after = dict(named_variants(report)).get("after")
    return after if after is not None and after.timeline is not None else None


def _title(report: Report) -> str:
    """The scenario, and which line is which."""
    name, after = one_line(str(report.scenario["name"])), _after(report)
    if after is None:
        return name
    return f"{name} (child {_CHILD}: after {one_line(', '.join(after.passes))})"


def _functions(timeline: Timeline) -> Iterator[str]:
    """What is done for each size of the population, until the next; a legend holds no more than
    those. Sizes in bytes are those that the samples have there."""
    last = timeline.samples[-1].seconds
    begun = [(name, next(marks).seconds) for name, marks in groupby(timeline.marks, _name)]
    for (name, start), (_, following) in pairwise(begun):
        if start >= last:
            return
        end = min(following, last)
        sizes = [_mebibytes(_size_at(timeline.samples, each)) for each in (start, end)]
        yield f"FUNC {name} {sizes[0]} {start:.4f} {sizes[1]} {end:.4f} {_LEVEL}"


def _name(mark: Mark) -> str:
    """A blank ends a function's name; what is in front of its last dot is not shown."""
    text = f"{mark.agents} agents" if mark.agents else one_line(mark.label)
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
