"""How two runs of a scenario differ: whether their figures can be compared at all, and what grew or
shrank, of components of the ledger and of what passes save."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from memprof.catalogue.backends import BACKENDS
from memprof.stats.lines import PROCESS_GRAIN_BYTES
from memprof.text import cut
from memprof.values.gate import ComponentChange, PassChange
from memprof.values.measurements import Ledger
from memprof.values.profile import Report, Variant
from memprof.values.report import Environment, Interval

# Releases of these decide on what an agent takes, or on how it is measured; of Python itself, the
# minor version does.
DECISIVE = (
    *("memprof-pymdp", "inferactively-pymdp", "numpy"),
    *(package for each in BACKENDS.values() for package in each.packages),
)
# Fields that say how well a scenario is measured and judged, or for whom it is described.
_INDIFFERENT = ("description", "effort", "instruments", "repeats", "budget", "tolerances")
_LEAST_SHARE = 0.05
_LEAST_PRIVATE_BYTES = 16
_LEAST_SHARED_BYTES = 64 * 1024


def scenario_hash(scenario: Mapping[str, Any]) -> str:
    """SHA-256 of the fields that decide on a scenario's figures."""
    text = json.dumps(_decisive(scenario), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def scenario_changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The fields that decide on a scenario's figures and differ: `agents: 20, now 10`."""
    before, after = dict(_flat(_decisive(was))), dict(_flat(_decisive(now)))
    return [
        f"{cut(name)}: {_show(before.get(name))}, now {_show(after.get(name))}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`model.size` and its value, for fields within fields."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def environment_changes(was: Environment, now: Environment) -> list[str]:
    """What makes the figures of two environments not comparable: another memprof, other versions or
    builds of Python and the backend, another size of pages, mode of huge pages, or allocator."""
    return [
        f"{cut(name)}: {cut(before) or 'none'}, now {cut(after) or 'none'}"
        for name, before, after in _conditions(was, now)
        if before != after
    ]


def _decisive(scenario: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scenario.items() if name not in _INDIFFERENT}


def _conditions(was: Environment, now: Environment) -> Iterator[tuple[str, str, str]]:
    yield "python", _minor(was), _minor(now)
    yield "python's build", was.python_build, now.python_build
    for name in DECISIVE:
        yield name, was.versions.get(name, ""), now.versions.get(name, "")
    yield "platform", _platform(was), _platform(now)
    yield "page size", _bytes(was.page_bytes), _bytes(now.page_bytes)
    yield "device", was.device, now.device
    yield "huge pages", was.huge_pages, now.huge_pages
    for kind, before, after in (
        ("allocator", was.allocator, now.allocator),
        ("backend", was.backend, now.backend),
    ):
        for name in sorted({*before, *after}):
            yield f"{kind} {name}", before.get(name, ""), after.get(name, "")


def _minor(environment: Environment) -> str:
    return ".".join(environment.versions.get("python", "").split(".")[:2])


def _platform(environment: Environment) -> str:
    """System and processor, without the kernel's release."""
    words = environment.platform.split()
    return f"{words[0]} {words[-1]}" if words else ""


def _bytes(size: int | None) -> str:
    return "" if size is None else f"{size:,} bytes"


def _show(value: Any) -> str:
    return cut(json.dumps(value))


# ---------------------------------------------------------------- what grew or shrank


def components(was: Report, now: Report) -> tuple[ComponentChange, ...]:
    """Components whose resident bytes changed, the largest change first; what is less than a
    twentieth of the largest is left out."""
    before, after = was.variants.final, now.variants.final
    found, agents = _changes(before, after), after.ledger.agents
    imports = _imported(after) - _imported(before)
    if abs(imports) >= PROCESS_GRAIN_BYTES:
        found.append(ComponentChange("imports", 0.0, imports))
    unexplained = _unexplained(after.ledger) - _unexplained(before.ledger)
    if abs(unexplained) * agents >= PROCESS_GRAIN_BYTES:
        found.append(ComponentChange("unexplained", unexplained, 0.0))
    return _told(found, agents)


def before_passes(was: Report, now: Report) -> tuple[ComponentChange, ...]:
    """The same of agents without passes, for private components that no longer have a name of their
    own after the passes, but are part of an agent's record."""
    if was.variants.after is None or now.variants.after is None:
        return ()
    before, after = was.variants.before, now.variants.before
    named = {row.component for row in now.variants.after.ledger.rows}
    merged = [
        replace(each, shared_bytes=0.0)
        for each in _changes(before, after)
        if each.component not in named
    ]
    return _told(merged, after.ledger.agents)


def _changes(before: Variant, after: Variant) -> list[ComponentChange]:
    """By how much each component changed."""
    then, current = _resident(before), _resident(after)
    found: list[ComponentChange] = []
    for name in dict.fromkeys((*current, *then)):
        private, shared = current.get(name, (0.0, 0.0))
        private_then, shared_then = then.get(name, (0.0, 0.0))
        found.append(ComponentChange(name, private - private_then, shared - shared_then))
    return found


def _told(found: Sequence[ComponentChange], agents: int) -> tuple[ComponentChange, ...]:
    """The changes that are worth telling, the largest first."""
    most_private = max((abs(each.private_bytes) for each in found), default=0.0)
    most_shared = max((abs(each.shared_bytes) for each in found), default=0.0)
    told = [
        each
        for each in found
        if abs(each.private_bytes) >= max(_LEAST_PRIVATE_BYTES, _LEAST_SHARE * most_private)
        or abs(each.shared_bytes) >= max(_LEAST_SHARED_BYTES, _LEAST_SHARE * most_shared)
    ]
    return tuple(sorted(told, key=lambda c: -abs(c.private_bytes * agents + c.shared_bytes)))


def passes(was: Report, now: Report) -> tuple[PassChange, ...]:
    """Passes that save less, or more, of an agent than they did: by a twentieth of it or more, and
    by more than what they saved, then and now, is uncertain by."""
    before = {each.name: each.saved_bytes_per_agent for each in was.passes if each.kept}
    then, current = _savings(was), _savings(now)
    return tuple(
        PassChange(each.name, before[each.name], each.saved_bytes_per_agent)
        for each in now.passes
        if each.name in then
        and each.name in current
        and _apart(then[each.name], current[each.name])
        and _differ(before[each.name], each.saved_bytes_per_agent)
    )


def _savings(report: Report) -> dict[str, Interval]:
    """What passes save of an agent at least and at most, where that is known."""
    found = {}
    before: Interval | None = report.variants.before.per_agent.ci95_bytes
    for each in report.passes:
        if each.kept:
            after = each.ci95_bytes
            if before is not None and after is not None:
                found[each.name] = before[0] - after[1], before[1] - after[0]
            before = after
    return found


def _apart(one: Interval, other: Interval) -> bool:
    return one[1] < other[0] or other[1] < one[0]


def _differ(was: float | None, now: float | None) -> bool:
    before, after = was or 0.0, now or 0.0
    return abs(after - before) > _LEAST_SHARE * max(abs(before), abs(after))


def _resident(variant: Variant) -> dict[str, tuple[float, float]]:
    """Bytes of each component: private ones of one agent, and shared ones in all."""
    agents = variant.ledger.agents
    return {
        row.component: (row.private_bytes / agents, float(row.shared_bytes))
        for row in variant.ledger.rows
    }


def _imported(variant: Variant) -> float:
    """Without pages of files, which other processes change."""
    return statistics.fmean(
        sample.imported.private_bytes - sample.start.private_bytes for sample in variant.samples
    )


def _unexplained(ledger: Ledger) -> float:
    return (ledger.unexplained_bytes or 0) / ledger.agents
