"""The view of a leak check that all formats for people share: what grows, where it is allocated,
what retains it, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from memprof.leak.verdict import seldom
from memprof.leak.words import grown, grows_in_memory, shown_number
from memprof.render import (
    Band,
    Bars,
    BarSeries,
    Chart,
    Next,
    Section,
    Series,
    Table,
    View,
    brief_warnings,
    environment_section,
    interval,
    source_table,
    warnings_section,
)
from memprof.stats import growth
from memprof.text import counted, format_size, listed
from memprof.values.counts import COUNTS
from memprof.values.leak import (
    HEAP,
    MODES,
    Leak,
    LeakReport,
    Signal,
    Site,
    SiteLine,
    is_memprofs_own,
)
from memprof.values.report import Environment

_LEAST_SPAN_BYTES = 100.0
_READINGS = (
    "Readings are taken after each cycle and garbage collection: native is what malloc has "
    "allocated, python what Python's small-object allocator has allocated, objects the number of "
    "its blocks; process is the private memory of the process, mapped its mappings of files and "
    "shared memory, device JAX's live arrays. The floor is the smallest steady gain per cycle "
    "that every repeat would have found. Descriptors, threads and the like are counted, and one in "
    "each cycle is found."
)


def leak_view(report: LeakReport) -> View:
    """What a person reads of a leak check, in the order in which it matters."""
    leak = report.leak
    trend, todo = _trend(leak, report.also), remedies(leak)
    sites = [*sites_section(leak, report.environment)]
    sections = [
        trend,
        *warnings_section(report.warnings),
        *(_trend(each, (leak,), explained=False) for each in report.also),
        *sites,
        *([Section("What else to do", todo[1:])] if todo[1:] else []),
        environment_section(report.environment),
    ]
    looked = {each.mode: _life(each) for each in (leak, *report.also)}
    lives = ", and of ".join(looked[mode] for mode in MODES if mode in looked)
    title = f"{report.scenario.name}: {counted(leak.agents, 'agent')}, cycles of {lives}"
    said, repeats = headline(leak, report.also), report.scenario.repeats
    said += "".join(
        f" Not checked: what grows {_WHILE[each.mode]} ({each.reason.removesuffix('.')})."
        for each in report.unchecked
    )
    if leak.repeats < repeats:
        said = f"After {leak.repeats} of {counted(repeats, 'repeat')}: {said}"
    picture = trend.charts[0] if trend.charts else None
    brief = (
        replace(trend, title="", text=(), charts=trend.charts[:1]),
        *(
            replace(each, text=_of_active_agents(leak), charts=(), tables=each.tables[:1])
            for each in sites
        ),
        *brief_warnings(report.warnings),
    )
    return View(title, said, tuple(sections), picture, Next(todo[0]) if todo else None, brief)


_WHILE = {"lifecycle": "as agents come and go", "steps": "as agents keep running"}


def _life(leak: Leak) -> str:
    """What a cycle is."""
    steps = "step" if leak.steps == 1 else "steps"
    if leak.mode == "lifecycle":
        return f"build, {leak.steps} {steps} and release"
    return f"{leak.steps} more {steps}"


def headline(leak: Leak, also: Sequence[Leak] = ()) -> str:
    """The verdict in one sentence; `also` are those of other modes, which say no worse."""
    match leak.verdict:
        case "leak":
            first = f"; first at {leak.sites[0].where}" if leak.sites else ""
            of_memory = ""
            if grows_in_memory(leak):
                low, high = map(format_size, leak.ci95_bytes)
                each = format_size(leak.bytes_per_agent)
                of_memory = f" ({low} to {high}), {each} per agent and cycle"
            return f"LEAK: {grown(leak)} per cycle{of_memory}{first}."
        case "clean":
            while_ = f" {_WHILE[leak.mode]} or keep running" if also else ""
            return f"Clean: nothing grows{while_}{_would_have_been_found((leak, *also))}."
        case _:
            needed = (
                f"; {counted(leak.cycles_needed, 'cycle')} would decide"
                if leak.cycles_needed
                else ""
            )
            while_ = f" {_WHILE[leak.mode]}" if also else ""
            return f"Inconclusive{while_}: {leak.detail.removesuffix('.')}{needed}."


def _would_have_been_found(clean: Sequence[Leak]) -> str:
    """The smallest leak, of the heap; and what is not in the heap has to leak to be found."""
    floor = growth.highest([each.floor_bytes for each in clean])
    if floor is None:
        return ""
    said = f"; a leak of {format_size(floor)} per cycle would have been found"
    pages = [each.floor for leak in clean for each in leak.signals if each.name == "process"]
    mapped = growth.highest(pages)
    if not pages or (mapped is not None and mapped <= floor):
        return said
    least = "none" if mapped is None else format_size(mapped)
    return f"{said} ({least} of directly mapped memory)"


def _trend(leak: Leak, others: Sequence[Leak], *, explained: bool = True) -> Section:
    """What the readings say in one mode, beside `others`; what they are is `explained` once."""
    text = [_counted(leak)]
    if leak.history_steps is not None:
        text.append(
            "PyMDP appends to an agent's histories in every step and never drops an entry. This "
            "known growth is left out: here the pass history keeps only the last "
            f"{counted(leak.history_steps, 'step')}. --mode steps counts it."
        )
    if leak.verdict != "inconclusive" and leak.detail:  # else the headline says it
        text.append(f"{leak.detail[0].upper()}{leak.detail[1:]}.")
    if leak.compilations_per_cycle is not None:
        text.append(f"Programs that JAX compiles per cycle: {leak.compilations_per_cycle:.3g}.")
    if leak.verdict == "leak" and any(
        s.name == "process" and s.per_cycle == leak.bytes_per_cycle for s in leak.signals
    ):
        text.append(
            "The process gains more than its allocators have allocated: directly mapped memory, "
            "such as for threads, or fragmentation."
        )
    if explained:
        text.append(_READINGS)
    columns = ("reading", "verdict", "per cycle", "95 % interval", "floor")
    shown = [each for each in leak.signals if not _is_steady(each)]
    steady = [words.many for each in leak.signals if _is_steady(each) and (words := each.counted)]
    if steady:
        text.append(f"Counted as well, and steady: {listed(steady)}.")
    table = Table("", columns, tuple(map(_signal_row, shown)))
    charts = tuple(_charts(leak))
    title = f"Trend, {_WHILE[leak.mode]}: {leak.verdict}" if others else "Trend"
    return Section(title, tuple(text), (table,), charts, tuple(_every_signal(leak)))


def _is_steady(signal: Signal) -> bool:
    """Whether it is a count of which there is nothing to say."""
    return signal.counted is not None and signal.verdict == "clean"


def _counted(leak: Leak) -> str:
    """How many cycles count, and how many were left out, in each repeat."""
    lengths = [len(series) - 1 for series in leak.signals[0].series]
    cycles = [n - left for n, left in zip(lengths, leak.warm_up_cycles, strict=True)]
    repeats = counted(leak.repeats, "repeat") + (", each in a fresh worker" * (leak.repeats > 1))
    return (
        f"Counted cycles: {_listed(cycles)}, after a warm-up of {_listed(leak.warm_up_cycles)}, "
        f"in {repeats}. At least {leak.cycles} were requested; a rising reading is watched for "
        "twice as many."
    )


def _listed(numbers: Sequence[int]) -> str:
    """`10, 12 and 11`, or `10` where all are."""
    return listed([str(each) for each in (numbers if len(set(numbers)) > 1 else numbers[:1])])


def _charts(leak: Leak) -> Iterator[Chart]:
    """The first repeat of the heap, or of what grows where the heap does not."""
    drawn = [each for each in leak.signals if each.name in HEAP]
    if leak.verdict == "leak" and all(each.verdict != "leak" for each in drawn):
        drawn = [each for each in leak.signals if each.verdict == "leak"][:1] or drawn
    if not drawn:
        return
    readings = [sum(values) for values in zip(*(each.series[0] for each in drawn), strict=True)]
    left_out = leak.warm_up_cycles[0]
    counted = len(readings) - 1 - left_out
    if counted < 1:
        return
    start = readings[left_out]
    points = tuple((float(cycle), float(each - start)) for cycle, each in enumerate(readings))
    names = " + ".join(each.name for each in drawn)
    of_bytes = all(each.in_bytes for each in drawn)
    gained = points[-1][1]
    said = format_size(gained, signed=True) if of_bytes else f"{gained:+,.0f}"
    yield Chart(
        title=f"{names} after each cycle, repeat 1",
        alt=f"{names} gains {said} in {counted} counted cycles",
        x_label="cycle",
        unit="change" if of_bytes else "count",
        series=(
            Series("counted", points[left_out:]),
            Series("left out", points[:left_out], fits=False, role="quiet"),
        ),
        bands=_gain(drawn, leak, left_out, counted),
        least_span=max(_LEAST_SPAN_BYTES, counted * (leak.floor_bytes or 0.0)) if of_bytes else 1.0,
    )


def _gain(drawn: Sequence[Signal], leak: Leak, left_out: int, counted: int) -> tuple[Band, ...]:
    """The interval of the gain per cycle, over the counted cycles."""
    whole_heap = all(each.name in HEAP for each in drawn)
    low, high = leak.ci95_bytes if whole_heap else drawn[0].ci95
    ends = ((left_out + cycle, cycle * low, cycle * high) for cycle in range(counted + 1))
    return (Band("95 % interval of the gain", tuple(ends)),)


def _every_signal(leak: Leak) -> Iterator[Chart]:
    """Each reading in every repeat, since the first counted one."""
    for signal in leak.signals:
        if _is_steady(signal):
            continue
        series = []
        for number, (readings, cut) in enumerate(
            zip(signal.series, leak.warm_up_cycles, strict=True), 1
        ):
            start = readings[min(cut, len(readings) - 1)]
            points = tuple((float(n), float(each - start)) for n, each in enumerate(readings))
            series.append(Series(f"repeat {number}", points[cut:], joined=True))
            series.append(Series("", points[:cut], fits=False, role="quiet"))
        known = tuple(each for each in series if each.points)
        if sum(len(each.points) for each in known if each.fits) > 1:
            yield Chart(
                title=f"{signal.name}: {signal.verdict}",
                alt=f"{_gained(signal)} per cycle",
                x_label="cycle",
                unit="change" if signal.in_bytes else "count",
                series=known,
                least_span=_LEAST_SPAN_BYTES if signal.in_bytes else 10.0,
            )


def _gained(signal: Signal) -> str:
    if not signal.in_bytes:
        return f"{signal.per_cycle:+,.1f}"
    return format_size(signal.per_cycle, signed=True)


def _signal_row(signal: Signal) -> tuple[str, ...]:
    show: Callable[[float], str] = format_size if signal.in_bytes else "{:,.1f}".format
    return (
        signal.name,
        signal.verdict,
        _gained(signal),
        interval(signal.ci95, show),
        "-" if signal.floor is None else show(signal.floor),
    )


_MOST_SITES = 8
_MOST_LINES, _MOST_YOURS = 5, 3


# ---------------------------------------------------------------- sites


def sites_section(leak: Leak, environment: Environment) -> Iterator[Section]:
    """Where what stays was allocated, and what retains it; none where nothing was searched for."""
    if not leak.sites and leak.verdict != "leak":
        return
    shown = leak.sites[:_MOST_SITES]
    tables = [_overview(leak, shown)] if shown else []
    tables += [_lines(site) for site in shown if site.lines or site.yours]
    chains = tuple((site.name, " <- ".join(site.kept_by)) for site in shown if site.kept_by)
    if chains:
        tables.append(Table("retention paths", ("site", "retained by"), chains, "prose"))
    drawn = (_bars(leak, shown),) if shown and grows_in_memory(leak) else ()
    yield Section("Sites", tuple(_remarks(leak, environment)), tuple(tables), pictures=drawn)


def _overview(leak: Leak, shown: tuple[Site, ...]) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            site.name,
            "" if site.counted else format_size(site.bytes_per_cycle),
            f"{site.objects_per_cycle:,.1f}"
            if site.traces_per_cycle is None
            else f"{site.traces_per_cycle:.3g} traces",
            site.type_name or "-",
            site.seen_by,
        )
        for site in shown
    ]
    if leak.unattributed_bytes is not None:
        rest = leak.sites[len(shown) :]
        smaller = sum(site.bytes_per_cycle for site in rest)
        if rest:
            rows.append((counted(len(rest), "smaller site"), format_size(smaller), "", "", ""))
        rows.append(("unattributed", format_size(leak.unattributed_bytes), "", "", ""))
        rows.append(("in all", format_size(_in_all(leak)), "", "", ""))
    columns = ("site", "per cycle", "objects", "type", "seen by")
    return Table("", columns, tuple(rows), "prose")


def _in_all(leak: Leak) -> float:
    """What those gain per cycle whose sites these are."""
    return sum(site.bytes_per_cycle for site in leak.sites) + (leak.unattributed_bytes or 0.0)


def _bars(leak: Leak, shown: tuple[Site, ...]) -> Bars:
    sizes = {site.name: site.bytes_per_cycle for site in shown if not site.counted}
    if leak.unattributed_bytes is not None:
        sizes["unattributed"] = leak.unattributed_bytes
    alt = ", ".join(f"{name} {format_size(size)}" for name, size in sizes.items())
    values = BarSeries("per cycle", tuple(sizes.values()))
    return Bars("growth per cycle, by site", alt, "bytes", tuple(sizes), (values,))


def _lines(site: Site) -> Table:
    """The lines that made what it keeps, and those that added it there where they are others."""
    yours = {each.place: each for each in site.yours[:_MOST_YOURS]}
    others = [each for each in _memprofs_as_one(site) if each.place not in yours]
    size = partial(_per_cycle, site)
    shown = [(each, size(each)) for each in (*yours.values(), *others)]
    known = {each.place for each, _ in shown}
    added = [each for each in site.added[:_MOST_YOURS] if each.place not in known]
    title = f"{site.name}: where it is traced"
    if site.counted is not None:
        title = f"{COUNTS[site.counted].many}: where they are {COUNTS[site.counted].made}"
    elif site.seen_by != "jax":
        title = f"{site.name}: where its objects are made" + " and added" * bool(added)
    if not yours.keys() <= {each.place for each in site.lines}:
        title += " (your own lines first)"
    return source_table(title, "per cycle", (*shown, *((each, "added here") for each in added)))


def _per_cycle(site: Site, line: SiteLine) -> str:
    return (
        shown_number(site.objects_per_cycle) if site.counted else format_size(line.bytes_per_cycle)
    )


def _memprofs_as_one(site: Site) -> Iterator[SiteLine]:
    """Its first lines; memprof's own together, but where that is what grows."""
    lines = site.lines[:_MOST_LINES]
    own = [each for each in lines if each.is_memprofs and not is_memprofs_own(site.owner)]
    yield from (each for each in lines if each not in own)
    if own:
        size = sum(each.bytes_per_cycle for each in own)
        yield SiteLine("memprof", 0, "the form in which passes keep it", size)


