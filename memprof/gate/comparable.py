"""Whether two runs can be held against each other at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from memprof.catalogue.backends import BACKENDS
from memprof.text import cut
from memprof.values.profile import Environment

# Releases of these decide on what an agent takes, or on how it is measured; of Python itself, the
# minor version does.
DECISIVE = (
    *("memprof-pymdp", "inferactively-pymdp", "numpy"),
    *(package for each in BACKENDS.values() for package in each.packages),
)
# Fields that say how well a scenario is measured and judged, or for whom it is described.
_INDIFFERENT = ("description", "effort", "instruments", "repeats", "budget", "tolerances")


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
    """What makes the figures of two environments incomparable: another memprof, other versions or
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
