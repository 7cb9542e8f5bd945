"""What the views of all reports share: intervals in words, warnings, the environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memprof.reports.page import Section, Table
from memprof.results import Caution, Environment, Interval
from memprof.units import format_size


def interval(bounds: Interval | None, show: Callable[[float], str]) -> str:
    """`low .. high`, or `-` where there is none."""
    return "-" if bounds is None else f"{show(bounds[0])} .. {show(bounds[1])}"


def positive(bounds: Interval) -> Interval:
    """No memory and no time is less than none, whatever the noise says."""
    return max(0.0, bounds[0]), max(0.0, bounds[1])


def warnings_section(warnings: Sequence[Caution]) -> Section:
    """What a reader must know before using a figure, and what to do about it."""
    rows = tuple((each.kind, each.evidence, each.remedy) for each in warnings)
    return Section("Warnings", (), (Table("", ("kind", "evidence", "what to do"), rows, "prose"),))


def environment_section(machine: Environment) -> Section:
    """The machine and the software that the figures belong to."""
    limit = machine.cgroup_limit_bytes or machine.rlimit_bytes
    limited = f"limit {format_size(limit)}" if limit else "no limit"
    rows = [
        ("versions", _pairs(machine.versions)),
        ("platform", f"{machine.platform}, {machine.cpu_count} CPUs, device {machine.device}"),
        ("backend", _pairs(machine.backend)),
        ("memory", f"{format_size(machine.total_memory_bytes)}, {limited}"),
        ("huge pages", machine.huge_pages),
        ("allocator", _pairs(machine.allocator)),
    ]
    said = tuple(row for row in rows if row[0] != "backend" or machine.backend)
    return Section("Environment", (), (Table("", ("", ""), said, "prose"),))


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
