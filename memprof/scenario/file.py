"""Loading a scenario file; every mistake names its field, line and remedy."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from memprof.catalogue.backends import BACKENDS
from memprof.catalogue.models import MODELS, Npz
from memprof.errors import FieldError, ScenarioError, nearest, option_of
from memprof.scenario.schema import Budget, Scenario
from memprof.scenario.yaml_text import MOST_BYTES, YamlProblem, read_yaml
from memprof.text import cut, read_text, shown
from memprof.values.population import PopulationSpec


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A valid scenario, the file that it came from, and the line of each field in it."""

    scenario: Scenario
    path: Path
    lines: Mapping[str, int]

    def spec(self, passes: tuple[str, ...]) -> PopulationSpec:
        """The population with these passes, as a worker builds it."""
        scenario = self.scenario
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
            builder=scenario.model.builder,
        )

    def where(self, field: str) -> str:
        """`file:line` of the field, or of the nearest field around it."""
        return _where(self.path, self.lines, field)


def _where(path: Path, lines: Mapping[str, int], field: str) -> str:
    while field and field not in lines:
        field = field.rpartition(".")[0]
    return f"{path}:{lines[field]}" if field else str(path)


def load_scenario(path: Path, overrides: Mapping[str, Any] | None = None) -> LoadedScenario:
    """Read and check a scenario file; `overrides` replace its fields (command-line options).

    Raises:
        ScenarioError: the file cannot be read, is not YAML, or a field is wrong.
    """
    raw, lines = _read(path)
    overrides = overrides or {}
    try:
        scenario = Scenario.model_validate({**raw, **overrides})
    except ValidationError as error:
        raise _scenario_error(error, overrides, partial(_where, path, lines)) from None
    loaded = LoadedScenario(scenario, path, lines)
    _check_files(loaded)
    return loaded


def scenario_of(fields: Mapping[str, Any], path: Path) -> LoadedScenario:
    """A scenario that stands in no file of its own; its relative paths start where `path` is.

    Raises:
        ScenarioError: a field is wrong.
    """
    try:
        scenario = Scenario.model_validate(dict(fields))
    except ValidationError as error:
        raise _scenario_error(error, {}, lambda field: "") from None
    return LoadedScenario(scenario, path, {})


def load_default(command: str, overrides: Mapping[str, Any] | None = None) -> LoadedScenario:
    """The scenario that comes with memprof for a command that was given none.

    Raises:
        ScenarioError: `overrides` do not fit it.
    """
    file = resources.files("memprof") / "scenarios" / f"{command}.yaml"
    with resources.as_file(file) as path:
        return load_scenario(path, overrides)


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


def _scenario_error(
    error: ValidationError, overrides: Mapping[str, Any], where: Callable[[str], str]
) -> ScenarioError:
    """The first of pydantic's findings, as field, expected, found and remedy."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    siblings: type[BaseModel] = Scenario
    if location[:1] == ["model"] and len(location) > 1 and location[1] in MODELS:
        siblings = MODELS[location.pop(1)]  # the union's tag is no field of the file
    elif location[:1] == ["budget"]:
        siblings = Budget
    context = first.get("ctx", {})
    named = (cut(part) for part in location if part.isidentifier() or part.isdigit())
    field = ".".join(named)
    match first["type"]:
        case "value_error" if isinstance(context["error"], FieldError):
            field, problem = context["error"].field, str(context["error"])
        case "value_error":
            problem = f"{context['error']}, found {shown(first['input'])}"
        case "missing":
            problem = "is missing; add it"
        case "union_tag_not_found":
            field, problem = "model.kind", f"is missing; {nearest('', MODELS)}"
        case "union_tag_invalid":
            field, problem = "model.kind", MODELS.unknown(str(context["tag"]), "model")
        case "literal_error" if field == "backend":
            problem = BACKENDS.unknown(str(first["input"]), "backend")
        case "extra_forbidden":
            problem = f"is no field here; {nearest(location[-1], siblings.model_fields)}"
        case "string_pattern_mismatch":
            expected = siblings.model_fields[location[-1]].description
            problem = f"expected {expected}, found {shown(first['input'])}"
        case "model_attributes_type" | "model_type":
            problem = f"expected fields such as `name: value`, found {shown(first['input'])}"
        case _:
            expected = first["msg"].removeprefix("Input should be ")
            problem = f"expected {expected}, found {shown(first['input'])}"
    option = field.partition(".")[0]
    return ScenarioError(
        field, problem, where=option_of(option) if option in overrides else where(field)
    )


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
