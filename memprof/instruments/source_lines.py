"""Source lines of allocations: whose they are, how a report names them, and what stays at them."""

from __future__ import annotations

import ast
import importlib.util
import linecache
import re
import sys
import sysconfig
import tempfile
import tracemalloc
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from memprof.instruments import process
from memprof.values.instruments import SourceLine

Place = tuple[str, int]
"""A source line: path and line number."""

UNKNOWN_FUNCTION = "[unknown]"

PACKAGE = f"{Path(__file__).parents[1]}/"
# The rooms of memprof whose code lives as part of agents; all others are its own work.
_AGENTS_ROOMS = ("models", "optimise", "populations", "storage", "upstream")
_STDLIB = sysconfig.get_path("stdlib")
_SITE = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))
_INSTALLED = tuple(f"{folder}/" for folder in (_STDLIB, *_SITE))
_ADDING = "add|append|appendleft|extend|extendleft|insert|setdefault|update"
"""Methods by which containers grow."""
_ADDS = re.compile(rf"([A-Za-z_][\w.]*)\s*(?:\.(?:{_ADDING})\(|\[[^=]*\]\s*=[^=]|[+|]=)")
# What PyMDP computes with: a line of theirs says less than the line that called them.
_LIBRARIES = (
    "numpy", "scipy",
    "jax", "jaxlib", "equinox", "jaxtyping", "mctx", "multimethod", "opt_einsum",
)  # fmt: skip


@cache
def is_library(path: str) -> bool:
    """Whether a file is the standard library's own, or one of the libraries PyMDP computes with."""
    for site in _SITE:
        if path.startswith(site + "/"):
            return Path(path).relative_to(site).parts[0] in _LIBRARIES
    return path.startswith((_STDLIB, "<"))


@cache
def is_memprofs_work(path: str) -> bool:
    """Whether a file is in a room of memprof that watches agents, rather than being part of them:
    any room but those of models, populations, passes, storage and PyMDP's internals."""
    room, inside, _ = path.removeprefix(PACKAGE).partition("/")
    return path.startswith(PACKAGE) and bool(inside) and room not in _AGENTS_ROOMS


def is_pythons(path: str) -> bool:
    """Whether a file is of the standard library."""
    return path.startswith(f"{_STDLIB}/") and not path.startswith(_SITE)


def is_users(path: str) -> bool:
    """Whether a file is neither installed nor memprof's nor Python's."""
    return not path.startswith(("<", PACKAGE, *_INSTALLED))


def is_memprofs(path: str) -> bool:
    """Whether a file is memprof's own, but for the models that come with it."""
    return path.startswith(PACKAGE) and not path.startswith(f"{PACKAGE}models/")


def short_path(path: str, folder: str) -> str:
    """The path relative to the import path or to the scenario's folder."""
    package_root = str(Path(PACKAGE).parent)
    for root in (*_SITE, folder, package_root, *sys.path):
        if root and path.startswith(root.rstrip("/") + "/"):
            return path[len(root.rstrip("/")) + 1 :]
    return path


def text_of(place: Place) -> str:
    """The line itself."""
    return linecache.getline(*place).strip()


def added_to(text: str) -> str:
    """What a line adds something to, such as `self.events`; empty if there is no such."""
    found = _ADDS.search(text)
    return found[1] if found else ""


def source_line(place: Place, folder: str) -> SourceLine:
    """The line as a report names it, its path from `folder`."""
    return SourceLine(short_path(place[0], folder), place[1], text_of(place))


def place_of(traceback: tracemalloc.Traceback) -> Place:
    """The innermost traced line that is the user's, PyMDP's or a model's; else the innermost."""
    return _innermost([(frame.filename, frame.lineno) for frame in reversed(traceback)])


def _innermost(places: list[Place]) -> Place:
    return next((place for place in places if not is_library(place[0])), places[0])


def running_place(innermost: FrameType) -> Place:
    """The same of the lines that run."""
    frame: FrameType | None = innermost
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    found = frame or innermost
    return found.f_code.co_filename, found.f_lineno


@cache
def function_at(path: str, line: int) -> str:
    """The innermost function that a line is in, such as `Agent.__init__`; `<module>` in none, and
    `UNKNOWN_FUNCTION` where there is no source."""
    functions = _functions(path)
    if functions is None:
        return UNKNOWN_FUNCTION
    around = [(last - first, name) for first, last, name in functions if first <= line <= last]
    return min(around)[1] if around else "<module>"


@cache
def _functions(path: str) -> tuple[tuple[int, int, str], ...] | None:
    """First and last line of the body of every function of a file, with its qualified name."""
    source = "".join(linecache.getlines(path))
    if not source.strip():  # Python 3.13 has a line of an empty file
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # what others write is theirs to judge
            return tuple(_bodies(ast.parse(source), ""))
    except (SyntaxError, ValueError, RecursionError):
        return None


