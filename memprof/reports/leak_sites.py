"""The sections on what leaks: where it stays, what keeps it alive, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from memprof.leak import Leak, Site
from memprof.reports.page import Bars, BarSeries, Section, Table
from memprof.results import Environment
from memprof.units import format_size

_MOST_SITES = 8
_MOST_LINES, _MOST_YOURS = 5, 3
_HISTORIES = ("prev_actions", "prev_obs", "qs_hist", "q_pi_hist")


# ---------------------------------------------------------------- sites


def sites_section(leak: Leak, environment: Environment) -> Iterator[Section]:
    """Where what stays was made, and what keeps it; none where nothing was searched for."""
    if not leak.sites and leak.verdict != "leak":
        return
    shown = leak.sites[:_MOST_SITES]
    tables = [_overview(leak, shown)] if shown else []
    tables += [_lines(site) for site in shown if site.lines or site.yours]
    chains = tuple((site.name, " <- ".join(site.kept_by)) for site in shown if site.kept_by)
    if chains:
        tables.append(Table("what keeps it", ("what stays", "kept by"), chains, "prose"))
    drawn = (_bars(leak, shown),) if shown else ()
    yield Section("Sites", tuple(_remarks(leak, environment)), tuple(tables), pictures=drawn)


def _overview(leak: Leak, shown: tuple[Site, ...]) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            site.name,
            format_size(site.bytes_per_cycle),
            _count(site),
            site.type_name or "-",
            site.seen_by,
        )
        for site in shown
    ]
    if leak.unattributed_bytes is not None:
        rows.append(("unattributed", format_size(leak.unattributed_bytes), "", "", ""))
    columns = ("what stays", "per cycle", "objects", "type", "seen by")
    return Table("", columns, tuple(rows), "prose")


def _bars(leak: Leak, shown: tuple[Site, ...]) -> Bars:
    sizes = {site.name: site.bytes_per_cycle for site in shown}
    if leak.unattributed_bytes is not None:
        sizes["unattributed"] = leak.unattributed_bytes
    alt = ", ".join(f"{name} {format_size(size)}" for name, size in sizes.items())
    values = BarSeries("per cycle", tuple(sizes.values()))
    return Bars("what stays after each cycle", alt, "bytes", tuple(sizes), (values,))


def _count(site: Site) -> str:
    if site.traces_per_cycle is not None:
        return f"{site.traces_per_cycle:.3g} traces"
    return f"{site.objects_per_cycle:,.1f}"


def _lines(site: Site) -> Table:
    yours = {each.place: each for each in site.yours[:_MOST_YOURS]}
    others = [each for each in site.lines[:_MOST_LINES] if each.place not in yours]
    rows = tuple(
        (each.place, format_size(each.bytes_per_cycle), each.text)
        for each in (*yours.values(), *others)
    )
    made = "traced" if site.seen_by == "jax" else "allocated"
    if not yours.keys() <= {each.place for each in site.lines}:
        made += " (your own lines first)"
    return Table(f"{site.name}, {made} at", ("line", "per cycle", "source"), rows, "source")


def _remarks(leak: Leak, environment: Environment) -> Iterator[str]:
    if len(leak.sites) > _MOST_SITES:
        yield f"{len(leak.sites) - _MOST_SITES} smaller sites are in the JSON report only."
    if leak.unattributed_bytes and leak.sites:
        yield (
            "A site's bytes are its objects' own; what allocators add to them is among the "
            "unattributed, like whatever no instrument saw."
        )
    if not leak.sites:
        yield f"No site was found for the {format_size(leak.bytes_per_cycle)} per cycle."
    if leak.native_bytes and all(site.seen_by != "memray" for site in leak.sites):
        native = f"Native libraries keep {format_size(leak.native_bytes)} per cycle"
        if "memray" in environment.versions:
            yield f"{native}, and memray found no line for them."
        else:
            yield f"{native}: the extra memprof-pymdp[native] (memray) shows the lines."


# ---------------------------------------------------------------- remedies


def remedies(leak: Leak) -> tuple[str, ...]:
    """What to do about the first site, and about those that PyMDP is known for."""
    if leak.verdict == "leak":
        known = [remedy for site in leak.sites if (remedy := _known_remedy(site))]
        first = [] if leak.sites and _known_remedy(leak.sites[0]) else [_remedy(leak)]
        return tuple(dict.fromkeys((*first, *known)))
    if leak.verdict == "inconclusive" and leak.cycles_needed:
        return (f"Run it again with --cycles {leak.cycles_needed}.",)
    return ()


def _known_remedy(site: Site) -> str | None:
    """What helps against PyMDP's own leaks."""
    owner, _, attribute = site.owner.rpartition(".")
    if owner == "Agent" and attribute in _HISTORIES:
        return (
            f"PyMDP appends to {site.owner} in every step and never drops an entry. The pass "
            "history keeps only as many as history_steps says: --passes history --history-steps 32."
        )
    if site.seen_by == "jax":
        return (
            f"JAX traces {site.name} anew in every cycle and remembers it for ever. Run one "
            "compiled step (loop: jit, or the pass jit), or call jax.clear_caches() in between."
        )
    return None


def _remedy(leak: Leak) -> str:
    """Where to begin with any other leak."""
    if not leak.sites:
        return (
            "Look at what is done once in some cycles; run it with fewer agents, or leave parts of "
            "the model and the environment out, until it is clean."
        )
    site = leak.sites[0]
    if not site.kept_by:
        return f"Start at {site.where}: what it makes in a cycle is still there after it."
    end = "Bound it" if leak.mode == "steps" else "Let go of it with the agents, or bound it"
    return f"{site.where} is kept by {site.kept_by[-1]}. {end}."
