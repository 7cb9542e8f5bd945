"""Worlds in which agents meet, in an actor of their own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

from memprof.errors import ClusterError
from memprof.populations.world_maker import FIELD, Dicts, Here, Space
from memprof.text import raised
from memprof.values.population import WorldSpec


class There(NamedTuple):
    """A world in the actor."""

    number: int
    called: str


class Elsewhere:
    """As `Maker`, of worlds in one actor, which ends when nobody has this any more. They find
    random numbers as in one process: the seed goes with the next call."""

    def __init__(self, world: WorldSpec, folder: str) -> None:
        import ray

        make: Any = ray.remote(num_cpus=0)(Host)
        self._ray, self._actor = ray, make.remote()
        self._seed: int | None = None
        self.takes_names: bool = self._ask("begin", world, folder)

    def begin_random(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, names: Sequence[str]) -> There:
        made: There = self._drawing("make", names)
        return made

    def called(self, world: There) -> str:
        return world.called

    def call(self, world: There, method: str, *values: Any, **keywords: Any) -> Dicts:
        found: Dicts = self._drawing("call", world.number, method, values, keywords)
        return found

    def space(self, world: There, names: Sequence[str]) -> Space | None:
        known: dict[str, Any] | None = self._ask("spaces", world.number, names)
        if known is None:
            return None

        def space(name: str) -> Any:
            if name not in known:
                known.update(self._ask("spaces", world.number, [name]))
            return known[name]

        return space

    def close(self, world: There) -> None:
        self._ask("close", world.number)

    def _drawing(self, method: str, *arguments: Any) -> Any:
        """What the actor says, whose random numbers go on from the seed."""
        seed, self._seed = self._seed, None
        return self._ask(method, seed, *arguments)

    def _ask(self, method: str, *arguments: Any) -> Any:
        """What the actor says.

        Raises:
            ClusterError: it has died.
            whatever it raises.
        """
        from ray import exceptions

        try:
            return self._ray.get(getattr(self._actor, method).remote(*arguments))
        except exceptions.RayTaskError as error:
            raise error.cause from None
        except (exceptions.RayActorError, exceptions.OutOfMemoryError) as error:
            raise ClusterError(
                f"the actor of the {FIELD} has died: {raised(error)}; see Ray's log, or leave the "
                "world in this process"
            ) from None


class Host:
    """The actor: makes worlds and calls them for the driver, one after the other."""

    def __init__(self) -> None:
        self._make: Here
        self._worlds: dict[int, Any] = {}
        self._numbers = count()

    def begin(self, world: WorldSpec, folder: str) -> bool:
        """Whether these worlds take names."""
        self._make = Here(world, folder)
        return self._make.takes_names

    def make(self, seed: int | None, names: Sequence[str]) -> There:
        """A new world."""
        self._begin_random(seed)
        own = self._make(names)
        made = There(next(self._numbers), self._make.called(own))
        self._worlds[made.number] = own
        return made

    def call(self, seed: int | None, number: int, method: str, values: Any, keywords: Any) -> Dicts:
        """What the world's method returns, without what it says besides (`infos`)."""
        self._begin_random(seed)
        found = self._make.call(self._worlds[number], method, *values, **keywords)
        return (*found[:-1], {})

    def spaces(self, number: int, names: Sequence[str]) -> dict[str, Any] | None:
        """What the actions of these can be, if the world says so."""
        space = self._make.space(self._worlds[number], names)
        return None if space is None else {name: space(name) for name in names}

    def close(self, number: int) -> None:
        """Let go of a world."""
        self._make.close(self._worlds.pop(number))

    def _begin_random(self, seed: int | None) -> None:
        if seed is not None:
            self._make.begin_random(seed)
