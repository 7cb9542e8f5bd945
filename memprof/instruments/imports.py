"""What importing takes, by top-level package: private memory and time."""

from __future__ import annotations

import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from time import perf_counter
from types import ModuleType
from typing import Any, Literal, Self

from memprof.instruments import process
from memprof.values.instruments import ImportRow

_MOST_ROWS = 20
_STANDARD = "standard library"


class ImportWatch:
    """Everything that is imported while this context is entered, in the thread that entered it.

    As with `python -X importtime`, a module that another package's module imports is its own
    package's. Modules are found as ever; only their loaders are wrapped until they have loaded.
    """

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._modules: Counter[str] = Counter()
        self._stack: list[str] = []
        self._last = 0, 0.0
        self._thread = 0

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.meta_path.remove(self)

    def rows(self, asked_by: Literal["pymdp", "model"]) -> tuple[ImportRow, ...]:
        """The packages that took most memory, most first."""
        return tuple(
            ImportRow(name, asked_by, size, self._seconds[name], self._modules[name])
            for name, size in self._bytes.most_common(_MOST_ROWS)
            if size > 0
        )

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """What the other finders find, with a loader that is watched."""
        for finder in [each for each in sys.meta_path if each is not self]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _WatchedLoader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def run(self, module: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a part of a module's import, on its package's account."""
        if threading.get_ident() != self._thread:
            return function(*arguments)
        self._charge()
        self._stack.append(_package(module))
        try:
            return function(*arguments)
        finally:
            self._charge()
            self._stack.pop()

    def loaded(self, module: str) -> None:
        """Count a module."""
        self._modules[_package(module)] += 1

    def _charge(self) -> None:
        """What came since the last time is the innermost package's."""
        now = process.anonymous_bytes(), perf_counter()
        if self._stack:
            self._bytes[self._stack[-1]] += now[0] - self._last[0]
            self._seconds[self._stack[-1]] += now[1] - self._last[1]
        self._last = now


class _WatchedLoader:
    """A module's loader until the module has it back, as its code begins to run."""

    def __init__(self, loader: Any, watch: ImportWatch) -> None:
        self._loader = loader
        self._watch = watch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._watch.run(spec.name, self._loader.create_module, spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._watch.loaded(module.__name__)
        self._watch.run(module.__name__, self._loader.exec_module, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _package(module: str) -> str:
    package = module.partition(".")[0]
    return _STANDARD if package in sys.stdlib_module_names else package
