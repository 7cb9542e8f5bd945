"""What `optimize` would make of living agents, measured beside them: they are encoded as the pass
`template` does, decoded again, and stay as they are."""

from __future__ import annotations

import statistics
import tracemalloc
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from memprof.values.watch import Saving

# So many agents after the template are tried; fewer where that takes long.
_MOST_AGENTS, _MOST_SECONDS = 10, 0.5


def saving_of(agents: Sequence[Any]) -> Saving | None:
    """What NumPy agents of one kind would take at rest; None of one alone, which is its own
    template. To be asked in the thread that uses them, which they do not change in meanwhile."""
    if len(agents) < 2:
        return None
    from memprof.errors import MemprofError
    from memprof.instruments.held import reachable
    from memprof.instruments.memory import nominal_bytes
    from memprof.storage.template import Template

    storage, sizes, seconds, exact = Template(), [], [], True
    start = perf_counter()
    try:
        storage.passivate(agents[0], 0)
        for index, agent in enumerate(agents[1 : 1 + _MOST_AGENTS], 1):
            record = storage.passivate(agent, index)
            begin = perf_counter()
            found = storage.activate(record, index).agent
            again = storage.passivate(found, index)
            seconds.append(perf_counter() - begin)
            # What both of them hold, as it stays whole, is told apart from what one holds alone.
            exact = exact and _is_same(storage.passivate(agent, index), again)
            sizes.append(sum(map(nominal_bytes, reachable([record]))))
            del found
            if perf_counter() - start > _MOST_SECONDS:
                break
    except MemprofError as error:
        return Saving(len(sizes), None, None, exact=False, refused=str(error))
    finally:
        storage.empty()
    per_use = None if tracemalloc.is_tracing() else statistics.fmean(seconds)
    return Saving(len(sizes), statistics.fmean(sizes), per_use, exact=exact)


def _is_same(record: Any, other: Any) -> bool:
    """Whether two records of an agent hold the same, bit by bit."""
    if isinstance(record, bytes) or isinstance(other, bytes):
        return bool(record == other)
    arrays = zip(record.outside, other.outside, strict=False)
    return (
        record.data == other.data
        and len(record.outside) == len(other.outside)
        and all(left.tobytes() == right.tobytes() for left, right in arrays)
        and record.whole.keys() == other.whole.keys()
        and all(other.whole[name] is thing for name, thing in record.whole.items())
    )
