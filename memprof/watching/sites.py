"""Which lines keep memory from step to step: tracemalloc, at work from the first step on."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from memprof.instruments.line_tables import LineTables
from memprof.values.watch_sites import KeptAt, Sites
from memprof.watching.cells import cell_of
from memprof.watching.registry import Place

# Frames from an allocation up to the user's own line, through NumPy's and PyMDP's.
_FRAMES = 12
_MOST_LINES = 20
# Tracing may add so much to the time of steps without it, beyond the first seconds that it adds. A
# stretch of fewer steps has too few marks, and so the first is as long in any case.
_SHARE, _ADDED_SECONDS, _FEWEST_STEPS = 1.5, 10.0, 8
# Less than this in a step is noise, and so is less than this share of what all lines gain. Of that,
# so much has to be left when those that lose are counted, too: NumPy hands small blocks out again
# without telling tracemalloc.
_LEAST_BYTES, _LEAST_SHARE, _LEFT_OVER = 8.0, 0.05, 0.1


@dataclass(slots=True)
class _Mark:
    """What there was after a step, by line: bytes and blocks; and the user's lines that led to
    each, with their bytes."""

    step: int
    held: dict[Place, tuple[int, int]] = field(default_factory=dict)
    callers: dict[Place, Counter[Place]] = field(default_factory=dict)


@dataclass(slots=True)
class _Stretch:
    """Steps of the same agents that were traced without a break, from `start` on."""

    start: int = 0
    marks: list[_Mark] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.marks[-1].step - self.start if self.marks else 0


@dataclass(slots=True)
class _Steps:
    """How many there were of one sort, and the processor time that they took."""

    count: int = 0
    seconds: float = 0.0

    @property
    def each(self) -> float:
        return self.seconds / self.count if self.count else 0.0


class KeptLines:
    """Traces the program from the first steps of its agents to `stop`, and marks what there is ever
    more seldom: after 2, 4, 6, 8, 12, 16, 24 steps and so on of the same agents. Where that takes
    more time than `_SHARE` allows, it rests, until a longer stretch can be traced. Of several
    stretches the longest counts. What came before is not traced: importing would take minutes."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self._clock = clock
        self._objects = self._steps = 0
        self._latest = self._longest = _Stretch()
        self._plain, self._traced = _Steps(), _Steps()
        self._tables: LineTables | None = None
        self._began = self._next = 0
        self._since = 0.0
        self._started = self._ended = False
        self._tracing_bytes = 0

    def stop(self) -> None:
        """Trace no longer, if nobody did before."""
        if self._tables is not None:
            self._tables.__exit__()
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
        """So many agents, or batches of them, have acted once more; whether this has changed what
        the process holds."""
        changed = self._stepped(objects)
        self._since = self._clock()
        return changed

    def _stepped(self, objects: int) -> bool:
        now = self._clock()
        if objects != self._objects:
            self._objects, self._steps = objects, 0
            self._begin()
        self._steps += 1
        self._began += 1
        if tracemalloc.is_tracing():
            self._traced.count += 1
            self._traced.seconds += now - self._since
            return self._trace_on(now)
        if self._began == 1:
            self._tables = LineTables().__enter__()
            return True
        if self._tables is not None:
            self._tables.__exit__()
            self._tables = None
            return True
        self._plain.count += 1
        self._plain.seconds += now - self._since
        if self._started or not self._can_trace():
            return False
        tracemalloc.start(_FRAMES)
        self._started = True
        self._begin()
        return True

    def _begin(self) -> None:
        self._latest = _Stretch(self._steps)
        self._next = self._steps + 2

    def _trace_on(self, now: float) -> bool:
        """Mark, or rest, if it is time to."""
        marked = self._steps >= self._next
        if marked:
            lived = self._steps - self._latest.start
            self._next = self._steps + max(2, 1 << (lived.bit_length() - 2))
            self._latest.marks.append(_marked(self._steps))
            if self._latest.length >= self._longest.length:
                self._longest = self._latest
            self._traced.seconds += self._clock() - now
        late = self._traced.count >= _FEWEST_STEPS and self._left() < 0
        if late and self._started:
            self.stop()
            return True
        return marked

    def _left(self) -> float:
        """The time that tracing may still add."""
        plain, traced = self._plain, self._traced
        added = traced.seconds - traced.count * plain.each
        return _ADDED_SECONDS + _SHARE * plain.each * (plain.count + traced.count) - added

    def _can_trace(self) -> bool:
        """Whether there is time for a stretch that is longer than those that were."""
        each = max(0.0, self._traced.each - self._plain.each)
        return self._left() >= 2 * max(self._longest.length, _FEWEST_STEPS) * each

    def found(self, folder: str) -> Sites:
        """What was found until now; `folder` is the one from which files are named."""
        self._look_at_tracing()
        tracing, marks, start = self._tracing_bytes, self._longest.marks, self._longest.start
        if self._ended:
            return Sites((), 0, 0, 0.0, tracing, "the program has stopped tracemalloc")
        if len(marks) < 3:
            return Sites((), 0, 0, 0.0, tracing, "the agents have lived too few steps")
        last = marks[-1]
        first, middle = (
            min(
                marks[:-1], key=lambda mark: abs(mark.step - start - (last.step - start) * part / 3)
            )
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
        return Sites(
            lines,
            first.step,
            last.step,
            in_all,
            tracing,
            untraced_steps=max(0, self._plain.count - 1),
        )


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
    from memprof.instruments.source_lines import added_to, is_users, source_line, text_of

    callers = last.callers.get(place, Counter()).most_common(1)
    caller = _named(callers[0][0]) if callers else None
    users = _named(place) if is_users(place[0]) else caller
    at = source_line(_named(place), folder)
    return KeptAt(
        at.path,
        at.line,
        at.text,
        bytes_per_step=size,
        blocks_per_step=blocks,
        caller=None if caller is None else source_line(caller, folder),
        added_to="" if users is None else added_to(text_of(users)),
    )


def _named(place: Place) -> Place:
    """The same, in a notebook by its cell."""
    return cell_of(place[0]) or place[0], place[1]


def _is_users(place: Place) -> bool:
    from memprof.instruments.source_lines import is_users

    return is_users(place[0])
