"""The user's code of a world in which agents meet: what it returns is checked, and what it raises
named. Worlds are in this process, or wherever the engine has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from memprof.catalogue import load_target
from memprof.errors import ScenarioError
from memprof.models.factory import imported, signature_of
from memprof.populations import begin_random
from memprof.text import own_traceback, raised, shown
from memprof.values.population import EngineSpec, WorldSpec

FIELD = "world"
_INTERFACE = (
    "expected PettingZoo's parallel interface: reset(seed=...) -> observations, infos; "
    "step(actions) -> observations, rewards, terminations, truncations, infos; each a dict by the "
    "agent's name"
)
_RETURNED = {"reset": 2, "step": 5}
_ELSEWHERE = "memprof.distributed.world:Elsewhere"

Dicts = tuple[dict[str, Any], ...]
Space = Callable[[str], Any]


class Maker(Protocol):
    """Makes worlds, and calls them.

    Attributes:
        takes_names: a world is told who will live in it.
    """

    takes_names: bool

    def begin_random(self, seed: int) -> None:
        """From here on, what worlds draw from `np.random` and `random` is the same in every run."""
        ...

    def __call__(self, names: Sequence[str]) -> Any:
        """A new world, for those with these names where it takes them.

        Raises:
            ScenarioError: the user's code fails, or returns something else.
        """
        ...

    def called(self, world: Any) -> str:
        """The name of its class."""
        ...

    def call(self, world: Any, method: str, *values: Any, **keywords: Any) -> Dicts:
        """What the world's method returns, which is as many dicts as there should be.

        Raises:
            ScenarioError: it raises something, or returns something else.
        """
        ...

    def space(self, world: Any, names: Sequence[str]) -> Space | None:
        """The world's `action_space`, if it has one; it will be asked for these names first."""
        ...

    def close(self, world: Any) -> None:
        """Let go of the world, which PettingZoo's are told."""
        ...


def maker_of(world: WorldSpec, folder: str, engine: EngineSpec | None) -> Maker:
    """What makes such worlds, its function looked up in the folder.

    Raises:
        ScenarioError: there is no such function, or it does not take the parameters.
    """
    if engine is not None and engine.world == "actor":
        maker: Maker = load_target(_ELSEWHERE)(world, folder)
        return maker
    return Here(world, folder)


class Here:
    """As `Maker`, in this process."""

    def __init__(self, world: WorldSpec, folder: str) -> None:
        self._named, self._params = world.callable, world.params
        self._function = imported(world.callable, "", [folder], FIELD)
        known = signature_of(self._function, world.callable, world.params, FIELD, "agents")
        self.takes_names = "agents" in known.parameters

    def begin_random(self, seed: int) -> None:
        begin_random(seed)

    def __call__(self, names: Sequence[str]) -> Any:
        given = {"agents": [*names]} if self.takes_names else {}
        try:
            world = self._function(**self._params, **given)
        except MemoryError:
            raise
        except Exception as error:
            raise ScenarioError(
                f"{FIELD}.callable",
                f"{self._named} failed: {raised(error)}",
                detail=own_traceback(error),
            ) from None
        for method in _RETURNED:
            if not callable(getattr(world, method, None)):
                raise ScenarioError(
                    f"{FIELD}.callable",
                    f"{self.called(world)} has no {method}(); {_INTERFACE}",
                )
        return world

    def called(self, world: Any) -> str:
        return type(world).__name__

    def call(self, world: Any, method: str, *values: Any, **keywords: Any) -> Dicts:
        name = f"{self.called(world)}.{method}()"
        try:
            returned = getattr(world, method)(*values, **keywords)
        except MemoryError:
            raise
        except Exception as error:
            raise ScenarioError(
                FIELD, f"{name} raised {raised(error)}", detail=own_traceback(error)
            ) from None
        dicts = returned if isinstance(returned, tuple) else ()
        if len(dicts) != _RETURNED[method] or not all(isinstance(each, Mapping) for each in dicts):
            raise ScenarioError(FIELD, f"{name} returned {shown(returned)}; {_INTERFACE}")
        return tuple(dict(each) for each in dicts)

    def space(self, world: Any, names: Sequence[str]) -> Space | None:
        return getattr(world, "action_space", None)

    def close(self, world: Any) -> None:
        close = getattr(world, "close", None)
        if callable(close):
            close()
