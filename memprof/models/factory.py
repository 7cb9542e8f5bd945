"""A model from the user's own function, `package.module:function`."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Any

from memprof.errors import ScenarioError, nearest
from memprof.models.base import GenerativeModel


def builder(callable: str, params: dict[str, Any], folder: str) -> Callable[[int], GenerativeModel]:
    """Call the function with `params`, and with the agent's index if it has a parameter `agent`.

    It returns the PyMDP agent's keyword arguments, or a pair of those and an environment.

    Raises:
        ScenarioError: it cannot be imported, does not take the parameters, raises, or returns
            something else; its own traceback goes along.
    """
    function = _import(callable, folder)
    takes_agent = "agent" in _signature(function, callable, params).parameters

    def build(agent: int) -> GenerativeModel:
        index = {"agent": agent} if takes_agent else {}
        try:
            returned = function(**params, **index)
        except MemoryError:
            raise
        except Exception as error:
            raise ScenarioError(
                "model.callable",
                f"{callable} raised {type(error).__name__}: {error}",
                detail=_own_traceback(error),
            ) from None
        return _model(returned, callable)

    return build


def _import(target: str, folder: str) -> Callable[..., Any]:
    module_name, _, function_name = target.partition(":")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ScenarioError(
            "model.callable",
            f"cannot import {module_name}: {type(error).__name__}: {error}",
            detail=_own_traceback(error),
        ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        raise ScenarioError(
            "model.callable",
            f"{module_name} has no function {function_name!r}; {nearest(function_name, known)}",
        )
    found: Callable[..., Any] = function
    return found


def _signature(
    function: Callable[..., Any], target: str, params: dict[str, Any]
) -> inspect.Signature:
    signature = inspect.signature(function)
    try:
        signature.bind_partial(**params)
    except TypeError as error:
        raise ScenarioError(
            "model.params", f"{error}; {target}{signature}, found {sorted(params)}"
        ) from None
    return signature


def _model(returned: Any, target: str) -> GenerativeModel:
    arguments, environment = returned if _is_pair(returned) else (returned, None)
    if not isinstance(arguments, dict):
        raise ScenarioError(
            "model.callable",
            f"{target} returned {type(returned).__name__}; expected a dict of the PyMDP agent's "
            "keyword arguments, or a pair of it and an environment",
        )
    if environment is not None:
        for method in ("reset", "step"):
            if not hasattr(environment, method):
                raise ScenarioError(
                    "model.callable",
                    f"the environment that {target} returned, {type(environment).__name__}, has no "
                    f"{method}(); expected reset() and step(action), both returning an observation",
                )
    return GenerativeModel(dict(arguments), environment)


def _is_pair(returned: Any) -> bool:
    return isinstance(returned, tuple) and len(returned) == 2


def _own_traceback(error: Exception) -> str:
    """The traceback from the first frame outside memprof and the import system on."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    lines = traceback.format_list(own) + traceback.format_exception_only(error)
    return "Traceback (most recent call last):\n" + "".join(lines)
