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
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from memprof.catalogue.models import Npz
from memprof.errors import ScenarioError, UsageError, option_of
from memprof.scenario.kinds import of_kind
from memprof.scenario.problems import problem_of
from memprof.scenario.schema import Kind, Scenario
from memprof.scenario.yaml_text import MOST_BYTES, YamlProblem, read_yaml
from memprof.text import cut, read_text
from memprof.values.population import EFFORTS, EpisodeSpec, PopulationSpec, WorldSpec


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A valid scenario, and the file that it came from.

    Attributes:
        lines: of each field in the file.
        file: the same file as the user named it, empty where it stands in none of the user's.
        whole: the scenario of which this is one kind, called `kind`; None where it is no kind.
        plans: the passes of kinds, where `auto` has chosen them.
    """

    scenario: Scenario
    path: Path
    lines: Mapping[str, int]
    file: str = ""
    whole: LoadedScenario | None = None
    kind: str = ""
    plans: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def kinds(self) -> list[LoadedScenario]:
        """Each kind, in the company of the others; none where all agents are of one."""
        return [
            replace(self, scenario=of_kind(self.scenario, number), whole=self, kind=kind.name)
            for number, kind in enumerate(self.scenario.kinds)
        ]

    def spec(self, passes: tuple[str, ...]) -> PopulationSpec:
        """The population with these passes, as a worker builds it. Kinds have them alike, or what
        was chosen for each."""

        def plan(kind: str) -> tuple[str, ...]:
            return self.plans.get(kind, ()) if passes and self.scenario.auto else passes

        kinds = (self.whole or self).kinds
        own = tuple(each._of_one(plan(each.kind)) for each in kinds)
        return msgspec.structs.replace(self._of_one(passes), kinds=own, along=self.kind)

    def _of_one(self, passes: tuple[str, ...]) -> PopulationSpec:
        """The same as if there were no other kinds."""
        scenario, world, model = self.scenario, self.scenario.world, self.scenario.model
        seed = (self.whole or self).scenario.seed
        return PopulationSpec(
            backend=scenario.backend,
            model=model.model_dump(exclude={"private"}) if model else {"kind": "kinds"},
            private=model is None or model.private,
            differs=model is None or model.differs,
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
            builder=model.builder if model else "",
            world=None if world is None else WorldSpec(world.callable, world.params, seed),
            name=self.kind,
            episodes=_episodes(scenario),
        )

    def where(self, field: str) -> str:
        """`file:line` of the field, or of the nearest field around it."""
        return _where(self.path, self.lines, field)


def _episodes(scenario: Scenario) -> EpisodeSpec | None:
    if scenario.episodes is None:
        return None
    kept = scenario.learning if scenario.episodes.keep is None else scenario.episodes.keep
    forgotten = tuple(letter for letter in scenario.learning if letter not in kept)
    return EpisodeSpec(scenario.episodes.steps, forgotten)


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
    for number, each in enumerate(loaded.kinds):
        _check_files(each, f"kinds.{number}.model.path")
    _check_files(loaded, "model.path")
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
    place = ""
    try:
        scenario = Scenario.model_validate(fields)
        for number in range(len(scenario.kinds)):
            place = f"kinds.{number}."
            of_kind(scenario, number)
    except ValidationError as error:
        field, problem = problem_of(error.errors())
        if place and field.partition(".")[0] in Kind.model_fields:
            field = place + field
        raise ScenarioError(field, problem, where=where(field)) from None
    return scenario


def _check_files(loaded: LoadedScenario, field: str) -> None:
    """What can be said about a model's file, named in the field, without reading arrays."""
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
    raise ScenarioError(field, problem, where=loaded.where(field))


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