def _bodies(node: ast.AST, within: str) -> Iterator[tuple[int, int, str]]:
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{child.name}" if within else child.name
            if not isinstance(child, ast.ClassDef):
                yield child.body[0].lineno, child.end_lineno or child.lineno, name
        yield from _bodies(child, name)


def by_line(traces: tracemalloc.Snapshot) -> dict[Place, tuple[int, int]]:
    """Live bytes and blocks by `place_of`."""
    found: dict[Place, tuple[int, int]] = {}
    for statistic in traces.statistics("traceback"):
        place = place_of(statistic.traceback)
        size, blocks = found.get(place, (0, 0))
        found[place] = (size + statistic.size, blocks + statistic.count)
    return found


def memray_is_installed() -> bool:
    """Whether memray, which comes with `memprof[native]`, can be used here."""
    return importlib.util.find_spec("memray") is not None


def native_by_line(run: Callable[[int], None], cycles: int) -> dict[Place, tuple[float, float]]:
    """Bytes and allocations of native libraries that stay after each of the cycles that `run` runs,
    by line, by memray.

    Watches twice, first half as many cycles and then all: what is only replaced stays as often
    either way. Python's small objects are not seen.
    """
    few = max(1, cycles // 2)
    first = _native_left(run, few)
    second = _native_left(run, max(cycles, few + 1))
    more = max(cycles, few + 1) - few
    found = {}
    for place, (size, count) in second.items():
        size_before, count_before = first.get(place, (0, 0))
        if size > size_before and count > count_before:
            found[place] = ((size - size_before) / more, (count - count_before) / more)
    return found


def _native_left(run: Callable[[int], None], cycles: int) -> dict[Place, tuple[int, int]]:
    """Bytes and allocations that are there after so many cycles, and were not before."""
    import memray

    found: dict[Place, tuple[int, int]] = {}
    mapped = (memray.AllocatorType.MMAP, memray.AllocatorType.MUNMAP)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "allocations"
        with memray.Tracker(file, native_traces=False):
            run(cycles)
            process.settle()
        with memray.FileReader(file) as reader:
            for record in reader.get_leaked_allocation_records(merge_threads=True):
                stack = [(path, line) for _, path, line in record.stack_trace()]
                # Python's small-object allocator maps its arenas; what is in them is not native.
                if stack and record.allocator not in mapped:
                    place = _innermost(stack)
                    size, count = found.get(place, (0, 0))
                    found[place] = size + record.size, count + record.n_allocations
    return found


class UserLines:
    """The user's own lines on the stacks of what was traced.

    What is installed is not the user's, but for the package that the scenario's factory is from.
    """

    def __init__(self, model: Mapping[str, Any]) -> None:
        package = str(model.get("callable", "")).partition(":")[0].partition(".")[0]
        self._factory = tuple(
            f"{folder}{package}{end}" for folder in _INSTALLED for end in ("/", ".py") if package
        )
        self._callers: dict[Place, Counter[Place]] = {}

    def own(self, path: str) -> bool:
        """Whether a file is the user's."""
        if path.startswith(self._factory):
            return True
        return is_users(path)

    def see(self, traces: tracemalloc.Snapshot) -> None:
        """Remember which of the user's lines each line was reached from, with its bytes."""
        for found in traces.statistics("traceback"):
            own = (each for each in reversed(found.traceback) if self.own(each.filename))
            frame = next(own, None)
            if frame is not None:
                callers = self._callers.setdefault(place_of(found.traceback), Counter())
                callers[frame.filename, frame.lineno] += found.size

    def made(self, lines: Mapping[Place, float]) -> dict[Place, float]:
        """The user's lines through which came to be what `lines` allocated, with their bytes. What
        PyMDP made and the user's code only put away has none of them on its stack."""
        found: defaultdict[Place, float] = defaultdict(float)
        for place, size in lines.items():
            callers = self._callers.get(place, Counter())
            for caller, share in callers.items():
                found[caller] += size * share / callers.total()
        return dict(found)

    def added(self, owner: str) -> dict[Place, float]:
        """The user's lines that say the name of `owner` and made its container grow, with what
        they allocated themselves."""
        name = owner.rpartition(".")[2]
        if not name.isidentifier():
            return {}
        adds = re.compile(rf"\b{name}\s*(\.({_ADDING})\(|\[.*\]\s*=[^=]|[+|]=)")
        reached = {caller for callers in self._callers.values() for caller in callers}
        return {
            place: float(self._callers.get(place, Counter())[place])
            for place in reached
            if adds.search(linecache.getline(*place))
        }
