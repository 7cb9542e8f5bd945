"""A model from the user's own function, `package.module:function`.

Importing the module of a user's function, also one that only its file leads to.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

from memprof.errors import ScenarioError, nearest
from memprof.models import GenerativeModel, OwnWorld, check_model
from memprof.text import own_traceback, raised
from memprof.upstream import is_agent, is_env, is_jax_agent
from memprof.upstream.installed import agent_of

# What describes the world of an agent that is ready.
_MODEL = ("A", "B", "D", "A_factor_list", "B_factor_list")
_SHAPES = ("A", "B", "A_factor_list", "B_factor_list")
# The first ready agent of each factory: one that comes again would live twice in one population.
_firsts: WeakValueDictionary[str, Any] = WeakValueDictionary()


def builder(
    callable: str,
    params: dict[str, Any],
    folder: str,
    file: str | None = None,
    path: Sequence[str] = (),
) -> Callable[[int], GenerativeModel]:
    """Call the function with `params`, and with the agent's index if it has a parameter `agent`.

    Its module is looked up in `folder`, or in the folders of `path` if there are any; `file` is
    where it is, if its name does not say so. Both are relative to `folder`.

    It returns the PyMDP agent's keyword arguments, a new agent, or for the JAX backend an object
    whose attribute `agent` is one; or a pair of one of those and an environment: the user's own, or
    an `Env` of PyMDP, which may come as what `pymdp.envs.env.make` returns or in a dict of keywords
    of PyMDP's `rollout`.

    Raises:
        ScenarioError: it cannot be imported, does not take the parameters, raises, or returns
            something else; its own traceback goes along.
    """
    folders = [str(Path(folder, each)) for each in path] or [folder]
    function = imported(callable, str(Path(folder, file)) if file else "", folders)
    takes_agent = "agent" in signature_of(function, callable, params).parameters

    def build(agent: int) -> GenerativeModel:
        index = {"agent": agent} if takes_agent else {}
        try:
            returned = function(**params, **index)
        except MemoryError:
            raise
        except Exception as error:
            problem = _wrong_model(error) or raised(error)
            raise ScenarioError(
                "model.callable",
                f"{callable} failed for agent {agent}: {problem}",
                detail=own_traceback(error),
            ) from None
        model = replace(_model(returned, callable), of_one=takes_agent)
        if is_agent(model.agent):
            _check_new(model.agent, agent, callable)
        return model

    return build


def _wrong_model(error: Exception) -> str:
    """What is wrong with the A and B of an agent whose constructor raised the error; empty where it
    did not, or they are as they should be."""
    for frame, _ in walk_tb(error.__traceback__):
        made = frame.f_locals.get("self")
        if frame.f_code.co_name != "__init__" or not is_agent(made):
            continue
        given = {**frame.f_locals, **vars(made)}
        known = {name: given[name] for name in _SHAPES if given.get(name) is not None}
        if {"A", "B"} <= {*vars(made)}:
            try:
                check_model(known, "model.callable")
            except ScenarioError as found:
                return f"{found.problem} ({type(error).__name__})"
    return ""


def _check_new(ready: Any, index: int, target: str) -> None:
    if ready is _firsts.get(target):
        raise ScenarioError(
            "model.callable",
            f"{target} returned the same agent twice; expected a new one from every call",
        )
    if index == 0:
        _firsts[target] = ready


def imported(
    target: str, file: str, path: Sequence[str], field: str = "model"
) -> Callable[..., Any]:
    """The function or class `module:name`, as `import_module` finds its module.

    Raises:
        ScenarioError: at `field`.callable: it cannot be imported.
    """
    module_name, _, function_name = target.partition(":")
    try:
        module = import_module(module_name, file, path)
    except Exception as error:
        raise ScenarioError(
            f"{field}.callable",
            f"cannot import {module_name}: {raised(error)}{_remedy(error, module_name, path)}",
            detail=own_traceback(error),
        ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        raise ScenarioError(
            f"{field}.callable",
            f"{module_name} has no function {function_name!r}; {nearest(function_name, known)}",
        )
    found: Callable[..., Any] = function
    return found


def signature_of(
    function: Callable[..., Any],
    target: str,
    params: dict[str, Any],
    field: str = "model",
    own: str = "agent",
) -> inspect.Signature:
    """Of a function that is to take `params`, and memprof's `own` parameter if it has that.

    Raises:
        ScenarioError: at `field`: it does not take them.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # it is written in C, or says something else of itself
        raise ScenarioError(
            f"{field}.callable",
            f"the parameters of {target} cannot be determined; expected a Python function",
        ) from None
    index = {own: 0} if own in signature.parameters else {}
    try:
        signature.bind(**{**params, **index})
    except TypeError as error:
        raise ScenarioError(
            f"{field}.params", f"{error}; {target}{signature}, found {sorted(params)}"
        ) from None
    return signature


