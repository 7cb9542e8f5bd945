"""Figures of a population, declared once: tables and files read them from a report this way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from memprof.text import format_limit
from memprof.values.density import DensityVariant, Room
from memprof.values.instruments import Account, DeviceDetails
from memprof.values.profile import Variant
from memprof.values.report import BaseVariant, Interval

Unit = Literal["bytes", "seconds", "count", "rate"]
_T_contra = TypeVar("_T_contra", contravariant=True)


class Figure(Struct, Generic[_T_contra], frozen=True):
    """A figure of a population.

    Attributes:
        label: its name in tables; indented if it is part of the figure above.
        read: the figure; None if there is none, or text in its place.
        ci95: its 95 % interval.
        name: its name in files for programs; empty if it is only in tables.
        if_any: it has no row if no variant has it.
    """

    label: str
    unit: Unit
    read: Callable[[_T_contra], float | str | None]
    ci95: Callable[[_T_contra], Interval] | None = None
    name: str = ""
    if_any: bool = False


def _peak(size_bytes: float | None) -> float | str:
    """A peak that stands out; readings at rest hide a smaller one."""
    return "unknown" if size_bytes is None else size_bytes or "below resolution"


Fitted = tuple[DensityVariant, Room]
"""A variant, and how many of its agents fit."""

MARGINAL: Figure[BaseVariant] = Figure(
    "marginal per agent",
    "bytes",
    lambda v: v.per_agent.marginal_bytes,
    lambda v: v.per_agent.ci95_bytes,
    name="marginal_bytes",
)
FIXED: Figure[BaseVariant] = Figure(
    "fixed", "bytes", lambda v: v.per_agent.fixed_bytes, name="fixed_bytes"
)
STEP: Figure[Variant] = Figure(
    "time per step",
    "seconds",
    lambda v: v.step_seconds.median,
    lambda v: v.step_seconds.ci95,
    name="step_seconds",
)
TOTAL: Figure[Variant] = Figure(
    "total (USS) at {agents}", "bytes", lambda v: v.per_agent.at_n_bytes
)
PEAK: Figure[Variant] = Figure("peak (RSS)", "bytes", lambda v: v.peak_bytes)
GROWTH: Figure[Variant] = Figure(
    "growth per agent and step", "bytes", lambda v: v.trend.bytes_per_step
)
PROFILE: tuple[Figure[Variant], ...] = (
    MARGINAL,
    FIXED,
    Figure("  of which imports", "bytes", lambda v: v.imports_bytes),
    Figure("  of which pages of files", "bytes", lambda v: v.file_pages_bytes, if_any=True),
    TOTAL,
    PEAK,
    Figure("files on disk, in addition", "bytes", lambda v: v.file_bytes, if_any=True),
    STEP,
    Figure("first step, with compilation", "seconds", lambda v: v.compile_seconds, if_any=True),
    Figure("time to build an agent", "seconds", lambda v: v.build_seconds),
)
PROFILE_BRIEF = (MARGINAL, FIXED, TOTAL, PEAK, STEP, GROWTH)
DENSITY: tuple[Figure[Fitted], ...] = (
    Figure(
        "marginal per agent",
        "bytes",
        lambda f: f[0].per_agent.marginal_bytes if f[0].per_agent.resolved else "below resolution",
        lambda f: f[0].per_agent.ci95_bytes,
    ),
    Figure("fixed", "bytes", lambda f: f[0].per_agent.fixed_bytes),
    Figure("transient peak", "bytes", lambda f: _peak(f[1].transient_bytes)),
    Figure("agents per GiB, marginal", "count", lambda f: f[0].agents_per_gib),
    Figure("agents that fit, at least", "count", lambda f: f[1].agents),
    Figure("  by the fitted line", "count", lambda f: f[1].expected),
    Figure("  in", "bytes", lambda f: f"{format_limit(f[1].limit_bytes)} ({f[1].bound})"),
    Figure("  taken without agents", "bytes", lambda f: f[1].empty_bytes, if_any=True),
    Figure("largest population", "count", lambda f: f[0].lived),
    Figure("time per step", "seconds", lambda f: f[0].step_seconds),
    Figure("time to build an agent", "seconds", lambda f: f[0].build_seconds),
    Figure("  of which optimising it", "seconds", lambda f: f[0].optimise_seconds),
    Figure("in files, at most", "bytes", lambda f: f[0].file_bytes, if_any=True),
)
ACCOUNT: tuple[Figure[Account], ...] = (
    Figure("agents in a call", "count", lambda a: a.program.agents),
    Figure("steps in a call", "count", lambda a: a.program.steps),
    Figure("arguments", "bytes", lambda a: a.program.argument_bytes),
    Figure("outputs", "bytes", lambda a: a.program.output_bytes),
    Figure("temporaries", "bytes", lambda a: a.program.temporary_bytes),
    Figure("code", "bytes", lambda a: a.program.code_bytes),
    Figure("outputs, temporaries and code", "bytes", lambda a: a.program.added_bytes),
    Figure("  per agent and step", "bytes", lambda a: a.program.each_bytes),
    Figure("copies on the host", "bytes", lambda a: a.copied_bytes, if_any=True),
)
DEVICE: tuple[Figure[DeviceDetails], ...] = (
    Figure("compiled programs and caches", "bytes", lambda d: d.caches_bytes),
    Figure("traces {first}", "count", lambda d: d.first_traces),
    Figure("traces per later step", "rate", lambda d: d.traces_per_step),
    Figure("compilations {first}", "count", lambda d: d.first_compilations),
    Figure("compilations per later step", "rate", lambda d: d.compilations_per_step),
)
