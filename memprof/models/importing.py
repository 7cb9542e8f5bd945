"""Importing the module of a user's function, also one that only its file leads to."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType


def import_module(name: str, file: str, path: Sequence[str]) -> ModuleType:
    """The module `name`, imported with `path` before the rest of `sys.path`; from `file`, if that
    is given, whatever the name leads to.

    Raises:
        Exception: whatever the module or the import system raises.
    """
    sys.path[:] = [*path, *(each for each in sys.path if each not in path)]
    if not file:
        return importlib.import_module(name)
    finder = _Around(name, Path(file))
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)


class _Around(MetaPathFinder):
    """Finds one module, and the packages around it, where its file is; relative imports work then.

    Test modules may have names that no path leads to (pytest's `--import-mode=importlib`).
    """

    def __init__(self, name: str, file: Path) -> None:
        place = file.parent if file.name == "__init__.py" else file
        self._places = {name: place}
        while "." in name:
            name, place = name.rpartition(".")[0], place.parent
            self._places[name] = place

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = self._places.get(name)
        if place is None:
            return None
        file = place if place.is_file() else place / "__init__.py"
        folders = None if place.is_file() else [str(place)]
        usual = PathFinder.find_spec(name, path)
        if usual is not None and (
            usual.origin == str(file) or str(place) in (usual.submodule_search_locations or ())
        ):
            return usual
        if file.is_file():
            return spec_from_file_location(name, file, submodule_search_locations=folders)
        package = ModuleSpec(name, None, is_package=True)
        package.submodule_search_locations = folders
        return package