def _model(returned: Any, target: str) -> GenerativeModel:
    made, environment = returned if _is_pair(returned) else (returned, None)
    environment = _own_world(environment, target)
    ready = is_agent(made) or is_jax_agent(made)
    within = getattr(made, "agent", None)
    if is_agent(within):
        raise ScenarioError(
            "model.callable",
            f"{target} returned {_class_of(made)}, whose own methods memprof does not call; return "
            "its agent, or make the class a subclass of PyMDP's Agent",
        )
    wraps = is_jax_agent(within) and not ready
    if not (ready or wraps or isinstance(made, dict)):
        raise ScenarioError(
            "model.callable",
            f"{target} returned {_class_of(made)}; expected a dict of the PyMDP agent's keyword "
            f"arguments, a new {agent_of('numpy')}, one of PyMDP's JAX agents, an object whose "
            "attribute agent is one, or a pair of one of these and an environment",
        )
    if environment is not None and not isinstance(environment, OwnWorld):
        for method in ("reset", "step"):
            if not hasattr(environment, method):
                raise ScenarioError(
                    "model.callable",
                    f"the environment that {target} returned, {type(environment).__name__}, has no "
                    f"{method}(); expected reset() and step(action), both returning an "
                    "observation, or an Env of PyMDP",
                )
    if is_agent(made):
        own = {name: getattr(made, name) for name in _MODEL if hasattr(made, name)}
        return GenerativeModel(own, environment, agent=made)
    if wraps:
        return GenerativeModel({}, environment, agent=within, added=_beside(made, within))
    if ready:
        return GenerativeModel({}, environment, agent=made)
    return GenerativeModel(dict(made), environment)


def _own_world(made: Any, target: str) -> Any:
    """PyMDP's own kind of world, alone, with its parameters as `pymdp.envs.env.make` gives them, or
    in the keywords of its rollout; anything else as it is."""
    if is_env(made):
        return OwnWorld(made)
    if _is_pair(made) and is_env(made[0]):
        return OwnWorld(*made)
    if not isinstance(made, dict) or "env" not in made:
        return made
    known = [field.name for field in fields(OwnWorld)]
    for name in made:
        if name not in known:
            raise ScenarioError(
                "model.callable",
                f"{target} returned {name!r} beside env; {nearest(name, known)}",
            )
    if not is_env(made["env"]):
        raise ScenarioError(
            "model.callable",
            f"{target} returned an env of type {_class_of(made['env'])}; expected "
            "pymdp.envs.env.Env, or a class that derives from it",
        )
    return OwnWorld(**made)


def _beside(wrapper: Any, agent: Any) -> dict[str, Any]:
    """What an object holds beside its agent, under the names of the ledger."""
    kind = type(wrapper).__name__
    held = {name: value for name, value in vars(wrapper).items() if value is not agent}
    return {f"{kind}.{name}": value for name, value in held.items()}


def _class_of(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _is_pair(returned: Any) -> bool:
    return isinstance(returned, tuple) and len(returned) == 2


def _remedy(error: Exception, module: str, path: Sequence[str]) -> str:
    """What to do where a module was not found: the model's own, or one that it imports."""
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing is None:
        return ""
    if f"{module}.".startswith(f"{missing}."):
        return f"; expected it in {', '.join(path)}. Put it there, or name its folder in model.path"
    return f"; install what {missing} belongs to, or name its folder in model.path"


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
