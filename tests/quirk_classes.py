"""Subclasses of PyMDP's agent with a quirk; `poke` changes them, and says what it saw."""

from __future__ import annotations

import copy
import functools
from typing import Any, ClassVar

from pymdp.legacy.agent import Agent


class Tagged(int):
    """An integer with attributes."""


class Slotted(Agent):
    """slots"""

    __slots__ = ("a", "b")

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.a = self.log = []

    def poke(self) -> Any:
        self.a.append(1)
        self.b = len(self.log)
        return self.b, self.a is self.log


class Private(Agent):
    """private slots"""

    __slots__ = ("__secret",)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.__secret = [7]

    def poke(self) -> Any:
        self.__secret.append(1)
        return self.__secret


class _Base(Agent):
    __slots__ = ("same",)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        _Base.same.__set__(self, [1])


class TwoSlots(_Base):
    """a slot of one name in two classes"""

    __slots__ = ("same",)

    def poke(self) -> Any:
        self.same = [2]
        _Base.same.__get__(self).append(3)
        return self.same, _Base.same.__get__(self)


class AsDict(Agent, dict):
    """a dict, too"""

    __hash__ = Agent.__hash__

    def poke(self) -> Any:
        self[len(self)] = [1]
        return dict(self)


class AsList(Agent, list):
    """a list, too"""

    __hash__ = Agent.__hash__

    def poke(self) -> Any:
        self.append(len(self))
        return list(self)


class _Meta(type):
    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        made = super().__call__(*arguments, **keywords)
        made.made = [cls.__name__]
        return made


class WithMeta(Agent, metaclass=_Meta):
    """a metaclass"""

    def poke(self) -> Any:
        self.made.append(1)
        return self.made


class Asks(Agent):
    """__getattr__"""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("asked"):
            raise AttributeError(name)
        return f"no {name}"

    def poke(self) -> Any:
        return self.asked, hasattr(self, "more")


class AsksAlways(Agent):
    """__getattribute__"""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return value * 2 if name == "doubled" else value

    def poke(self) -> Any:
        self.doubled = self.doubled if "doubled" in vars(self) else 1
        return vars(self)["doubled"]


class Counts(Agent):
    """__setattr__"""

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)["sets"] = vars(self).get("sets", 0) + 1
        super().__setattr__(name, value)

    def poke(self) -> Any:
        return self.sets


class Mourns(Agent):
    """__del__"""

    ended: ClassVar[list[int]] = []

    def __del__(self) -> None:
        self.ended.append(1)

    def poke(self) -> Any:
        return len(self.ended)


class Shadows(Agent):
    """class attributes, one of them shadowed"""

    log: ClassVar[list[int]] = []
    level = 1

    def poke(self) -> Any:
        self.level += 1
        self.log = [*self.log, self.level]
        return self.log, type(self).log, type(self).level


class Common(Agent):
    """a list of the class"""

    log: ClassVar[list[int]] = []

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.log.clear()
        self.mine = self.log

    def poke(self) -> Any:
        self.log.append(len(self.log))
        return self.mine, self.mine is self.log


class Equal(Agent):
    """__eq__ without a hash"""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    __hash__ = None  # type: ignore[assignment]

    def poke(self) -> Any:
        return self == copy.copy(self)


class Computed(Agent):
    """properties"""

    @property
    def level(self) -> int:
        return self._level

    @level.setter
    def level(self, value: int) -> None:
        self._level = value + 1

    @functools.cached_property
    def costly(self) -> list[int]:
        return [1]

    def poke(self) -> Any:
        self.level = getattr(self, "_level", 0)
        self.costly.append(self.level)
        return self.level, self.costly


class Reduced(Agent):
    """__reduce__ and __getstate__"""

    def __reduce__(self) -> Any:
        return Reduced, ()

    def __getstate__(self) -> Any:
        return {}

    def poke(self) -> Any:
        self.log = [*getattr(self, "log", ()), 1]
        return self.log


class Needs(Agent):
    """__new__ with arguments"""

    def __new__(cls, **arguments: Any) -> Any:
        made = super().__new__(cls)
        made.given = sorted(arguments)
        return made

    def poke(self) -> Any:
        return self.given


class Registered(Agent):
    """agents that the class remembers"""

    all: ClassVar[list[Any]] = []

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.all.append(self)
        del self.all[:-3]

    def poke(self) -> Any:
        return any(each is self for each in self.all)


class Guards(Agent):
    """attributes that cannot be deleted"""

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} stays")

    def poke(self) -> Any:
        self.log = [*getattr(self, "log", ()), 1]
        return self.log


class Falsy(Agent):
    """agents without length"""

    def __len__(self) -> int:
        return 0

    def poke(self) -> Any:
        self.k = getattr(self, "k", 0) + 1
        return bool(self), self.k


CLASSES = (
    Slotted,
    Private,
    TwoSlots,
    AsDict,
    AsList,
    WithMeta,
    Asks,
    AsksAlways,
    Counts,
    Mourns,
    Shadows,
    Common,
    Equal,
    Computed,
    Reduced,
    Needs,
    Registered,
    Guards,
    Falsy,
)
