"""What a reader must know before using the figures of a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from memprof.text import format_seconds, format_size
from memprof.values.measurements import Calibration, DeviceDetails
from memprof.values.profile import Caution, Equivalence, PassResult, Variant

_EXPLAINED = 0.8
_ELSEWHERE = "measure on Linux"
_NOISY_TIME = 0.1


def find(
    before: Variant,
    after: Variant | None,
    verdict: Equivalence,
    passes: Sequence[PassResult],
    failure: BaseException | None,
    max_slowdown: float | None = None,
    facts: Mapping[str, str] | None = None,
    calibrations: Iterable[Calibration] = (),
) -> tuple[Caution, ...]:
    """All cautions, the gravest first. `max_slowdown` is the limit that `auto` was given, `facts`
    what the workers found out about their backend, and `calibrations` about their readings."""
    found = list(_of_run(after, verdict, failure))
    found += of_facts(facts or {})
    found += of_calibration(calibrations)
    found += [
        Caution("no_saving", f"{each.name}: {each.detail}", "leave it out of this scenario")
        for each in passes
        if each.outcome in ("no_effect", "costs", "slower")
    ]
    if after is not None and max_slowdown is not None:
        found += _of_limit(before, after, max_slowdown)
    found += _of_variant("before", before)
    if after is not None:
        found += _of_variant("after", after)
    return tuple(found)


def of_facts(facts: Mapping[str, str]) -> Iterator[Caution]:
    """What workers found out that a reader must know."""
    left = facts.get("not replaced by pool")
    if left:
        yield Caution(
            "not_replaced",
            f"pool leaves functions to PyMDP whose source it does not know: {left}",
            "their results, times and temporaries are PyMDP's own; pool knows those of PyMDP 1.0.0 "
            "to 1.0.4 that nobody has replaced",
        )


_REMEDIES = {
    "native": "measure with the malloc of glibc, jemalloc or tcmalloc: without LD_PRELOAD, or with "
    "one of these",
    "python": "measure with Python's own allocator: without PYTHONMALLOC, in a build with the GIL",
    "objects": "measure with Python's own allocator: without PYTHONMALLOC",
    "process": "measure where /proc/self/smaps_rollup, smaps or statm tells of memory",
    "peak": "measure where /proc/self/clear_refs can be written for a peak",
    "shared memory": "memory that processes share is in no figure here; Linux 5.3 tells of it",
    "residency": "the ledger has nominal sizes only; measure where /proc/self/pagemap can be read",
    "data segment": "what is held against RLIMIT_DATA cannot be told here",
    "address space": "what is held against RLIMIT_AS cannot be told here",
}


def of_calibration(calibrations: Iterable[Calibration]) -> Iterator[Caution]:
    """What the workers' readings do not tell."""
    left_out: dict[str, str] = {}
    endless = False
    for each in calibrations:
        left_out |= each.left_out
        endless = endless or each.endless_garbage
    for name, why in left_out.items():
        yield Caution(
            "left_out", f"the reading {name!r} is left out: {why}", _REMEDIES.get(name, _ELSEWHERE)
        )
    if endless:
        yield Caution(
            "endless_garbage",
            "garbage never ends: every collection found more, made by finalizers or callbacks of "
            "the collector; what was left is in the readings",
            "make no garbage where garbage is collected, or take the readings for what they are: "
            "steady as long as it is always as much",
        )


def _of_run(
    after: Variant | None, verdict: Equivalence, failure: BaseException | None
) -> Iterator[Caution]:
    if failure is not None:
        yield Caution(
            "incomplete", str(failure), "run it again; what was measured until then is here"
        )
    if after is not None and verdict.verdict == "not_checked":
        yield Caution(
            "not_checked",
            f"behaviour was not compared: {verdict.detail}",
            "seed what is random in the model or its environment from np.random",
        )


def _of_limit(before: Variant, after: Variant, max_slowdown: float) -> Iterator[Caution]:
    ratio = after.step_seconds.median / before.step_seconds.median
    if ratio > max_slowdown:
        yield Caution(
            "slower_than_allowed",
            f"over all repeats a step takes {ratio:.2f} times as long as before; auto's single "
            f"workers were within the limit of {max_slowdown:g}",
            "run it again on a quieter machine, or name the passes yourself",
        )


def _of_variant(name: str, variant: Variant) -> Iterator[Caution]:
    cost, ledger, step = variant.per_agent, variant.ledger, variant.step_seconds
    if not cost.resolved:
        yield Caution(
            "below_resolution",
            f"{name}: the marginal cost cannot be told from zero; it is at most "
            f"{format_size(cost.ci95_bytes[1])}",
            "raise --agents or --repeats",
        )
    if variant.uss_bytes is None:
        yield Caution(
            "no_uss",
            f"{name}: this platform gives no USS; RSS stands in for it",
            "measure on Linux",
        )
    if ledger.explained_bytes is not None and ledger.growth_bytes > 0:
        explained = ledger.explained_bytes / ledger.growth_bytes
        if explained < _EXPLAINED:
            yield Caution(
                "unexplained",
                f"{name}: the components explain {explained:.0%} of the growth",
                "look at tracemalloc's lines for the rest; native memory is in no component",
            )
    if variant.kept_whole:
        yield Caution(
            "kept_whole",
            f"{name}: {', '.join(variant.kept_whole)} cannot be encoded exactly and stays whole",
            "keep data instead of functions and other objects in the agent, where it matters",
        )
    if variant.device is not None and variant.device.traces_per_step:
        yield _retracing(name, variant, variant.device)
    half = (step.ci95[1] - step.ci95[0]) / 2
    if half > _NOISY_TIME * step.median:
        yield Caution(
            "noisy_time",
            f"{name}: the time per step is known to ± {format_seconds(half)} only",
            "raise --repeats, and keep the machine free of other work",
        )
    for reading in variant.instruments:
        if reading.failure:
            yield Caution(
                "instrument_failed",
                f"{name}: {reading.name}: {reading.failure}",
                "its figure is missing; the others stand",
            )


def _retracing(name: str, variant: Variant, device: DeviceDetails) -> Caution:
    trend, most = variant.trend, device.retraces[0]
    growth = ""
    if trend.verdict == "leak" and trend.bytes_per_step is not None:
        size = format_size(trend.bytes_per_step * variant.ledger.agents)
        growth = f", and the process grows by {size} per step"
    return Caution(
        "retracing",
        f"{name}: JAX still traces {device.traces_per_step:.3g} and compiles "
        f"{device.compilations_per_step:.3g} programs per step{growth}; most at {most.path}:"
        f"{most.line}: {most.text}",
        "compile the step: loop: jit, or the pass jit; jax.clear_caches() frees what is remembered",
    )
