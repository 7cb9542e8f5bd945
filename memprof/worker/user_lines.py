"""Which lines on the stacks of allocations are the user's own: neither memprof's nor installed."""

from __future__ import annotations

import linecache
import re
import sysconfig
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memprof.analysis.retention import Place
from memprof.instruments.source_lines import place_of

_MEMPROF = f"{Path(__file__).parents[1]}/"
_INSTALLED = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib"))


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
        return not path.startswith(("<", _MEMPROF, *_INSTALLED))

    def see(self, traces: tracemalloc.Snapshot) -> None:
        """Remember which of the user's lines each line was reached from, with its bytes."""
        for found in traces.statistics("traceback"):
            own = (each for each in reversed(found.traceback) if self.own(each.filename))
            frame = next(own, None)
            if frame is not None:
                callers = self._callers.setdefault(place_of(found.traceback), Counter())
                callers[frame.filename, frame.lineno] += found.size

    def of(self, owner: str, lines: Mapping[Place, float]) -> dict[Place, float]:
        """The user's lines through which came to be what `owner` holds and `lines` allocated, with
        their bytes.

        What PyMDP made and the user's code only put away has none of them on its stack; then they
        are those that say the owner's name and made its container grow.
        """
        found: defaultdict[Place, float] = defaultdict(float)
        for place, size in lines.items():
            callers = self._callers.get(place, Counter())
            for caller, share in callers.items():
                found[caller] += size * share / callers.total()
        return dict(found) or self._naming(owner.rpartition(".")[2])

    def _naming(self, name: str) -> dict[Place, float]:
        if not name.isidentifier():
            return {}
        says_it = re.compile(rf"\b{name}\b")
        reached = {caller for callers in self._callers.values() for caller in callers}
        return {
            place: float(self._callers.get(place, Counter())[place])
            for place in reached
            if says_it.search(linecache.getline(*place))
        }
