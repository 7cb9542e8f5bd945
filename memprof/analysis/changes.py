"""What grew or shrank between two runs of a scenario: components of the ledger, and passes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from memprof.analysis.marginal import PROCESS_GRAIN_BYTES
from memprof.analysis.regression import optimised
from memprof.gate import ComponentChange, PassChange
from memprof.measurements import Ledger, LedgerRow
from memprof.results import PassResult, Report, Variant

_LEAST_SHARE = 0.05
_LEAST_PRIVATE_BYTES = 16
_LEAST_SHARED_BYTES = 64 * 1024


def components(was: Report, now: Report) -> tuple[ComponentChange, ...]:
    """Components whose resident bytes changed, the largest change first; what is less than a
    twentieth of the largest is left out."""
    before, after = optimised(was), optimised(now)
    found = [*_rows(before, after), *_imports(before, after), *_rest(before, after)]
    private = max((abs(each.private_bytes) for each in found), default=0.0)
    shared = max((abs(each.shared_bytes) for each in found), default=0.0)
    told = [
        each
        for each in found
        if abs(each.private_bytes) >= max(_LEAST_PRIVATE_BYTES, _LEAST_SHARE * private)
        or abs(each.shared_bytes) >= max(_LEAST_SHARED_BYTES, _LEAST_SHARE * shared)
    ]
    agents = optimised(now).ledger.agents
    return tuple(sorted(told, key=lambda c: -abs(c.private_bytes * agents + c.shared_bytes)))


def passes(was: Report, now: Report) -> tuple[PassChange, ...]:
    """Passes that save less, or more, of an agent than they did, by a twentieth of it or more."""
    before = {each.name: each for each in was.passes if each.kept}
    return tuple(
        PassChange(each.name, _saved(before[each.name]), _saved(each))
        for each in now.passes
        if each.name in before and _differ(_saved(before[each.name]), _saved(each))
    )


def _saved(found: PassResult) -> float | None:
    return found.saved_bytes_per_agent


def _differ(was: float | None, now: float | None) -> bool:
    before, after = was or 0.0, now or 0.0
    return abs(after - before) > _LEAST_SHARE * max(abs(before), abs(after))


def _rows(was: Variant, now: Variant) -> Iterator[ComponentChange]:
    before = {row.component: row for row in was.ledger.rows}
    after = {row.component: row for row in now.ledger.rows}
    for name in dict.fromkeys((*after, *before)):
        private = _private(after.get(name), now.ledger) - _private(before.get(name), was.ledger)
        shared = _shared(after.get(name)) - _shared(before.get(name))
        yield ComponentChange(name, private, shared)


def _imports(was: Variant, now: Variant) -> Iterator[ComponentChange]:
    change = _imported(now) - _imported(was)
    if abs(change) >= PROCESS_GRAIN_BYTES:
        yield ComponentChange("imports", 0.0, change)


def _rest(was: Variant, now: Variant) -> Iterator[ComponentChange]:
    agents = now.ledger.agents
    change = _unexplained(now.ledger) - _unexplained(was.ledger)
    if abs(change) * agents >= PROCESS_GRAIN_BYTES:
        yield ComponentChange("unexplained", change, 0.0)


def _imported(variant: Variant) -> float:
    """Without pages of files, which other processes change."""
    return statistics.fmean(
        sample.imported.private_bytes - sample.start.private_bytes for sample in variant.samples
    )


def _private(row: LedgerRow | None, ledger: Ledger) -> float:
    """For each agent; what was asked for where the platform cannot tell what is resident."""
    if row is None:
        return 0.0
    resident = row.private_resident_bytes
    return (row.private_nominal_bytes if resident is None else resident) / ledger.agents


def _shared(row: LedgerRow | None) -> float:
    if row is None:
        return 0.0
    resident = row.shared_resident_bytes
    return float(row.shared_nominal_bytes if resident is None else resident)


def _unexplained(ledger: Ledger) -> float:
    return (ledger.unexplained_bytes or 0) / ledger.agents
