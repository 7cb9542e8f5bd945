"""Why a site grows, where that is known: each cause by what it looks like among living objects, in
words, with what helps against it.

The only home of such words. Another cause is another kind in `CauseName`, a function with its words
here, and a look for it in `cause_of`.
"""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

from memprof.instruments.graph import LruCache, namespace, referents
from memprof.instruments.source_lines import short_path
from memprof.leak.held import Held
from memprof.leak.owners import Owner, titled
from memprof.leak.rings import Ring
from memprof.upstream import is_pymdps
from memprof.upstream.attributes import HISTORIES
from memprof.values.leak import Cause, is_memprofs_own

# So much of what an owner gains has to be behind tracebacks.
_MOSTLY = 0.5
# Objects that come and stay in three marks of the object graph.
_FEWEST = 3
# 3.12.7 has strings end again that are interned at run time (python/cpython#123065).
_IMMORTAL_NAMES = (3, 12, 0), (3, 12, 7)
_NAME_BYTES = 512
_MOST_TRIED, _MOST_SEEN = 100, 1_000


def cause_of(owner: Owner, gain: Held, is_new: Callable[[Any], bool], folder: str) -> Cause | None:
    """Why what an owner holds grows; `is_new` tells what came while it was
    watched, and paths are given from `folder`."""
    if is_memprofs_own(owner.name):
        return memprofs_own()
    holder = owner.thing
    attribute = owner.name.rpartition(".")[2]
    if attribute in HISTORIES and _is_pymdps(type(holder)):
        return history(owner.name)
    if isinstance(holder, Ring):
        return _of_ring(holder, folder)
    raised = max(gain.behind, key=lambda name: gain.behind[name], default="")
    if raised and gain.behind[raised] > _MOSTLY * gain.size_bytes:
        return exception(raised, owner.name)
    if holder is weakref.finalize:
        calls = [*_own_finalizers(is_new)]
        return finalizer(*calls[-1]) if len(calls) >= _FEWEST else None
    if issubclass(type(holder), LruCache):
        kept = [*_instances(holder, is_new)]
        if len(kept) >= _FEWEST:
            return method_cache(holder.__qualname__, titled(type(kept[-1])))
    return None


def _is_pymdps(kind: type) -> bool:
    return any(is_pymdps(base.__module__) for base in kind.__mro__)


def _of_ring(ring: Ring, folder: str) -> Cause:
    if not ring.through:
        return garbage(ring.finalizer)
    made = ring.made and f"{short_path(ring.made[0], folder)}:{ring.made[1]}"
    return array_cycle(ring.way, ring.through, made)


def _own_finalizers(is_new: Callable[[Any], bool]) -> Iterator[tuple[str, str]]:
    """The classes of objects that what `weakref.finalize` is to call after their end leads to, and
    what that is."""
    registry: Mapping[Any, Any] = vars(weakref.finalize)["_registry"]
    for entry in [each for each in registry.values() if is_new(each)][-_MOST_TRIED:]:
        target = entry.weakref()
        if target is not None and _leads_to((entry.func, entry.args, entry.kwargs), target):
            call = getattr(entry.func, "__qualname__", type(entry.func).__qualname__)
            yield titled(type(target)), call


def _leads_to(start: Any, target: Any) -> bool:
    """Whether it does so otherwise than by what lives for good."""
    seen: set[int] = set()
    waiting = deque([start])
    while waiting and len(seen) < _MOST_SEEN:
        thing = waiting.popleft()
        if thing is target:
            return True
        if id(thing) not in seen and not issubclass(type(thing), type | ModuleType):
            seen.add(id(thing))
            waiting += _closed_over(thing) if type(thing) is FunctionType else referents(thing)
    return False


def _closed_over(function: FunctionType) -> list[Any]:
    return [*(function.__closure__ or ()), *(function.__defaults__ or ())]