def _of_active_agents(leak: Leak) -> tuple[str, ...]:
    """Whose sites and sizes these are, where not of the population that leaks."""
    if not leak.sites_without:
        return ()
    return (
        f"Sites are from agents that stay active (without {listed([*leak.sites_without])}), and so "
        "are their sizes: in a record, an agent has no attributes to name. These agents gain "
        f"{format_size(_in_all(leak))} per cycle where those at rest gain "
        f"{format_size(leak.bytes_per_cycle)}.",
    )


def _remarks(leak: Leak, environment: Environment) -> Iterator[str]:
    yield from _of_active_agents(leak)
    if len(leak.sites) > _MOST_SITES:
        yield f"{len(leak.sites) - _MOST_SITES} smaller sites are in the JSON report only."
    if leak.unattributed_bytes and leak.sites:
        yield (
            "Sites are measured in a worker of their own. Their sizes exclude allocator overhead, "
            "which is counted as unattributed, as is anything no instrument saw."
        )
    if not leak.sites:
        yield f"No site was found for the {grown(leak)} per cycle."
    if leak.native_bytes and all(site.seen_by != "memray" for site in leak.sites):
        native = f"Native libraries keep {format_size(leak.native_bytes)} per cycle"
        if "memray" in environment.versions:
            yield f"{native}, and memray found no line for them."
        else:
            yield f"{native}: the extra memprof-pymdp[native] (memray) shows the lines."


