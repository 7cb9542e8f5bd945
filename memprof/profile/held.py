"""What agents hold, as a reader is told of it: the largest components, and the lines of source that
allocated it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memprof.text import format_size
from memprof.values.instruments import LineHotspot
from memprof.values.measurements import Ledger, LedgerRow

_OWN_ROOMS = ("memprof/storage/", "memprof/optimise/", "memprof/populations/")
_OWN = "memprof's own: the agent's world, and what passes keep of the agent"
_LEAST_SHARE = 0.1
_MOST_NAMED = 2


@dataclass(frozen=True, slots=True)
class HeldLine:
    """A line and what one further agent holds of what it allocated; `memprof` for all of memprof's
    own lines together, which say nothing to those who did not write them."""

    place: str
    bytes: float
    text: str


def held_lines(lines: Sequence[LineHotspot]) -> tuple[HeldLine, ...]:
    """Lines of the user's, of the model's and of PyMDP's, and memprof's own as one; most bytes
    first."""
    own = [each.bytes_per_agent for each in lines if each.path.startswith(_OWN_ROOMS)]
    found = [
        HeldLine(each.place, each.bytes_per_agent, each.text)
        for each in lines
        if not each.path.startswith(_OWN_ROOMS)
    ]
    if own:
        found.append(HeldLine("memprof", sum(own), _OWN))
    return tuple(sorted(found, key=lambda line: -line.bytes))


def largest_components(ledger: Ledger) -> Iterator[str]:
    """A sentence that names the components with most of the bytes that agents hold."""
    rows = sorted(ledger.rows, key=_bytes, reverse=True)
    total = sum(map(_bytes, rows))
    large = [row for row in rows[:_MOST_NAMED] if total and _bytes(row) >= _LEAST_SHARE * total]
    if large:
        named = ", ".join(_named(row, _bytes(row) / total, ledger) for row in large)
        yield f"Largest of what agents hold, resident: {named}."


def _bytes(row: LedgerRow) -> int:
    return row.private_bytes + row.shared_bytes


def _named(row: LedgerRow, share: float, ledger: Ledger) -> str:
    """With its bytes: once where agents share most of it, else for each of them."""
    if row.shared_bytes > row.private_bytes:
        size = f"{format_size(_bytes(row))}, shared"
    else:
        size = f"{format_size(ledger.held_each(row.component))} each"
    return f"{row.component} {share:.0%} ({size})"