def _instances(cached: Any, is_new: Callable[[Any], bool]) -> Iterator[Any]:
    """Those that came lately of which the keys of a cached method keep `self`."""
    attributes, seen = namespace(cached), set()
    for table in gc.get_referents(cached):
        if type(table) is not dict or table is attributes:
            continue
        for key in table:
            first = key[0] if issubclass(type(key), tuple) and key else None
            if id(first) not in seen and is_new(first) and _is_method(cached, type(first)):
                seen.add(id(first))
                yield first


def _is_method(cached: Any, kind: type) -> bool:
    """Whether a class has it, perhaps below a property or another decorator."""
    for value in (value for each in kind.__mro__ for value in vars(each).values()):
        below = value.fget if type(value) is property else value
        while type(below) is FunctionType and "__wrapped__" in vars(below):
            below = vars(below)["__wrapped__"]
        if below is cached:
            return True
    return False


# ---------------------------------------------------------------- in words


def history(owner: str) -> Cause:
    return Cause(
        "history",
        f"PyMDP appends to {owner} in every step and never drops an entry.",
        "Use --passes history --history-steps 32 to keep only the last 32.",
    )


def retracing(place: str) -> Cause:
    return Cause(
        "retracing",
        f"JAX retraces {place} in every cycle and caches every trace.",
        "Run one compiled step (loop: jit, or the pass jit), or call jax.clear_caches() between "
        "cycles.",
    )


def memprofs_own() -> Cause:
    return Cause("memprof", "What memprof itself keeps grows.", "Report it with this scenario.")


def exception(raised: str, owner: str) -> Cause:
    if raised in ("traceback", "frame"):
        return Cause(
            "exception",
            f"{owner} keeps {raised}s, and by them all local variables of the functions that ran.",
            "Keep their text: traceback.format_exc() or traceback.format_stack().",
        )
    return Cause(
        "exception",
        f"{owner} keeps exceptions ({raised}); by its traceback, each keeps the frames that it "
        "passed, with all their local variables.",
        "Keep str(error) or traceback.format_exc(), or error.with_traceback(None).",
    )


def method_cache(method: str, kind: str) -> Cause:
    return Cause(
        "method cache",
        f"The cache on the method {method} keeps every {kind} that it was called on: its keys "
        "have self in them.",
        "Use functools.cached_property, or a cache that each instance makes for itself.",
    )


def finalizer(kind: str, call: str) -> Cause:
    return Cause(
        "finalizer",
        f"weakref.finalize keeps what it is to call, and for each {kind} that leads to the {kind} "
        f"itself ({call}), so that none is ever collected.",
        "Give it a function that does not refer to the object, such as a static method, and what "
        "has to be closed as its argument.",
    )


def garbage(kind: str) -> Cause:
    return Cause(
        "garbage",
        f"Garbage never ends: finalizers ({kind}.__del__) make new garbage whenever Python "
        "collects some.",
        "Make nothing in a finalizer; close what has to be closed in a with statement.",
    )


def array_cycle(way: Sequence[str], through: str, made: str | None) -> Cause:
    at = f" (made at {made})" if made else ""
    return Cause(
        "array cycle",
        f"Each {way[-1]} is kept by a cycle through a {through}{at}, which Python's collector "
        f"cannot see into: {' -> '.join(way)}.",
        "Hold one of them by a weak reference, empty the array when it is done with, or use a "
        "list, which the collector sees into.",
    )


def interned_names(version: tuple[int, ...], names: float, gain: Held) -> Cause | None:
    """Why a line grows whose objects nobody keeps, where Python never frees interned strings and
    comes to have so many more `names` per cycle."""
    first, fixed = _IMMORTAL_NAMES
    if not (first <= version[:3] < fixed and names):
        return None
    if not (_MOSTLY < gain.things / names < 1 / _MOSTLY):
        return None
    if gain.size_bytes > _NAME_BYTES * gain.things:
        return None
    return Cause(
        "interned names",
        f"Python {'.'.join(map(str, version[:3]))} never frees an interned string: names made at "
        "run time for setattr, keyword arguments or sys.intern stay for ever.",
        f"Use Python {'.'.join(map(str, fixed))} or later, or a dict with such names as its keys.",
    )