# ---------------------------------------------------------------- remedies


def remedies(leak: Leak) -> tuple[str, ...]:
    """What to do about the first site, and about others of which the cause is known."""
    if leak.verdict == "leak":
        known = [f"{site.cause.says} {site.cause.remedy}" for site in leak.sites if site.cause]
        first = [] if leak.sites and leak.sites[0].cause else [_remedy(leak)]
        return tuple(dict.fromkeys((*first, *known)))
    if leak.verdict == "inconclusive" and leak.cycles_needed:
        return (f"Run it again with --cycles {leak.cycles_needed}.",)
    return ()


def _remedy(leak: Leak) -> str:
    """Where to begin with any other leak."""
    if not leak.sites:
        when = "Look for what happens only in some cycles" if seldom(leak) else "Narrow it down"
        return (
            f"{when}: use fewer agents, or leave out parts of the model, the environment and the "
            "plan, until the check is clean."
        )
    site = leak.sites[0]
    if site.counted is not None:
        return COUNTS[site.counted].remedy
    if not site.kept_by:
        return f"Start at {site.where}: its allocations outlive the cycle."
    end = "Bound it" if leak.mode == "steps" else "Release it with the agents, or cap it"
    return f"{site.where} is retained by {site.kept_by[-1]}. {end}."
