"""Doing something with a module as soon as the program has imported it, and not before."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

Then = Callable[[ModuleType], None]


class Imports(importlib.abc.MetaPathFinder):
    """Tells of modules by their names, whenever one is loaded: a program may look for one and not
    load it, or load it anew. In use between `start` and `stop`."""

    def __init__(self, wanted: Mapping[str, Then]) -> None:
        self._wanted = dict(wanted)

    def start(self) -> None:
        """What is loaded already is told of now."""
        for name, then in self._wanted.items():
            if (module := sys.modules.get(name)) is not None:
                then(module)
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module as others find it, with a loader that tells of it afterwards."""
        if fullname not in self._wanted:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Told(spec.loader, self._wanted[fullname])
                return spec
        return None


class _Told(importlib.abc.Loader):
    """Another's loader; the module has that one again as soon as it is loaded."""

    def __init__(self, loader: Any, then: Then) -> None:
        self._loader, self._then = loader, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._then(module)
