"""Which lines keep memory from step to step: tracemalloc, at work from the first step on."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from memprof.values.watch_sites import KeptAt, Sites
from memprof.watching.cells import cell_of
from memprof.watching.registry import Place

# Frames from an allocation up to the user's own line, through NumPy's and PyMDP's.
_FRAMES = 12
_MOST_LINES = 20
# Less than this in a step is noise, and so is less than this share of what all lines gain. Of that,
# so much has to be left when those that lose are counted, too: NumPy hands small blocks out again
# without telling tracemalloc.
_LEAST_BYTES, _LEAST_SHARE, _LEFT_OVER = 8.0, 0.05, 0.1
_ADDS = re.compile(
    r"([A-Za-z_][\w.]*)\s*"
    r"(?:\.(?:add|append|appendleft|extend|extendleft|insert|setdefault|update)\(|\[[^=]*\]\s*=[^=]"
    r"|[+|]=)"
)


@dataclass(slots=True)
class _Mark:
    """What there was after a step, by line: bytes and blocks; and the user's lines that led to
    each, with their bytes."""

    step: int
    held: dict[Place, tuple[int, int]] = field(default_factory=dict)
    callers: dict[Place, Counter[Place]] = field(default_factory=dict)


class KeptLines:
    """Traces the program from the first step of its agents to `stop`, and marks what there is ever
    more seldom: after 2, 4, 6, 8, 12, 16, 24 steps and so on of the same agents. Of several
    stretches the longest counts. What came before is not traced: importing would take minutes."""

    def __init__(self) -> None:
        self._objects = self._steps = self._next = 0
        self._latest: list[_Mark] = []
        self._longest: list[_Mark] = []
        self._started = self._ended = False
        self._tracing_bytes = 0

    def stop(self) -> None:
        """Trace no longer, if nobody did before."""
        self._look_at_tracing()
        if self._started:
            tracemalloc.stop()
        self._started = False

    def _look_at_tracing(self) -> None:
        if tracemalloc.is_tracing():
            self._tracing_bytes = tracemalloc.get_tracemalloc_memory()
        elif self._started:
            self._ended = True

    def step(self, objects: int) -> bool:
        """So many agents, or batches of them, have acted once more; whether it was time to mark."""
        if objects != self._objects:
            self._objects, self._steps, self._next, self._latest = objects, 0, 2, []
        self._steps += 1
        if not (self._started or tracemalloc.is_tracing()):
            tracemalloc.start(_FRAMES)
            self._started = True
            return True
        if self._steps < self._next or not tracemalloc.is_tracing():
            return False
        self._next = self._steps + max(2, 1 << (self._steps.bit_length() - 2))
        self._latest.append(_marked(self._steps))
        if self._steps >= (self._longest[-1].step if self._longest else 0):
            self._longest = self._latest
        return True

    def found(self, folder: str) -> Sites:
        """What was found until now; `folder` is the one from which files are named."""
        self._look_at_tracing()
        tracing, marks = self._tracing_bytes, self._longest
        if self._ended:
            return Sites((), 0, 0, 0.0, tracing, "the program has stopped tracemalloc")
        if len(marks) < 3:
            return Sites((), 0, 0, 0.0, tracing, "the agents have lived too few steps")
        last = marks[-1]
        first, middle = (
            min(marks[:-1], key=lambda mark: abs(mark.step - last.step * part / 3))
            for part in (1, 2)
        )
        gains = _gains(first, middle, last)
        in_all = (_bytes(last) - _bytes(first)) / (last.step - first.step)
        gained = sum(size for size, _ in gains.values())
        if in_all < _LEFT_OVER * gained:
            gains = {}
        kept = [place for place, (size, _) in gains.items() if size >= _LEAST_SHARE * gained]
        order = sorted(kept, key=lambda place: (not _is_users(place), -gains[place][0]))
        lines = tuple(_line(place, *gains[place], last, folder) for place in order[:_MOST_LINES])
        return Sites(lines, first.step, last.step, in_all, tracing)


def _marked(step: int) -> _Mark:
    from memprof.instruments.process import clear_type_cache, collect
    from memprof.instruments.source_lines import is_memprofs_work, is_users, place_of

    # Else garbage, names in a cache, and what Python hands out again would look kept.
    (collect if gc.isenabled() else clear_type_cache)()
    mark = _Mark(step)
    with suppress(RuntimeError):  # another thread has stopped it
        for each in tracemalloc.take_snapshot().statistics("traceback"):
            place = place_of(each.traceback)
            if is_memprofs_work(place[0]):
                continue
            size, blocks = mark.held.get(place, (0, 0))
            mark.held[place] = size + each.size, blocks + each.count
            if not is_users(place[0]):
                own = (frame for frame in reversed(each.traceback) if is_users(frame.filename))
                if (caller := next(own, None)) is not None:
                    callers = mark.callers.setdefault(place, Counter())
                    callers[caller.filename, caller.lineno] += each.size
    return mark


def _bytes(mark: _Mark) -> int:
    return sum(size for size, _ in mark.held.values())


def _gains(first: _Mark, middle: _Mark, last: _Mark) -> dict[Place, tuple[float, float]]:
    """Bytes and blocks per step of each line that gains as much in the second part as before."""
    from memprof.stats.growth import is_steady

    found = {}
    steps = last.step - first.step
    for place, (size, blocks) in last.held.items():
        was, had = first.held.get(place, (0, 0))
        then, _ = middle.held.get(place, (0, 0))
        early = (then - was) / (middle.step - first.step)
        late = (size - then) / (last.step - middle.step)
        if is_steady(early, late) and (size - was) / steps >= _LEAST_BYTES:
            found[place] = (size - was) / steps, (blocks - had) / steps
    return found


def _line(place: Place, size: float, blocks: float, last: _Mark, folder: str) -> KeptAt:
    from memprof.instruments.source_lines import is_users, source_line, text_of

    callers = last.callers.get(place, Counter()).most_common(1)
    caller = _named(callers[0][0]) if callers else None
    users = _named(place) if is_users(place[0]) else caller
    adds = None if users is None else _ADDS.search(text_of(users))
    at = source_line(_named(place), folder)
    return KeptAt(
        at.path,
        at.line,
        at.text,
        bytes_per_step=size,
        blocks_per_step=blocks,
        caller=None if caller is None else source_line(caller, folder),
        added_to=adds[1] if adds else "",
    )


def _named(place: Place) -> Place:
    """The same, in a notebook by its cell."""
    return cell_of(place[0]) or place[0], place[1]


def _is_users(place: Place) -> bool:
    from memprof.instruments.source_lines import is_users

    return is_users(place[0])
