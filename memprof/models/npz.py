"""A model from a NumPy archive with arrays A0 A1 .. B0 B1 .. C0 .. D0 ..; never unpickled."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from memprof.errors import ScenarioError
from memprof.models.base import GenerativeModel, object_array

_NAME = re.compile(r"([ABCD])(\d+)")


def builder(path: str, folder: str) -> Callable[[int], GenerativeModel]:
    """Every call reads the file anew, as scripts that make agents one by one do."""
    file = Path(folder) / path

    def build(agent: int) -> GenerativeModel:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ScenarioError(
                "model.path", f"cannot read {path} without unpickling: {error}"
            ) from None
        return GenerativeModel(_arguments(arrays, path))

    return build


def _arguments(arrays: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    parts: dict[str, dict[int, np.ndarray]] = {}
    for name, array in arrays.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise ScenarioError(
                "model.path", f"{path}: expected arrays A0 A1 .. B0 .. C0 .. D0 .., found {name!r}"
            )
        if array.dtype.kind not in "fiub":
            raise ScenarioError(
                "model.path", f"{path}: {name} holds {array.dtype}; expected numbers"
            )
        parts.setdefault(match[1], {})[int(match[2])] = array.astype(np.float64, copy=False)
    for letter, numbered in parts.items():
        missing = set(range(len(numbered))) - set(numbered)
        if missing:
            raise ScenarioError("model.path", f"{path}: {letter}{min(missing)} is missing")
    return {
        letter: object_array([numbered[i] for i in range(len(numbered))])
        for letter, numbered in parts.items()
    }
