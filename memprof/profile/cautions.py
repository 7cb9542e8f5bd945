"""What a reader must know before using the figures of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memprof.profile.passes import FASTER
from memprof.stats.equivalence import Parting
from memprof.stats.lines import resolving_agents
from memprof.text import counted, format_seconds, format_size, listed
from memprof.upstream.installed import DISTRIBUTION, SPAN, TRIED, untried
from memprof.values.instruments import DeviceDetails
from memprof.values.measurements import Children, Ledger, WorkerRun
from memprof.values.profile import PassResult, Variant
from memprof.values.report import Caution, Equivalence

_EXPLAINED = 0.8
_NOISY_TIME = 0.1
_REMEDIES = {
    "incomplete": "run it again",
    "not_deterministic": "draw all random numbers of models, worlds and agents from np.random or "
    "random, which memprof seeds, or from a generator that the world's reset(seed=...) seeds",
    "not_checked": "run it again",
    "not_replaced": f"they run unchanged; pool replaces only original functions of PyMDP {SPAN}",
    "endless_garbage": "create no garbage in finalizers and callbacks, or accept the readings: "
    "they are steady if the amount is always the same",
    "no_saving": "leave it out of this scenario",
    "slower_than_allowed": "run it again on a quieter machine, or name the passes yourself",
    "below_resolution": "raise --agents or --repeats",
    "no_uss": "measure on Linux",
    "child_processes": "measure what runs in them by itself, or add their memory to these figures",
    "unexplained": "see the lines of --instruments tracemalloc for the rest; native memory is in "
    "no component",
    "born": "read figures per agent as those of one of the scenario's with its share of the born; "
    "time per step is the mean over all that lived it",
    "kept_whole": "if that matters, keep data instead of functions and other objects in the agent",
    "retracing": "compile the step: loop: jit, or the pass jit; jax.clear_caches() frees the "
    "cached programs",
    "noisy_time": "raise --repeats, and keep the machine free of other work",
    "instrument_failed": "its figure is missing; the others are valid",
}
REMEDY_OF_UNTRIED = (
    f"read figures as those of this version; a pass counts only where it is proved. Or install "
    f"{DISTRIBUTION}=={TRIED[-1]}"
)
_FOR_SPEED = "leave it out of this scenario, unless speed matters more than memory"
_OF_READINGS = {
    "native": "measure with the malloc of glibc, jemalloc or tcmalloc: without LD_PRELOAD, or with "
    "one of these",
    "python": "measure with Python's own allocator: without PYTHONMALLOC and tracemalloc, in a "
    "build with the GIL",
    "objects": "measure with Python's own allocator: without PYTHONMALLOC",
    "process": "measure where /proc/self/smaps_rollup, smaps or statm reports memory",
    "peak": "to get a peak, measure where /proc/self/clear_refs is writable",
    "shared memory": "no figure here includes memory that processes share; Linux 5.3 reports it",
    "residency": "the ledger has nominal sizes only; measure where /proc/self/pagemap can be read",
    "data segment": "no reading here can be compared with RLIMIT_DATA",
    "address space": "no reading here can be compared with RLIMIT_AS",
}


def find(
    before: Variant,
    after: Variant | None,
    verdict: Equivalence,
    passes: Sequence[PassResult],
    failure: BaseException | None,
    differs: Parting | None = None,
    max_slowdown: float | None = None,
    runs: Sequence[WorkerRun] = (),
) -> tuple[Caution, ...]:
    """All cautions, the gravest first. `differs`: the plain population does so from itself.
    `max_slowdown` is the limit that `auto` was given, `runs`
    are the clean workers."""
    found = list(of_workers(failure, runs))
    if differs is not None:
        found.append(of_difference(differs))
    elif after is not None and verdict.verdict == "not_checked":
        found.append(_caution("not_checked", f"behaviour was not compared: {verdict.detail}"))
    found += [
        Caution("no_saving", f"{each.name}: {each.detail}", _FOR_SPEED)
        if each.outcome == "costs" and (each.step_time_ratio or 1.0) < FASTER
        else _caution("no_saving", f"{each.name}: {each.detail}")
        for each in passes
        if each.outcome in ("no_effect", "costs", "slower")
    ]
    if after is not None and max_slowdown is not None:
        ratio = after.step_seconds.median / before.step_seconds.median
        if ratio > max_slowdown:
            evidence = (
                f"over all repeats a step takes {ratio:.2f} times as long as before; auto's trials "
                f"were within the limit of {max_slowdown:g}"
            )
            found.append(_caution("slower_than_allowed", evidence))
    for name, variant in (("before", before), ("after", after)):
        if variant is not None:
            found += (_caution(kind, f"{name}: {said}") for kind, said in _of_variant(variant))
    return tuple(found)


def _caution(kind: str, evidence: str) -> Caution:
    return Caution(kind, evidence, _REMEDIES[kind])


def incomplete_because(failure: BaseException) -> Caution:
    """What ended the measuring early."""
    return _caution("incomplete", str(failure))


def of_workers(failure: BaseException | None, runs: Sequence[WorkerRun]) -> Iterator[Caution]:
    """What any command's workers say: the failure that ended them early, a PyMDP that is new to us,
    what the last one found out about its backend, and what their readings miss."""
    if failure is not None:
        yield incomplete_because(failure)
    if said := untried():
        yield Caution("untried", said, REMEDY_OF_UNTRIED)
    most = max((run.children for run in runs), key=lambda each: each.started.count, default=None)
    if most is not None and (most.started.count or most.earlier.count):
        yield of_children(most, "a worker")
    facts = runs[-1].facts if runs else {}
    if left := facts.get("not replaced by pool"):
        yield _caution(
            "not_replaced",
            f"pool did not replace functions whose source it does not know: {left}",
        )
    left_out = {name: why for run in runs for name, why in run.calibration.left_out.items()}
    for name, why in left_out.items():
        said = f"the reading {name!r} is left out: {why}"
        yield Caution("left_out", said, remedy_of_reading(name))
    if any(run.calibration.endless_garbage for run in runs):
        known = {name: None for run in runs for name in run.calibration.finalizers}
        which = f" ({', '.join(known)})" if known else " or callbacks of the collector"
        yield _caution(
            "endless_garbage",
            f"every garbage collection found new garbage, made by finalizers{which}; the rest is "
            "in the readings",
        )


def of_difference(differs: Parting) -> Caution:
    """The plain population differs from itself."""
    return _caution("not_deterministic", f"{differs.words}; nothing is claimed of behaviour")


def of_children(children: Children, whose: str) -> Caution:
    """How many processes somebody started, and what they hold."""
    said = [
        f"{counted(found.count, 'process', 'processes')} {when}, in which are "
        f"{format_size(found.rss_bytes)} ({format_size(found.own_bytes)} of it in no other)"
        for found, when in (
            (children.started, "with its agents"),
            (children.earlier, "before the first one"),
        )
        if found.count
    ]
    evidence = f"{whose} started {' and '.join(said)}; that memory is in no figure here"
    return _caution("child_processes", evidence)


def remedy_of_reading(name: str) -> str:
    """What to do where a reading cannot be trusted."""
    return _OF_READINGS.get(name, "measure on Linux")


def _of_variant(variant: Variant) -> Iterator[tuple[str, str]]:
    """Kind and evidence."""
    cost, ledger, step = variant.per_agent, variant.ledger, variant.step_seconds
    if not cost.resolved:
        yield (
            "below_resolution",
            "the marginal cost is indistinguishable from zero; it is at most "
            f"{format_size(cost.at_most_bytes)}{_resolving(ledger)}",
        )
    if variant.uss_bytes is None:
        yield "no_uss", "this platform reports no USS; RSS stands in for it"
    if ledger.explained_bytes is not None and ledger.growth_bytes > 0:
        explained = ledger.explained_bytes / ledger.growth_bytes
        if explained < _EXPLAINED:
            said = f"the components explain {explained:.0%} of the growth"
            if opaque := {name for row in ledger.rows for name in row.opaque}:
                said += f"; {listed(sorted(opaque))} may hold native memory, of which nothing tells"
            yield "unexplained", said
    if variant.born:
        yield (
            "born",
            f"{counted(variant.born, 'agent')} were born in the world while the scenario's lived; "
            "what they take is in the figures for each of the scenario's",
        )
    if variant.kept_whole:
        names = ", ".join(variant.kept_whole)
        yield "kept_whole", f"{names} cannot be encoded exactly and stays whole"
    if variant.device is not None and variant.device.traces_per_step:
        yield "retracing", _retracing(variant, variant.device)
    half = (step.ci95[1] - step.ci95[0]) / 2
    if half > _NOISY_TIME * step.median:
        yield "noisy_time", f"the time per step is known only to ± {format_seconds(half)}"
    for reading in variant.instruments:
        if reading.failure:
            yield "instrument_failed", f"{reading.name}: {reading.failure}"


def _resolving(ledger: Ledger) -> str:
    each = ledger.private_each()
    if each < 1:
        return ""
    agents = float(f"{resolving_agents(each):.1e}")
    return f". By the ledger an agent holds {format_size(each)}; {agents:,.0f} agents would show it"


def _retracing(variant: Variant, device: DeviceDetails) -> str:
    trend, most = variant.trend, device.retraces[0]
    growth = ""
    if trend.verdict == "leak" and trend.bytes_per_step is not None:
        size = format_size(trend.bytes_per_step * variant.ledger.agents)
        growth = f", and the process grows by {size} per step"
    return (
        f"JAX still traces {device.traces_per_step:.3g} and compiles "
        f"{device.compilations_per_step:.3g} programs per step{growth}; most at {most.place}: "
        f"{most.text}"
    )
