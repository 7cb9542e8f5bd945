"""A scenario of the agents that a Python function builds, in place of a scenario file."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from memprof.errors import ScenarioError, UsageError
from memprof.scenario.file import LoadedScenario, scenario_of


def scenario_of_function(
    build: Callable[..., Any], params: Mapping[str, Any], fields: Mapping[str, Any]
) -> LoadedScenario:
    """The scenario of what `build(**params)` returns, which is what a factory may return.

    Workers are told where its module is and what this process imports from, so that they find it
    wherever this process did.

    Raises:
        UsageError: `build` is no function that another process can import.
        ScenarioError: a field is wrong.
    """
    name, module, file = _place_of(build)
    if "model" in fields:
        raise ScenarioError("model", f"is the function {name} here; leave it out")
    try:
        json.dumps(dict(params))
    except (TypeError, ValueError) as error:
        raise ScenarioError(
            "params",
            f"expected numbers, text, lists and dicts, which workers are sent as JSON; {error}",
        ) from None
    model = {
        "kind": "factory",
        "callable": f"{_identifiers(module)}:{name}",
        "params": dict(params),
        "file": str(file),
        "path": [str(Path(each).absolute()) for each in sys.path],
    }
    title = name.lstrip("_") or "agents"
    return scenario_of({"name": title, **fields, "model": model}, Path(os.path.relpath(file)))


def _place_of(build: Any) -> tuple[str, str, Path]:
    """Name, module and file of a function at the top level of a module."""
    name = str(getattr(build, "__qualname__", ""))
    module = str(getattr(build, "__module__", ""))
    known = sys.modules.get(module)
    if not callable(build) or known is None or not name or module == "__main__":
        found = f"{type(build).__qualname__} {name}".strip()
    elif getattr(known, name, None) is not build:
        found = f"{name} of {module}"
    elif getattr(known, "__file__", None) is None:
        found = f"{name} of {module}, which has no file"
    else:
        return name, module, Path(inspect.getsourcefile(known) or str(known.__file__)).resolve()
    raise UsageError(
        "expected a function at the top level of a module, which fresh worker processes can "
        f"import, found {found}. Write `def build(): ...` outside of any function or class; hand "
        "over with params={...} what varies"
    )


def _identifiers(module: str) -> str:
    """The module's name, made of identifiers only; its file says where it is."""
    return ".".join(re.sub(r"^(?=\d)", "_", re.sub(r"\W", "_", part)) for part in module.split("."))
