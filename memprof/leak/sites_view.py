"""The sites of a leak: what retains more and more, and the lines that made it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from memprof.leak.words import grown, grows_in_memory, shown_number
from memprof.render import Bars, BarSeries, Section, Table, source_table
from memprof.text import counted, format_size, listed
from memprof.values.counts import COUNTS
from memprof.values.leak import Leak, Site, SiteLine, is_memprofs_own
from memprof.values.report import Environment

_MOST_SITES = 8
_MOST_LINES, _MOST_YOURS = 5, 3


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


def of_active_agents(leak: Leak) -> tuple[str, ...]:
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
    yield from of_active_agents(leak)
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
