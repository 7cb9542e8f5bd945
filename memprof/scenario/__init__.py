"""Scenarios of a file, or of a function that builds agents; every mistake names its field, line and
remedy."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memprof.catalogue.models import Npz
from memprof.errors import ScenarioError, UsageError, option_of
from memprof.scenario.problems import problem_of
from memprof.scenario.schema import Scenario
from memprof.scenario.yaml_text import MOST_BYTES, YamlProblem, read_yaml
from memprof.text import cut, read_text
from memprof.values.population import EFFORTS, PopulationSpec, WorldSpec


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A valid scenario, the file that it came from, and the line of each field in it; `file` is the
    same as the user named it, empty where it stands in none of the user's."""

    scenario: Scenario
    path: Path
    lines: Mapping[str, int]
    file: str = ""

    def spec(self, passes: tuple[str, ...]) -> PopulationSpec:
        """The population with these passes, as a worker builds it."""
        scenario, world = self.scenario, self.scenario.world
        return PopulationSpec(
            backend=scenario.backend,
            model=scenario.model.model_dump(exclude={"private"}),
            private=scenario.model.private,
            differs=scenario.model.differs,
            agent=dict(scenario.agent),
            learning=tuple(scenario.learning),
            passes=passes,
            options=scenario.options,
            loop=scenario.loop or "",
            agents=scenario.agents,
            steps=scenario.steps,
            seed=scenario.seed,
            folder=str(self.path.parent.resolve()),
            effort=EFFORTS[scenario.effort],
            builder=scenario.model.builder,
            world=None if world is None else WorldSpec(world.callable, world.params),
        )

    def where(self, field: str) -> str:
        """`file:line` of the field, or of the nearest field around it."""
        return _where(self.path, self.lines, field)


def load_scenario(path: Path, overrides: Mapping[str, Any] | None = None) -> LoadedScenario:
    """Read and check a scenario file; `overrides` replace its fields (command-line options).

    Raises:
        ScenarioError: the file cannot be read, is not YAML, or a field is wrong.
    """
    raw, lines = _read(path)
    overrides = overrides or {}

    def where(field: str) -> str:
        option = field.partition(".")[0]
        return option_of(option) if option in overrides else _where(path, lines, field)

    loaded = LoadedScenario(_checked({**raw, **overrides}, where), path, lines, str(path))
    _check_files(loaded)
    return loaded


def scenario_of(fields: Mapping[str, Any], path: Path) -> LoadedScenario:
    """A scenario that stands in no file of its own; its relative paths start where `path` is.

    Raises:
        ScenarioError: a field is wrong.
    """
    return LoadedScenario(_checked(dict(fields), lambda field: ""), path, {})


def load_default(command: str, overrides: Mapping[str, Any] | None = None) -> LoadedScenario:
    """The scenario that comes with memprof for a command that was given none.

    Raises:
        ScenarioError: `overrides` do not fit it.
    """
    file = resources.files("memprof") / "scenarios" / f"{command}.yaml"
    with resources.as_file(file) as path:
        return replace(load_scenario(path, overrides), file="")


def load_or_default(
    path: Path | None, command: str, overrides: Mapping[str, Any] | None = None
) -> LoadedScenario:
    """The scenario of the file, or where there is none that of the command.

    Raises:
        ScenarioError: it is wrong, or `overrides` do not fit it.
    """
    return load_default(command, overrides) if path is None else load_scenario(path, overrides)


def _where(path: Path, lines: Mapping[str, int], field: str) -> str:
    while field and field not in lines:
        field = field.rpartition(".")[0]
    return f"{path}:{lines[field]}" if field else str(path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The fields of a file, and the line of each."""
    try:
        raw, lines = read_yaml(read_text(path, MOST_BYTES))
    except FileNotFoundError:
        raise ScenarioError("", f"no such scenario file: {cut(str(path), 200)}") from None
    except YamlProblem as problem:
        where = f"{path}:{problem.line}" if problem.line else str(path)
        raise ScenarioError(problem.field, str(problem), where=where) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ScenarioError("", f"cannot read {cut(str(path), 200)}: {reason}") from None
    if not isinstance(raw, dict):
        raise ScenarioError("", "expected fields such as name: and model:", where=str(path))
    return raw, lines


def _checked(fields: dict[str, Any], where: Callable[[str], str]) -> Scenario:
    try:
        return Scenario.model_validate(fields)
    except ValidationError as error:
        field, problem = problem_of(error.errors())
        raise ScenarioError(field, problem, where=where(field)) from None


def _check_files(loaded: LoadedScenario) -> None:
    """What can be said about a model's file without reading arrays."""
    model = loaded.scenario.model
    if not isinstance(model, Npz):
        return
    path = loaded.path.parent / model.path
    if not path.is_file():
        problem = f"no such file: {path} (paths are relative to the scenario file)"
    elif not zipfile.is_zipfile(path):
        problem = f"expected an .npz file as numpy.savez writes it, found something else: {path}"
    else:
        return
    raise ScenarioError("model.path", problem, where=loaded.where("model.path"))


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
        raise ScenarioError("model", f"is the function {name} itself; remove it")
    try:
        json.dumps(dict(params))
    except (TypeError, ValueError) as error:
        raise ScenarioError(
            "params",
            f"expected numbers, text, lists and dicts, which reach workers as JSON; {error}",
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
        f"import, found {found}. Write `def build(): ...` outside of any function or class; pass "
        f"whatever varies in params={{...}}"
    )


def _identifiers(module: str) -> str:
    """The module's name, made of identifiers only; its file says where it is."""
    return ".".join(re.sub(r"^(?=\d)", "_", re.sub(r"\W", "_", part)) for part in module.split("."))
